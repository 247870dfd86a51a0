"""Dead letters: a stream without a group, looked at in place; a key that expires is the right to take from it.

Nothing is taken in the server, so a taker that dies leaves nothing to go back: its key expires, and the letters lie
where they lay. Removing checks the key in the same script, so a taker that was cut off removes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final

from msgbus.adapter import Letters
from msgbus.adapter.envelope import Delivery
from msgbus.errors import BrokerError, BrokerUnavailable, LettersBusy, LettersLost, QueueNotFound
from msgbus_redis.codec import message
from msgbus_redis.errors import ours, refusal
from msgbus_redis.keys import stream, taker
from msgbus_redis.lua import HOLD, KEEP, LET_GO, REMOVE, call, chunks

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from msgbus.adapter.address import Address
    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.pool import Client

__all__ = ["RedisLetters"]

logger = logging.getLogger("msgbus")

EXPIRES: Final = 10.0
"""Seconds after which others may take where a taker died."""
LETTING_GO: Final = 2.0
"""Seconds that letting go may take."""
FRESH: Final = 2
"""HOLD's answer where nobody had it."""


class Hold:
    """One uninterrupted time of having the right to take; the letters of that time carry it."""


class RedisLetters(Letters):
    """The dead-letter queue ``address``."""

    def __init__(self, client: Client, prefix: str, address: Address, expires: float = EXPIRES) -> None:
        self._client: Final = client
        self._address: Final = address
        self._key: Final = stream(prefix, address)
        self._lock: Final = taker(prefix, address)
        self._token: Final = secrets.token_hex(16)
        self._expires: Final = expires
        self._hold: Hold | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._tried = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """close() was called."""
        return self._closed

    async def count(self) -> tuple[int, bool]:
        """See Letters."""
        (length,) = await self._ask([("XLEN", self._key)], "counting letters")
        return length, True

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See Letters; cursors are entry ids."""
        (entries,) = await self._ask([self._page(after, limit)], "looking at letters")
        return self._letters(entries, limit, self)

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See Letters. Keeps the hold until close(), however long what is done with the letters takes."""
        if self._closed:
            raise BrokerUnavailable(f"queue {self._address}: its letters are closed")
        before, self._hold = self._hold, None  # where the answer is lost nobody knows since when it is ours
        self._tried = True
        commands = [self._call(HOLD), self._page(after, limit)]
        held, entries = await self._ask(commands, "taking letters")
        if not held:
            raise LettersBusy(f"queue {self._address}: somebody else is taking from it; try again later")
        hold = self._hold = before if before is not None and held != FRESH else Hold()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="msgbus redis letters")
        return self._letters(entries, limit, hold)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """See Letters."""
        if self._hold is None or any(letter.session is not self._hold for letter in letters):
            raise self._lost()
        ids = [letter.receipt for letter in letters]
        for some in chunks(ids):
            (removed,) = await self._ask([self._call(REMOVE, *some)], "removing letters")
            if removed < 0:
                self._hold = None
                raise self._lost()

    async def close(self) -> None:
        """See Letters."""
        if self._closed:
            return
        self._closed = True
        self._hold = None
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper}, timeout=1.0)
        if self._tried:
            await self._let_go()

    async def _let_go(self) -> None:
        try:
            async with asyncio.timeout(LETTING_GO):
                await self._run([self._call(LET_GO)], "letting go of letters")
        except (BrokerError, TimeoutError) as error:
            logger.warning("queue %s: others can take after %g s: %s", self._address, self._expires, error)

    async def _keep(self) -> None:
        """Renew the hold: a slow callback, or a person, must not lose it."""
        while (hold := self._hold) is not None:
            await asyncio.sleep(self._expires / 3)
            try:
                (kept,) = await self._run([self._call(KEEP)], "keeping letters")
            except BrokerError:
                continue  # take() and remove() say so themselves; until it expires it is ours
            if not kept and self._hold is hold:
                self._hold = None

    # Asking.

    def _call(self, script: str, *more: bytes) -> Command:
        return call(script, (self._lock, self._key), (self._token, int(self._expires * 1000), *more))

    def _page(self, after: Hashable | None, limit: int) -> Command:
        begin = b"(" + after if isinstance(after, bytes) else b"-"
        return ("XRANGE", self._key, begin, "+", "COUNT", limit + 1)

    async def _ask(self, commands: Sequence[Command], doing: str) -> Sequence[Any]:
        exists, *replies = await self._run([("EXISTS", self._key), *commands], doing)
        if not exists:
            raise QueueNotFound(f"queue {self._address} does not exist: create_queue(groups=...) makes it")
        return replies

    async def _run(self, commands: Sequence[Command], doing: str) -> Sequence[Any]:
        doing = f"queue {self._address}: {doing}"
        replies = await self._client.run(commands, doing)
        if (refused := refusal(replies)) is not None:
            raise ours(refused, f"{self._client.place}: {doing}")
        return replies

    # Answers.

    def _letters(
        self, entries: Sequence[Any], limit: int, session: Hashable
    ) -> tuple[Sequence[Delivery], Hashable | None]:
        page = [self._letter(identity, fields, session) for identity, fields in entries[:limit]]
        return page, page[-1].receipt if len(entries) > limit else None

    def _letter(self, identity: bytes, fields: Sequence[bytes], session: Hashable) -> Delivery:
        made = message(self._address, self._address.group, identity, fields, redelivered=False)
        return Delivery(made, self._address, session, identity)

    def _lost(self) -> LettersLost:
        return LettersLost(f"queue {self._address}: its letters are no longer in hand; take them again")
