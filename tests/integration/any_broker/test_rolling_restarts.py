"""Members are restarted one after another with messages in flight: nothing is lost or repeated."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from msgbus import connect
from msgbus.publishing.publication import Publication
from msgbus.testing.harness import Harness, publish_all
from msgbus.testing.probe import DEADLINE_SECONDS, within

if TYPE_CHECKING:
    from msgbus import Broker, Message
    from tests.support.servers import Server

ROUNDS = int(os.environ.get("MSGBUS_TEST_ROLLS", "1"))
"""How often each of the three members is restarted; more by MSGBUS_TEST_ROLLS=20."""
CONCURRENCY = 12
WORK = 0.02
"""Seconds of a callback."""
BACKLOG = 2000
"""Messages that wait when members begin, and are added whenever half of them are handled."""


class Group:
    """Its members, and what they handled together."""

    def __init__(self, url: str, queue: str) -> None:
        self._url = url
        self._queue = queue
        self.handled: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    async def join(self) -> Member:
        """One member more."""
        member = Member(connect(self._url, group="g"), self)
        await member.begin(self._queue)
        return member

    async def done(self, message: Message) -> None:
        """A callback has ended."""
        self.handled[message.id] += 1
        await self.changed()

    async def changed(self) -> None:
        """Somebody's hands are fuller or emptier."""
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Any, what: str) -> None:
        """Wait until it holds, looked at whenever something changes."""
        async with within(DEADLINE_SECONDS, what), self._changed:
            await self._changed.wait_for(condition)


class Member:
    """One member of the group."""

    def __init__(self, broker: Broker, group: Group) -> None:
        self.broker = broker
        self._group = group
        self.running = 0

    async def begin(self, queue: str) -> None:
        """Consume."""
        await self.broker.__aenter__()
        await (await self.broker.consume(queue, self._callback, concurrency=CONCURRENCY)).ready()

    async def stop_with_full_hands(self) -> tuple[int, int]:
        """Leave while callbacks run and more lies ready; how many of both."""
        await self._group.until(self._full, "full hands")
        running, held = self.running, self._held()
        await self.broker.close()
        assert self.running == 0, "what ran has ended"
        return running, held - running

    def _full(self) -> bool:
        return self.running >= CONCURRENCY - 2 and self._held() > self.running

    def _held(self) -> int:
        sessions = self.broker._members.by_group["g"]._sessions._sessions.values()
        return sum(len(session.in_flight) for session in sessions)

    async def _callback(self, message: Message) -> None:
        self.running += 1
        await self._group.changed()
        await asyncio.sleep(WORK)  # what a handler does
        self.running -= 1
        await self._group.done(message)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
async def test_a_rolling_restart_of_three_members_loses_and_repeats_nothing(
    name: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(f"{name}_server")
    async with Harness(server.url) as harness:
        queue = await harness.queue("g")
        publisher = await harness.broker("p")
        sent: list[str] = []

        async def more() -> None:
            wanted = [Publication(b"x", message_id=f"m{len(sent) + n}") for n in range(BACKLOG)]
            sent.extend(await publish_all(publisher, queue, wanted))

        await more()
        group = Group(server.url, queue)
        members = [await group.join() for _ in range(3)]
        hands: list[tuple[int, int]] = []
        for _ in range(ROUNDS):
            for place in range(3):
                if len(sent) - len(group.handled) < BACKLOG // 2:
                    await more()
                hands.append(await members[place].stop_with_full_hands())
                members[place] = await group.join()
        await group.until(lambda: len(group.handled) == len(sent), "handling all")
        for member in members:
            await member.broker.close()
    assert set(group.handled) == set(sent)
    assert set(group.handled.values()) == {1}, Counter(group.handled.values())
    running, ready = (sum(column) / len(hands) for column in zip(*hands, strict=True))
    print(f"\n{name}: {len(hands)} stops with {running:.1f} running and {ready:.1f} ready, {len(sent)} handled once")  # noqa: T201 - with -s
