"""Settling: what one member acknowledges, and what it says that it is still working on.

What was handed out or extended a moment ago is certainly still ours and goes out as one XACK; anything older only by a
script that checks the owner. A retry queue is read by its one group, so what is acknowledged there is deleted in the
same script: it would stay for ever and fill the server's memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from msgbus_redis.consumer.stream_session import StreamSession
from msgbus_redis.errors import first_refusal, translate
from msgbus_redis.lua import ACKNOWLEDGE, ACKNOWLEDGE_AND_DELETE, EXTEND, chunks, script_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from msgbus.adapter.envelope import Delivery
    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.pool import ConnectionPool
    from msgbus_redis.connection.server import ServerAddress

__all__ = ["Acknowledger", "raise_first_refusal"]


class Acknowledger:
    """One consumer name's."""

    def __init__(self, client: ConnectionPool, group: str, name: str) -> None:
        self._client: Final = client
        self._group: Final = group
        self._name: Final = name

    async def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """See Consumer; carried out at once."""
        now = asyncio.get_running_loop().time()
        held = list(_by_session(deliveries))
        if not held:
            return
        commands = [command for session, ids in held for command in self._acknowledging(session, ids, now)]
        await self._run(commands, "acknowledging")
        for session, ids in held:
            session.forget(ids)

    def _acknowledging(self, session: StreamSession, ids: Sequence[bytes], now: float) -> Iterator[Command]:
        if session.private:
            # Never by age: a wrong XACK has an entry handled twice, a wrong XDEL has it lost.
            yield from self._calls(ACKNOWLEDGE_AND_DELETE, session, ids)
            return
        new = [one for one in ids if session.certainly_owned(one, now)]
        if new:
            yield ("XACK", session.key, self._group, *new)
        yield from self._calls(ACKNOWLEDGE, session, [one for one in ids if not session.certainly_owned(one, now)])

    def _calls(self, script: str, session: StreamSession, ids: Sequence[bytes]) -> Iterator[Command]:
        return (script_command(script, session.key, (self._group, self._name, *some)) for some in chunks(ids))

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """See Consumer."""
        asked = [(session, some) for session, ids in _by_session(deliveries) for some in chunks(ids)]
        lost: dict[StreamSession, set[bytes]] = {}
        if asked:
            now = asyncio.get_running_loop().time()
            commands = [
                script_command(EXTEND, session.key, (self._group, self._name, *some)) for session, some in asked
            ]
            replies = await self._run(commands, "extending")
            for (session, some), reply in zip(asked, replies, strict=True):
                lost.setdefault(session, set()).update(_extended(session, some, reply, now))
        return [one for one in deliveries if _is_lost(one, lost)]

    async def _run(self, commands: Sequence[Command], doing: str) -> Sequence[Any]:
        doing = f"{doing} for group {self._group}"
        replies = await self._client.run(commands, doing)
        raise_first_refusal(replies, self._client.address, doing)
        return replies


def raise_first_refusal(replies: Iterable[Any], place: ServerAddress, doing: str) -> None:
    """Raise the first refusal, in our words."""
    # A deleted stream or group has nothing left to acknowledge; receive() says so.
    serious = [one for one in replies if isinstance(one, ResponseError) and "NOGROUP" not in str(one)]
    if (refused := first_refusal(serious)) is not None:
        raise translate(refused, f"{place}: {doing}")


def _by_session(deliveries: Iterable[Delivery]) -> Iterator[tuple[StreamSession, list[bytes]]]:
    """The ids of what is still held; the rest is no longer ours."""
    ids: dict[StreamSession, list[bytes]] = {}
    for delivery in deliveries:
        session = delivery.session
        if isinstance(session, StreamSession) and delivery.receipt in session.in_flight:
            ids.setdefault(session, []).append(delivery.receipt)
    yield from ids.items()


def _extended(session: StreamSession, ids: Sequence[bytes], reply: Any, now: float) -> Sequence[bytes]:
    gone = [] if isinstance(reply, ResponseError) else list(reply)
    session.forget(gone)
    for one in ids:
        if one in session.in_flight:
            session.in_flight[one] = now
    return gone


def _is_lost(delivery: Delivery, lost: Mapping[StreamSession, set[bytes]]) -> bool:
    session = delivery.session
    if not isinstance(session, StreamSession) or session.over:
        return True
    return delivery.receipt in lost.get(session, ())
