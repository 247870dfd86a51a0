"""The notification service as a process: ``python -m examples.notification --outbox FILE``; MSGBUS_URL."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from examples.notification.outbox import Outbox
from examples.notification.service import Notification
from msgbus import connect


async def main() -> None:
    """Run the service until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m examples.notification")
    parser.add_argument("--outbox", type=Path, required=True)
    parser.add_argument("--exchange", default="")
    chosen = parser.parse_args()
    broker = connect()
    with Outbox(chosen.outbox) as outbox:
        await Notification(broker, outbox, chosen.exchange).start()
        await broker.run()


if __name__ == "__main__":
    asyncio.run(main())
