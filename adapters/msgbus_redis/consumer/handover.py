"""Handover of the entries that a leaving member has in flight, and repetition of handovers that failed.

A handover fails where the server is away while the member leaves. Then the entries stay pending for the member's old
consumer name for the whole visibility time, while its next name reads newer ones: out of order. So a failed handover
is kept, and the next subscription of this process to that stream repeats it before it reads.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from msgbus.errors import BrokerUnavailable
from msgbus_redis.consumer.acknowledger import serious_refusals
from msgbus_redis.lua import HAND_OVER, script_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from msgbus.errors import BrokerError
    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.pool import ConnectionPool

    Notify = Callable[[Iterable[bytes]], list[Command]]

__all__ = ["HANDOVER_CONSUMER", "Handover"]

HANDOVER_TIMEOUT_SECONDS: Final = 2.0
"""Seconds that a handover may take: close() waits for it."""
HANDOVER_CONSUMER: Final = "left"
"""The consumer name for which handed-over entries are pending until a member claims them."""


class Handover:
    """The handovers that the members of this process still have to make."""

    def __init__(self, client: ConnectionPool, visibility: float) -> None:
        self._client = client
        self._idle = int(visibility * 1000) + 1
        self._pending: defaultdict[tuple[str, bytes], set[str]] = defaultdict(set)

    async def leave(self, group: str, name: str, keys: Sequence[bytes], notify: Notify) -> dict[bytes, BrokerError]:
        """Hand over the entries that are pending for the consumer ``name`` on these streams.

        Args:
            group: The member's group.
            name: The member's consumer name.
            keys: Keys of the streams.
            notify: Makes the commands that notify the other members.

        Returns:
            The streams for which the server refuses it, each with its error; the next give_back() repeats it.

        Raises:
            BrokerUnavailable: There was no answer; the next ``give_back()`` repeats the handover.
            AccessRefused: The server does not let the user in; the next ``give_back()`` repeats the handover.
        """
        for key in keys:
            self.remember(group, name, key)
        return await self.give_back(group, keys, notify)

    def remember(self, group: str, name: str, key: bytes) -> None:
        """Have the next give_back() hand over what is pending for the consumer ``name`` on one stream."""
        self._pending[group, key].add(name)

    async def give_back(self, group: str, keys: Iterable[bytes], notify: Notify) -> dict[bytes, BrokerError]:
        """Make the handovers of earlier members on these streams that failed. Returns and raises as leave()."""
        pending = [(key, name) for key in keys for name in self._pending.get((group, key), ())]
        if not pending:
            return {}
        doing = f"leaving group {group}"
        commands = [
            script_command(HAND_OVER, key, (group, name, HANDOVER_CONSUMER, self._idle)) for key, name in pending
        ]
        try:
            async with asyncio.timeout(HANDOVER_TIMEOUT_SECONDS):
                replies = await self._client.run(commands, doing, HANDOVER_TIMEOUT_SECONDS)
                refused = serious_refusals((key for key, _ in pending), replies, self._client.address, doing)
                self._complete(group, [one for one in pending if one[0] not in refused])
                if signals := notify(_handed_over(pending, replies)):
                    await self._client.run(signals, doing, HANDOVER_TIMEOUT_SECONDS)
        except TimeoutError:
            raise BrokerUnavailable(
                f"{self._client.address}: {doing}: no answer within {HANDOVER_TIMEOUT_SECONDS:g} s"
            ) from None
        return refused

    def _complete(self, group: str, pending: Iterable[tuple[bytes, str]]) -> None:
        for key, name in pending:
            self._pending[group, key].discard(name)
            if not self._pending[group, key]:
                del self._pending[group, key]


def _handed_over(pending: Sequence[tuple[bytes, str]], replies: Sequence[Any]) -> list[bytes]:
    """Return the keys of the streams in which entries were handed over."""
    return [key for (key, _), reply in zip(pending, replies, strict=True) if isinstance(reply, int) and reply]
