"""Dead letters: a stream without a group, read in place, and a lock, which is a key that expires.

Nothing is pending on the server. Where a lock holder dies, its lock expires and the dead letters are where they were.
The script that removes dead letters checks the lock in the same step: an object that has lost it removes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final

from msgbus.adapter import DeadLetterStore
from msgbus.adapter.envelope import Delivery
from msgbus.adapter.timeouts import cancel_and_wait
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
"""Seconds after which the lock of a dead process expires. A living lock holder renews it every third of that."""
RELEASE_TIMEOUT_SECONDS: Final = 2.0
"""Seconds that releasing the lock may take."""
LOCK_ACQUIRED: Final = 2
"""Reply of ACQUIRE_LOCK where the lock was free."""


class LockEpoch:
    """One uninterrupted time of holding the lock; the session of the dead letters that were taken in it."""


class RedisDeadLetterStore(DeadLetterStore):
    """Dead letters of one group and queue."""

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
        """Whether ``close()`` has been called."""
        return self._closed

    async def count(self) -> tuple[int, bool]:
        """Implement :meth:`DeadLetterStore.count`."""
        (length,) = await self._ask([("XLEN", self._key)], "counting dead letters")
        return length, True

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """Implement :meth:`DeadLetterStore.look`; cursors are entry ids."""
        (entries,) = await self._ask([self._page(after, limit)], "looking at dead letters")
        return self._deliveries(entries, limit, self)

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """Implement :meth:`DeadLetterStore.take`. Holds the lock until close(), however long that takes."""
        if self._closed:
            raise BrokerUnavailable(f"queue {self._address}: this dead-letter store is closed; open another")
        before, self._lock_epoch = (
            self._lock_epoch,
            None,
        )  # after a lost reply it would be unknown since when the lock is held
        self._tried = True
        commands = [self._call(ACQUIRE_LOCK), self._page(after, limit)]
        locked, entries = await self._ask(commands, "taking dead letters")
        if not locked:
            raise DeadLettersLocked(f"queue {self._address}: another process is taking from it; try again later")
        epoch = self._lock_epoch = before if before is not None and locked != LOCK_ACQUIRED else LockEpoch()
        if self._renewal_task is None or self._renewal_task.done():
            self._renewal_task = asyncio.get_running_loop().create_task(
                self._renew_lock(), name="msgbus redis dead-letter lock"
            )
        return self._deliveries(entries, limit, epoch)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """Implement :meth:`DeadLetterStore.remove`."""
        if self._lock_epoch is None or any(letter.session is not self._lock_epoch for letter in letters):
            raise self._lost()
        ids = [letter.receipt for letter in letters]
        for some in chunks(ids):
            (removed,) = await self._ask([self._call(REMOVE_DEAD_LETTERS, *some)], "removing dead letters")
            if removed < 0:
                self._lock_epoch = None
                raise self._lost()

    async def close(self) -> None:
        """Implement :meth:`DeadLetterStore.close`."""
        if self._closed:
            return
        self._closed = True
        self._lock_epoch = None
        await cancel_and_wait(self._renewal_task)
        if self._tried:
            await self._release_lock()

    async def _release_lock(self) -> None:
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_SECONDS):
                await self._run([self._call(RELEASE_LOCK)], "releasing the lock")
        except (BrokerError, TimeoutError) as error:
            logger.warning(
                "queue %s: releasing the lock failed: %s; other processes can take dead letters after %g s",
                self._address,
                error,
                self._expires,
            )

    async def _renew_lock(self) -> None:
        """Renew the lock until it is lost or released: its holder may work on a page for long."""
        while (epoch := self._lock_epoch) is not None:
            await asyncio.sleep(self._expires / 3)
            try:
                (kept,) = await self._run([self._call(RENEW_LOCK)], "renewing the lock")
            except BrokerError:
                continue  # take() and remove() raise the same; the lock is held until it expires
            if not kept and self._lock_epoch is epoch:
                self._lock_epoch = None

    # Commands.

    def _call(self, script: str, *more: bytes) -> Command:
        return script_command(script, (self._lock, self._key), (self._token, int(self._expires * 1000), *more))

    def _page(self, after: Hashable | None, limit: int) -> Command:
        begin = b"(" + after if isinstance(after, bytes) else b"-"
        return ("XRANGE", self._key, begin, "+", "COUNT", limit + 1)

    async def _ask(self, commands: Sequence[Command], doing: str) -> Sequence[Any]:
        exists, *replies = await self._run([("EXISTS", self._key), *commands], doing)
        if not exists:
            raise QueueNotFound(f"queue {self._address} does not exist; create_queue(groups=...) makes it")
        return replies

    async def _run(self, commands: Sequence[Command], doing: str) -> Sequence[Any]:
        doing = f"queue {self._address}: {doing}"
        replies = await self._client.run(commands, doing)
        if (refused := first_refusal(replies)) is not None:
            raise translate(refused, f"{self._client.address}: {doing}")
        return replies

    # Replies.

    def _deliveries(
        self, entries: Sequence[Any], limit: int, session: Hashable
    ) -> tuple[Sequence[Delivery], Hashable | None]:
        page = [self._delivery(identity, fields, session) for identity, fields in entries[:limit]]
        return page, page[-1].receipt if len(entries) > limit else None

    def _delivery(self, identity: bytes, fields: Sequence[bytes], session: Hashable) -> Delivery:
        made = decode_message(self._address, self._address.group, identity, fields, redelivered=False)
        return Delivery(made, self._address, session, identity)

    def _lost(self) -> DeadLetterLockLost:
        return DeadLetterLockLost(f"queue {self._address}: its lock was lost; take the dead letters again")
