"""Acknowledging and extending the in-flight entries of one member.

An entry that was handed out or extended within half of the visibility time is certainly still this member's: it goes
into one XACK. Any older entry is acknowledged by a script that checks the owner. A retry queue is read by one group
only, so the script that acknowledges there also deletes: its entries would fill the server's memory otherwise.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.exceptions import ResponseError

from msgbus_redis.consumer.stream_session import StreamSession
from msgbus_redis.errors import is_queues_own, translate
from msgbus_redis.lua import ACKNOWLEDGE, ACKNOWLEDGE_AND_DELETE, EXTEND, chunks, script_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from msgbus.adapter.envelope import Delivery
    from msgbus.errors import BrokerError
    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.pool import ConnectionPool
    from msgbus_redis.connection.server import ServerAddress

__all__ = ["Acknowledger", "serious_refusals"]

_T = TypeVar("_T")


class Acknowledger:
    """Acknowledges and extends for one consumer name."""

    def __init__(
        self, client: ConnectionPool, group: str, name: str, on_refused: Callable[[StreamSession, BrokerError], None]
    ) -> None:
        """``on_refused`` is called for a stream in which the server refuses to acknowledge or extend."""
        self._client: Final = client
        self._group: Final = group
        self._name: Final = name
        self._on_refused: Final = on_refused

    async def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Implement :meth:`Consumer.acknowledge`, at once."""
        now = asyncio.get_running_loop().time()
        ids_by_session = list(_by_session(deliveries))
        if not ids_by_session:
            return
        asked = [
            (session, command) for session, ids in ids_by_session for command in self._acknowledging(session, ids, now)
        ]
        _, refused = await self._run(asked, "acknowledging")
        for session, ids in ids_by_session:
            if session not in refused:
                session.forget(ids)

    def _acknowledging(self, session: StreamSession, ids: Sequence[bytes], now: float) -> Iterator[Command]:
        if session.private:
            # Never by age: a wrong XACK repeats an entry, a wrong XDEL loses it.
            yield from self._calls(ACKNOWLEDGE_AND_DELETE, session, ids)
            return
        new = [one for one in ids if session.certainly_owned(one, now)]
        if new:
            yield ("XACK", session.key, self._group, *new)
        yield from self._calls(ACKNOWLEDGE, session, [one for one in ids if not session.certainly_owned(one, now)])

    def _calls(self, script: str, session: StreamSession, ids: Sequence[bytes]) -> Iterator[Command]:
        return (script_command(script, session.key, (self._group, self._name, *some)) for some in chunks(ids))

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.extend`."""
        asked = [(session, some) for session, ids in _by_session(deliveries) for some in chunks(ids)]
        lost: dict[StreamSession, set[bytes]] = {}
        if asked:
            now = asyncio.get_running_loop().time()
            commands = [
                (session, script_command(EXTEND, session.key, (self._group, self._name, *some)))
                for session, some in asked
            ]
            replies, _ = await self._run(commands, "extending")
            for (session, some), reply in zip(asked, replies, strict=True):
                lost.setdefault(session, set()).update(_extend(session, some, reply, now))
        return [one for one in deliveries if _is_lost(one, lost)]

    async def _run(
        self, asked: Sequence[tuple[StreamSession, Command]], doing: str
    ) -> tuple[Sequence[Any], Mapping[StreamSession, BrokerError]]:
        """Send the commands; return the replies, and the streams that are refused."""
        doing = f"{doing} for group {self._group}"
        replies = await self._client.run([command for _, command in asked], doing)
        refused = serious_refusals((session for session, _ in asked), replies, self._client.address, doing)
        for session, error in refused.items():
            self._on_refused(session, error)
        return replies, refused


def serious_refusals(
    subjects: Iterable[_T], replies: Iterable[Any], server: ServerAddress, doing: str
) -> dict[_T, BrokerError]:
    """Return what the server refuses, by the stream that is the subject of each reply.

    A deleted stream or group is left out: there is nothing to acknowledge in it, and receive() reports it.

    Raises:
        BrokerUnavailable, AccessRefused: An error reply is the connection's and no stream's.
    """
    refused: dict[_T, BrokerError] = {}
    for subject, reply in zip(subjects, replies, strict=True):
        if not isinstance(reply, ResponseError) or "NOGROUP" in str(reply):
            continue
        error = translate(reply, f"{server}: {doing}")
        if not is_queues_own(reply):
            raise error
        refused.setdefault(subject, error)
    return refused


def _by_session(deliveries: Iterable[Delivery]) -> Iterator[tuple[StreamSession, list[bytes]]]:
    """Yield the ids that are still in flight, by session; other members own the rest."""
    ids: dict[StreamSession, list[bytes]] = {}
    for delivery in deliveries:
        session = delivery.session
        if isinstance(session, StreamSession) and session.holds(delivery.receipt):
            ids.setdefault(session, []).append(delivery.receipt)
    yield from ids.items()


def _extend(session: StreamSession, ids: Sequence[bytes], reply: Any, now: float) -> Sequence[bytes]:
    """Update the session by the reply of EXTEND, and return the ids that are lost."""
    gone = [] if isinstance(reply, ResponseError) else list(reply)
    session.forget(gone)
    session.extend(ids, now)
    return gone


def _is_lost(delivery: Delivery, lost: Mapping[StreamSession, set[bytes]]) -> bool:
    session = delivery.session
    if not isinstance(session, StreamSession) or session.over:
        return True
    return delivery.receipt in lost.get(session, ())
