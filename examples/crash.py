"""Two loyalty processes share the work, and one is killed with deliveries in flight: ``python -m examples.crash``.

Needs a real broker in MSGBUS_URL. A purchase that the killed process had begun and the surviving one handles again is a
redelivery. Redeliveries are counted; at the end the totals must equal the direct sum all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from examples.demo import DATA
from examples.loyalty.ledger import Ledger
from examples.loyalty.points import differences, totals
from examples.market import Stalled, Watch, fresh_exchange, open_queues, progress, publish
from examples.notification.outbox import Outbox
from examples.notification.service import Notification
from examples.purchases import DataError, Purchase, read
from msgbus import MsgbusError, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

QUARTER: Final = 4
"""The process to be killed handles 1 in 4 purchases, and is killed while more are in flight."""
LEAST_SHARE: Final = 0.2
"""Each process must have handled this share of the purchases."""
STEP_TIMEOUT_SECONDS: Final = 60.0
"""Seconds that one step of the program may take."""
SHOWN_REDELIVERIES: Final = 5
"""Redeliveries that are printed one by one."""
QUICK_TAKEOVER: Final = {"redis": "visibility=2", "rediss": "visibility=2", "kafka": "session_timeout=6"}
"""Options by scheme that have a dead member's deliveries go back within seconds, for a demonstration."""


class Member:
    """A member of the group: a process of the loyalty service."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.name = str(process.pid)

    @classmethod
    async def start(cls, url: str, exchange: str, folder: Path, *more: str) -> Member:
        """Start a process and wait until it is a member. Raises Stalled."""
        files = ("--ledger", str(folder / "ledger.db"), "--entered", str(folder / "entered"))
        command = (sys.executable, "-m", "examples.loyalty", *files, "--exchange", exchange, *more)
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "MSGBUS_URL": url}, stdout=asyncio.subprocess.PIPE
        )
        member = cls(process)
        async with asyncio.timeout(STEP_TIMEOUT_SECONDS):
            if process.stdout is None or await process.stdout.readline() != b"ready\n":
                raise Stalled(f"member {member.name} did not start")
        return member

    async def kill(self) -> int:
        """Kill the process by SIGKILL and return its exit status."""
        if self._process.returncode is None:
            self._process.kill()
        return await self._process.wait()

    async def stop(self) -> int:
        """Stop the process by SIGTERM, so that it drains, and return its exit status."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()


def entered(folder: Path) -> dict[str, list[str]]:
    """Return the purchases that callbacks were called with, by member."""
    calls: dict[str, list[str]] = defaultdict(list)
    for line in (folder / "entered").read_text().splitlines():
        member, purchase = line.split()
        calls[member].append(purchase)
    return calls


async def until(condition: Callable[[], bool], what: str) -> None:
    """Check files that other processes write until ``condition`` holds. Raises Stalled."""
    try:
        async with asyncio.timeout(STEP_TIMEOUT_SECONDS):
            while not condition():  # noqa: ASYNC110 - a changed file makes no event
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise Stalled(f"{what}: not within {STEP_TIMEOUT_SECONDS:g} s") from None


async def run(purchases: Sequence[Purchase], url: str, folder: Path) -> list[str]:
    """Run both processes over ``purchases`` and return what is wrong at the end, a line each."""
    exchange = fresh_exchange("crash")
    quota = len(purchases) // QUARTER
    with (
        Ledger(folder / "ledger.db") as ledger,
        Outbox(folder / "outbox.db") as outbox,
        progress(len(purchases)) as bar,
    ):
        watch = Watch(len(purchases), bar("customers notified"))
        async with connect(url) as broker:
            await open_queues(broker, exchange)
            notifying = await Notification(broker, outbox, exchange, written=watch.written).start()
            await notifying.ready()
            async with AsyncExitStack() as members:  # no process outlives this program
                victim = await Member.start(url, exchange, folder, "--confirm", str(quota))
                members.push_async_callback(victim.kill)
                survivor = await Member.start(url, exchange, folder)
                members.push_async_callback(survivor.kill)
                await publish(broker, purchases, exchange, bar("purchases published"))
                await until(
                    lambda: len(entered(folder)[victim.name]) > quota,
                    "deliveries in flight in the process to be killed",
                )
                status = await victim.kill()
                print(f"member {victim.name} was killed: exit status {status}", flush=True)
                await watch.all()
                await survivor.stop()
        return _wrong(purchases, ledger, outbox, _redelivered(folder, victim, survivor), status)


def _redelivered(folder: Path, victim: Member, survivor: Member) -> int:
    calls = entered(folder)
    again = sorted(set(calls[victim.name]) & set(calls[survivor.name]), key=int)
    for purchase in again[:SHOWN_REDELIVERIES]:
        print(f"purchase {purchase}: begun by {victim.name}, redelivered to {survivor.name}")
    print(f"{len(again)} redeliveries in all", flush=True)
    return len(again)


def _wrong(purchases: Sequence[Purchase], ledger: Ledger, outbox: Outbox, redelivered: int, status: int) -> list[str]:
    expected = totals(purchases)
    wrong = differences(expected, ledger.totals()) + differences(expected, outbox.totals())
    for member, count in ledger.shares().items():
        share = count / len(purchases)
        print(f"member {member} handled {count:,} purchases ({share:.0%})")
        if share < LEAST_SHARE:
            wrong.append(f"member {member} handled less than {LEAST_SHARE:.0%}")
    if len(ledger.shares()) != 2 or not redelivered or status != -signal.SIGKILL:  # noqa: PLR2004 - two members
        wrong.append(f"{len(ledger.shares())} members, {redelivered} redeliveries, exit status {status}")
    return wrong


def _with_quick_takeover(url: str) -> str:
    """Add the option of `QUICK_TAKEOVER` where the URL does not set it."""
    more = QUICK_TAKEOVER.get(url.partition("://")[0], "")
    name = more.partition("=")[0]
    return url if not more or f"{name}=" in url else f"{url}{'&' if '?' in url else '?'}{more}"


def main() -> int:
    """Run the program. The exit code is 0 when the totals are right, 1 when not, 2 when it could not run."""
    parser = argparse.ArgumentParser(prog="python -m examples.crash", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="a file of purchases in the same format")
    data: Path = parser.parse_args().data
    logging.basicConfig(level=logging.ERROR)
    url = os.environ.get("MSGBUS_URL", "")
    if not url or url.startswith("memory:"):
        print(
            "two processes need a real broker: set MSGBUS_URL, e.g. to the URL that `make up BROKER=redis` prints",
            file=sys.stderr,
        )
        return 2
    try:
        purchases = read(data)
        with tempfile.TemporaryDirectory() as folder:
            wrong = asyncio.run(run(purchases, _with_quick_takeover(url), Path(folder)))
    except (DataError, OSError, MsgbusError, Stalled) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1 if isinstance(error, Stalled) else 2
    for line in wrong[:20]:
        print(line)
    said = f"{len(purchases):,} purchases, {sum(totals(purchases).values()):,} points, one member killed"
    print(f"{said}: " + (f"{len(wrong)} things are wrong" if wrong else "totals are equal to the direct sum"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
