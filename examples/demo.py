"""Both services in one process, over real purchases, some of them poisonous at first: ``python -m examples.demo``.

On ``memory://``, or on the broker that MSGBUS_URL names: the same code. At the end the points of every customer are
compared with a direct sum over the file; exit 1 and the differences if they are not equal.
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
from examples.loyalty.service import Loyalty
from examples.market import Stalled, Watch, fresh_exchange, open_queues, progress, publish
from examples.notification.outbox import Outbox
from examples.notification.service import Notification
from examples.purchases import DataError, Purchase, read
from msgbus import MsgbusError, connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus import Message

DATA: Final = Path(__file__).parent / "data" / "CDNOW_sample.txt"
POISONOUS: Final = 1000
"""Every so many purchases one is poisonous."""
FAILURES: Final = 2


class TillOffline(Exception):
    """The till cannot confirm the purchase."""


async def till(message: Message) -> None:
    """Poisonous purchases are not confirmed at their first tries."""
    if int(message.id) % POISONOUS == 0:
        fails = message.attempt <= FAILURES
        outcome = "failed, the till is offline; trying again" if fails else "succeeded"
        print(f"purchase {message.id}: attempt {message.attempt} {outcome}", flush=True)
        if fails:
            raise TillOffline


async def run(purchases: Sequence[Purchase], url: str, folder: Path) -> list[str]:
    """The whole story; what differs at the end."""
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
            await Loyalty(broker, ledger, exchange, till=till).start()
            await Notification(broker, outbox, exchange, written=watch.written).start()
            await publish(broker, purchases, exchange, published)
            await watch.all()
        expected = totals(purchases)
        return differences(expected, ledger.totals()) + differences(expected, outbox.totals())


def main() -> int:
    """The exit code: 0 when the totals are equal, 1 when not, 2 when it could not run."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="a file of purchases in the same format")
    data: Path = parser.parse_args().data
    logging.basicConfig(level=logging.ERROR)  # the tries are shown by the till itself
    try:
        purchases = read(data)
        with tempfile.TemporaryDirectory() as folder:
            differing = asyncio.run(run(purchases, os.environ.get("MSGBUS_URL") or "memory://", Path(folder)))
    except (DataError, OSError, MsgbusError, Stalled) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2 if isinstance(error, DataError | OSError | MsgbusError) else 1
    expected = totals(purchases)
    said = f"{len(purchases):,} purchases of {len(expected):,} customers, {sum(expected.values()):,} points"
    for line in differing[:20]:
        print(line)
    print(f"{said}: " + (f"{len(differing)} totals differ" if differing else "totals are equal to the direct sum"))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
