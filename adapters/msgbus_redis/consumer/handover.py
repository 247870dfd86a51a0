"""Giving back what a member holds, and remembering what could not be given back.

A server that is away when a member lets go cannot be told. What is pending for the member's old name would wait there
for the visibility time, while the member's next name reads what is newer: out of order. So it is owed, and the next
subscription of this process to that stream gives it back first.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from msgbus.errors import BrokerUnavailable
from msgbus_redis.consumer.acknowledger import raise_first_refusal
from msgbus_redis.lua import HAND_OVER, script_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.pool import ConnectionPool

    Ring = Callable[[Iterable[bytes]], list[Command]]

__all__ = ["HANDOVER_CONSUMER", "Handover"]

HANDOVER_TIMEOUT_SECONDS: Final = 2.0
"""Seconds that giving back may take."""
HANDOVER_CONSUMER: Final = "left"
"""The consumer name that holds what was given back until somebody takes it over."""


class Handover:
    """What the members of this process owe to their groups."""

    def __init__(self, client: ConnectionPool, visibility: float) -> None:
        self._client = client
        self._idle = int(visibility * 1000) + 1
        self._pending: defaultdict[tuple[str, bytes], set[str]] = defaultdict(set)

    async def leave(self, group: str, name: str, keys: Sequence[bytes], notify: Ring) -> None:
        """Give back what is pending for ``name`` on these streams; ``ring`` makes the commands that tell the others.

        Raises BrokerUnavailable, AccessRefused: then it is owed.
        """
        for key in keys:
            self._pending[group, key].add(name)
        await self.give_back(group, keys, notify)

    async def give_back(self, group: str, keys: Iterable[bytes], notify: Ring) -> None:
        """What is owed to the group on these streams. Raises as leave()."""
        owed = [(key, name) for key in keys for name in self._pending.get((group, key), ())]
        if not owed:
            return
        doing = f"leaving group {group}"
        commands = [script_command(HAND_OVER, key, (group, name, HANDOVER_CONSUMER, self._idle)) for key, name in owed]
        try:
            async with asyncio.timeout(HANDOVER_TIMEOUT_SECONDS):
                replies = await self._client.run(commands, doing, HANDOVER_TIMEOUT_SECONDS)
                raise_first_refusal(replies, self._client.address, doing)
                self._completed(group, owed)
                if bells := notify(_given(owed, replies)):
                    await self._client.run(bells, doing, HANDOVER_TIMEOUT_SECONDS)
        except TimeoutError:
            raise BrokerUnavailable(
                f"{self._client.address}: {doing}: no answer within {HANDOVER_TIMEOUT_SECONDS:g} s"
            ) from None

    def _completed(self, group: str, owed: Iterable[tuple[bytes, str]]) -> None:
        for key, name in owed:
            self._pending[group, key].discard(name)
            if not self._pending[group, key]:
                del self._pending[group, key]


def _given(owed: Sequence[tuple[bytes, str]], replies: Sequence[Any]) -> list[bytes]:
    return [key for (key, _), reply in zip(owed, replies, strict=True) if isinstance(reply, int) and reply]
