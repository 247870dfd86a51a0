"""The loyalty service as a process: ``python -m examples.loyalty --ledger FILE --exchange NAME``; MSGBUS_URL."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from examples.loyalty.ledger import Ledger
from examples.loyalty.service import Loyalty
from msgbus import connect

if TYPE_CHECKING:
    from msgbus import Message


CONFIRM_SECONDS = 0.005
"""Seconds that a till takes. It limits the members' speed, so that both get a share on any machine."""


class Till:
    """Writes down every purchase that a callback is called with, and confirms only the first ``confirm`` of them.

    A purchase is one write to a file opened for appending, so it survives a SIGKILL.
    """

    def __init__(self, note: Path, confirm: int | None) -> None:
        self._note = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._left = confirm

    async def __call__(self, message: Message) -> None:
        """Write the purchase down and confirm it; wait indefinitely where no more are confirmed."""
        os.write(self._note, f"{os.getpid()} {message.id}\n".encode())
        await asyncio.sleep(CONFIRM_SECONDS)
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            await asyncio.Event().wait()


async def main() -> None:
    """Serve until SIGTERM. Prints ``ready`` when the queue is assigned to this member."""
    parser = argparse.ArgumentParser(prog="python -m examples.loyalty")
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--exchange", required=True)
    parser.add_argument("--entered", type=Path, required=True)
    parser.add_argument("--confirm", type=int)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    broker = connect()
    with Ledger(chosen.ledger) as ledger:
        till = Till(chosen.entered, chosen.confirm)
        subscription = await Loyalty(broker, ledger, chosen.exchange, member=str(os.getpid()), till=till).start()
        serving = asyncio.ensure_future(broker.run())
        await subscription.ready()
        print("ready", flush=True)
        await serving


if __name__ == "__main__":
    asyncio.run(main())
