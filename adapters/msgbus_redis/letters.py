"""Dead letters: a stream without a group, looked at by XRANGE, removed by XDEL under a lock that expires.

A pending list would be no lock: a second taker would get other letters, and a killed one's would be missing for a
while.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from msgbus.adapter import Letters
from msgbus.errors import BrokerError, LettersBusy, LettersLost, QueueNotFound
from msgbus.message import Delivery
from msgbus_redis.connection import ours
from msgbus_redis.scripts import HOLD, LET_GO, REMOVE, call
from msgbus_redis.wire import message, stream, taker

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from msgbus.names import Address
    from msgbus_redis.connection import Client

__all__ = ["RedisLetters"]

HOLD_FOR: Final = 10.0
"""Seconds after which a killed taker's hold is over; a living one renews it three times in it."""
CHUNK: Final = 500
"""Ids of one script: it holds the server up for as long as it runs."""


class RedisLetters(Letters):
    """The dead-letter queue ``address``."""

    def __init__(self, client: Client, prefix: str, address: Address) -> None:
        self._client = client
        self._address = address
        self._key = stream(prefix, address)
        self._lock = taker(prefix, address)
        self._token = secrets.token_hex(16)
        self._renewing: asyncio.Task[None] | None = None

    async def count(self) -> tuple[int, bool]:
        """See Letters."""
        length, there = await self._run(("XLEN", self._key), ("EXISTS", self._key))
        if not there:
            raise QueueNotFound(f"queue {self._address} does not exist: create_queue(groups=…) makes it")
        return int(length), True

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See Letters; cursors are entry ids."""
        start = b"-" if not isinstance(after, bytes) else b"(" + after
        entries, there = await self._run(("XRANGE", self._key, start, "+", "COUNT", limit + 1), ("EXISTS", self._key))
        if not there:
            raise QueueNotFound(f"queue {self._address} does not exist: create_queue(groups=…) makes it")
        page = [self._letter(identity, fields) for identity, fields in entries[:limit]]
        return page, entries[limit - 1][0] if len(entries) > limit else None

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See Letters."""
        if self._renewing is None:
            (held,) = await self._run(("SET", self._lock, self._token, "NX", "PX", int(HOLD_FOR * 1000)))
            if held is None:
                raise LettersBusy(f"queue {self._address}: somebody else is taking from it; try again later")
            self._renewing = asyncio.get_running_loop().create_task(self._renew(), name="msgbus redis taker")
        return await self.look(after, limit)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """See Letters."""
        ids = [letter.receipt for letter in letters]
        for begin in range(0, len(ids), CHUNK):
            some = ids[begin : begin + CHUNK]
            (removed,) = await self._run(call(REMOVE, self._key, (self._lock, self._token, self._ms, *some)))
            if removed < 0:
                raise LettersLost(f"queue {self._address}: the hold on its letters was lost; take them again")

    async def close(self) -> None:
        """See Letters."""
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            renewing.cancel()
            await asyncio.wait({renewing})
            with contextlib.suppress(BrokerError):
                await self._run(call(LET_GO, self._key, (self._lock, self._token)))

    @property
    def _ms(self) -> int:
        return int(HOLD_FOR * 1000)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(HOLD_FOR / 3)
            with contextlib.suppress(BrokerError):  # remove() says so if the hold is lost
                await self._run(call(HOLD, self._key, (self._lock, self._token, self._ms)))

    async def _run(self, *commands: Any) -> list[Any]:
        doing = f"queue {self._address}: at its dead letters"
        replies = await self._client.run(commands, doing)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise ours(reply, f"{self._client.place}: {doing}")
        return replies

    def _letter(self, identity: bytes, fields: Sequence[bytes]) -> Delivery:
        made = message(self._address, self._address.group, identity, fields, redelivered=False)
        return Delivery(made, self._address, self, identity)
