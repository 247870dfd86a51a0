"""Both services in one process, on real purchases, some of which fail: ``python -m examples.demo``.

Purchases that fail are retried, dead-lettered, listed, and redriven when the cause is mended. The same code runs on
``memory://`` and on the broker that MSGBUS_URL names. At the end the points of every customer are compared with a
direct sum over the file; where they differ, the differences are printed and the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from examples.loyalty.ledger import Ledger
from examples.loyalty.points import differences, totals
from examples.loyalty.service import GROUP, PURCHASES, Loyalty
from examples.market import STALL_TIMEOUT_SECONDS, Stalled, Watch, fresh_exchange, open_queues, progress, publish
from examples.notification.outbox import Outbox
from examples.notification.service import Notification
from examples.purchases import DataError, Purchase, read
from msgbus import MsgbusError, RetryPolicy, connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus import DeadLetters, Message

DATA: Final = Path(__file__).parent / "data" / "CDNOW_sample.txt"
POISONOUS: Final = 1000
"""The till cannot confirm 1 in 1,000 purchases."""
POLICY: Final = RetryPolicy(immediate=1, delays=(1.0,))
"""Three attempts within about a second, so that the demo is short; the default policy takes 13 minutes."""


class TillOffline(Exception):
    """The till cannot confirm the purchase."""


class Till:
    """A till that cannot confirm poisonous purchases until it is mended."""

    def __init__(self) -> None:
        self.mended = False

    async def __call__(self, message: Message) -> None:
        """Confirm a purchase. Raises TillOffline."""
        if int(message.id) % POISONOUS == 0:
            outcome = "succeeded" if self.mended else "failed, the till is offline"
            print(f"purchase {message.id}: attempt {message.attempt} {outcome}", flush=True)
            if not self.mended:
                raise TillOffline(f"no answer about purchase {message.id}")


async def redrive(letters: DeadLetters, poisonous: int, till: Till) -> None:
    """Do what an operator does: look at the dead letters, mend the cause, redrive them."""
    async with asyncio.timeout(STALL_TIMEOUT_SECONDS):
        while await letters.count() < poisonous:  # noqa: ASYNC110 - a dead-letter queue makes no event
            await asyncio.sleep(0.05)
    async for letter in letters.look():
        error = f"{letter.error_type.rpartition('.')[2]}: {letter.error_message}"
        print(f"dead letter: purchase {letter.message.id} after {letter.attempts} attempts, {error}")
    till.mended = True
    result = await letters.redrive()
    print(f"the till is mended: {result.taken} redriven, {result.arrived} arrived, {result.remaining} left", flush=True)


async def run(purchases: Sequence[Purchase], url: str, folder: Path) -> list[str]:
    """Run both services over ``purchases`` and return the totals that differ at the end, a line each."""
    exchange = fresh_exchange("demo")
    with (
        Ledger(folder / "ledger.db") as ledger,
        Outbox(folder / "outbox.db") as outbox,
        progress(len(purchases)) as bar,
    ):
        published, notified = bar("purchases published"), bar("customers notified")
        watch = Watch(len(purchases), notified)
        async with connect(url) as broker:
            await open_queues(broker, exchange)
            till = Till()
            await Loyalty(broker, ledger, exchange, till=till, retry=POLICY).start()
            await Notification(broker, outbox, exchange, written=watch.written).start()
            await publish(broker, purchases, exchange, published)
            poisonous = sum(one.id % POISONOUS == 0 for one in purchases)
            await watch.all(but=poisonous)
            if poisonous:
                await redrive(broker.dead_letters(PURCHASES, group=GROUP, exchange=exchange), poisonous, till)
            await watch.all()
        expected = totals(purchases)
        return differences(expected, ledger.totals()) + differences(expected, outbox.totals())


def main() -> int:
    """Run the program. The exit code is 0 when the totals are equal, 1 when not, 2 when it could not run."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="a file of purchases in the same format")
    data: Path = parser.parse_args().data
    logging.basicConfig(level=logging.ERROR)  # the till prints the attempts itself
    try:
        purchases = read(data)
        with tempfile.TemporaryDirectory() as folder:
            differing = asyncio.run(run(purchases, os.environ.get("MSGBUS_URL") or "memory://", Path(folder)))
    except (DataError, OSError, MsgbusError, Stalled, TimeoutError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1 if isinstance(error, Stalled | TimeoutError) else 2
    expected = totals(purchases)
    said = f"{len(purchases):,} purchases of {len(expected):,} customers, {sum(expected.values()):,} points"
    for line in differing[:20]:
        print(line)
    print(f"{said}: " + (f"{len(differing)} totals differ" if differing else "totals are equal to the direct sum"))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
