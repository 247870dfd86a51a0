"""Records that note how their publish ends."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, cast

from msgbus.adapter.address import queue_address
from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.publish_calls import PublishCall
from msgbus_kafka.producer.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Put", "ended"]


class Put(Record):
    """One that somebody waits for."""

    def __init__(self, body: bytes = b"x") -> None:
        outgoing = Outgoing(queue_address("orders", ""), "id", 1_700_000_000_000, body, "key", {"name": "text"})
        super().__init__(PublishCall(1, math.inf), 0, outgoing)
        self.confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def ended(records: Sequence[Record], error: BaseException | None) -> None:
    """A batch of such records has ended."""
    for record in cast("Sequence[Put]", records):
        if error is None:
            record.confirmed.set_result(None)
        else:
            record.confirmed.set_exception(error)
