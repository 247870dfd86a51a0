"""A member of a Kafka group as a process of its own: ``python -m tests.support.processes.kafka_member URL QUEUE``.

It prints each message's id when its callback has ended, and ``!`` whenever the broker has refused a commit because the
generation is over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
from typing import TYPE_CHECKING

from msgbus import connect
from msgbus_kafka.consumer.offset_commits import COMMIT_REFUSED_TEXT

if TYPE_CHECKING:
    from msgbus.message import Message


class Refusals(logging.Handler):
    """Says so when a commit was refused."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == COMMIT_REFUSED_TEXT:
            _say("!")


async def _callback(message: Message) -> None:
    await asyncio.sleep(random.uniform(0.005, 0.020))  # what a handler does
    _say(message.id)


def _say(word: str) -> None:
    os.write(1, f"{word}\n".encode())  # not kept back by a buffer that dies with the process


async def _serve(url: str, queue: str) -> None:
    logger = logging.getLogger("msgbus.kafka")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(Refusals())
    logger.propagate = False
    async with connect(url, group="g") as broker:
        await (await broker.consume(queue, _callback)).ready()
        _say("ready")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
