"""Dead letters: a stream without a group, looked at in place; a key that expires is the right to take from it.

Nothing is taken in the server, so a taker that dies leaves nothing to go back: its key expires, and the letters lie
where they lay. Removing checks the key in the same script, so a taker that was cut off removes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final

from msgbus.adapter import DeadLetterStore
from msgbus.adapter.envelope import Delivery
from msgbus.errors import BrokerError, BrokerUnavailable, DeadLetterLockLost, DeadLettersLocked, QueueNotFound
from msgbus_redis.codec import decode_message
from msgbus_redis.errors import first_refusal, translate
from msgbus_redis.keys import lock_key, stream_key
from msgbus_redis.lua import ACQUIRE_LOCK, RELEASE_LOCK, REMOVE_DEAD_LETTERS, RENEW_LOCK, chunks, script_command

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from msgbus.adapter.address import Address
    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.pool import ConnectionPool

__all__ = ["RedisDeadLetterStore"]

logger = logging.getLogger("msgbus.redis")

LOCK_TTL_SECONDS: Final = 10.0
"""Seconds after which others may take where a taker died."""
RELEASE_TIMEOUT_SECONDS: Final = 2.0
"""Seconds that letting go may take."""
LOCK_ACQUIRED: Final = 2
"""HOLD's answer where nobody had it."""


class LockEpoch:
    """One uninterrupted time of having the right to take; the letters of that time carry it."""


class RedisDeadLetterStore(DeadLetterStore):
    """The dead-letter queue ``address``."""

    def __init__(
        self, client: ConnectionPool, prefix: str, address: Address, expires: float = LOCK_TTL_SECONDS
    ) -> None:
        self._client: Final = client
        self._address: Final = address
        self._key: Final = stream_key(prefix, address)
        self._lock: Final = lock_key(prefix, address)
        self._token: Final = secrets.token_hex(16)
        self._expires: Final = expires
        self._lock_epoch: LockEpoch | None = None
        self._renewal_task: asyncio.Task[None] | None = None
        self._tried = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """close() was called."""
        return self._closed

    async def count(self) -> tuple[int, bool]:
        """See DeadLetterStore."""
        (length,) = await self._ask([("XLEN", self._key)], "counting letters")
        return length, True

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See DeadLetterStore; cursors are entry ids."""
        (entries,) = await self._ask([self._page(after, limit)], "looking at letters")
        return self._deliveries(entries, limit, self)

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See DeadLetterStore. Keeps the hold until close(), however long what is done with the letters takes."""
        if self._closed:
            raise BrokerUnavailable(f"queue {self._address}: its letters are closed")
        before, self._lock_epoch = self._lock_epoch, None  # where the answer is lost nobody knows since when it is ours
        self._tried = True
        commands = [self._call(ACQUIRE_LOCK), self._page(after, limit)]
        held, entries = await self._ask(commands, "taking letters")
        if not held:
            raise DeadLettersLocked(f"queue {self._address}: somebody else is taking from it; try again later")
        hold = self._lock_epoch = before if before is not None and held != LOCK_ACQUIRED else LockEpoch()
        if self._renewal_task is None or self._renewal_task.done():
            self._renewal_task = asyncio.get_running_loop().create_task(self._renew_lock(), name="msgbus redis letters")
        return self._deliveries(entries, limit, hold)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """See DeadLetterStore."""
        if self._lock_epoch is None or any(letter.session is not self._lock_epoch for letter in letters):
            raise self._lost()
        ids = [letter.receipt for letter in letters]
        for some in chunks(ids):
            (removed,) = await self._ask([self._call(REMOVE_DEAD_LETTERS, *some)], "removing letters")
            if removed < 0:
                self._lock_epoch = None
                raise self._lost()

    async def close(self) -> None:
        """See DeadLetterStore."""
        if self._closed:
            return
        self._closed = True
        self._lock_epoch = None
        if self._renewal_task is not None:
            self._renewal_task.cancel()
            await asyncio.wait({self._renewal_task}, timeout=1.0)
        if self._tried:
            await self._release_lock()

    async def _release_lock(self) -> None:
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_SECONDS):
                await self._run([self._call(RELEASE_LOCK)], "letting go of letters")
        except (BrokerError, TimeoutError) as error:
            logger.warning("queue %s: others can take after %g s: %s", self._address, self._expires, error)

    async def _renew_lock(self) -> None:
        """Renew the hold: a slow callback, or a person, must not lose it."""
        while (hold := self._lock_epoch) is not None:
            await asyncio.sleep(self._expires / 3)
            try:
                (kept,) = await self._run([self._call(RENEW_LOCK)], "keeping letters")
            except BrokerError:
                continue  # take() and remove() say so themselves; until it expires it is ours
            if not kept and self._lock_epoch is hold:
                self._lock_epoch = None

    # Asking.

    def _call(self, script: str, *more: bytes) -> Command:
        return script_command(script, (self._lock, self._key), (self._token, int(self._expires * 1000), *more))

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
        if (refused := first_refusal(replies)) is not None:
            raise translate(refused, f"{self._client.address}: {doing}")
        return replies

    # Answers.

    def _deliveries(
        self, entries: Sequence[Any], limit: int, session: Hashable
    ) -> tuple[Sequence[Delivery], Hashable | None]:
        page = [self._letter(identity, fields, session) for identity, fields in entries[:limit]]
        return page, page[-1].receipt if len(entries) > limit else None

    def _letter(self, identity: bytes, fields: Sequence[bytes], session: Hashable) -> Delivery:
        made = decode_message(self._address, self._address.group, identity, fields, redelivered=False)
        return Delivery(made, self._address, session, identity)

    def _lost(self) -> DeadLetterLockLost:
        return DeadLetterLockLost(f"queue {self._address}: its letters are no longer in hand; take them again")
