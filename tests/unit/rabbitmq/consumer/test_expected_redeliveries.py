"""Expected redeliveries: newer messages of a key wait for those that were in flight on a lost channel."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest

from msgbus_rabbitmq.consumer.expected_redeliveries import ExpectedRedeliveries

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 4


@dataclass(eq=False)
class Row:
    key: str | None
    number: int
    redelivered: bool = False

    @property
    def id(self) -> str:
        return str(self.number)


def rows(*numbers: int, key: str | None = "k", again: bool = False) -> list[Row]:
    return [Row(key, number, again) for number in numbers]


def handed(returning: ExpectedRedeliveries, arriving: list[Row], room: int = 100) -> list[int]:
    for row in arriving:
        returning.record_arrival(row)
    return [row.number for row in returning.pick(deque(arriving), room)]


def test_newer_messages_of_a_key_wait_for_what_was_in_hand() -> None:
    returning, pushed = ExpectedRedeliveries(rows(5, 6), 5), deque(rows(7, 8))
    for row in pushed:
        returning.record_arrival(row)
    assert not returning.pick(pushed, 10)
    back = rows(6, 5, again=True)
    for row in back:
        returning.record_arrival(row)
    pushed.extend(back)
    assert [row.number for row in returning.pick(pushed, 3)] == [5, 6, 7]
    assert [row.number for row in returning.pick(pushed, 3)] == [8]
    assert not returning


def test_other_keys_and_what_has_none_do_not_wait() -> None:
    returning = ExpectedRedeliveries([*rows(5), *rows(1, key=None)], 5)
    assert handed(returning, [*rows(7, key="other"), *rows(8, key=None), *rows(9)]) == [7, 8]


def test_what_others_got_is_not_waited_for_once_something_new_comes_behind_what_came_back() -> None:
    returning = ExpectedRedeliveries(rows(5, 6), 5)
    assert handed(returning, [*rows(6, again=True), *rows(7)]) == [6, 7]


def test_something_new_that_came_before_proves_nothing() -> None:
    returning = ExpectedRedeliveries(rows(5, 6), 5)
    assert not handed(returning, [*rows(7), *rows(6, again=True)])


def test_after_its_time_nothing_is_waited_for() -> None:
    returning = ExpectedRedeliveries(rows(5, 6), 5)
    returning.begin(100.0)
    pushed = deque(rows(7, 8))
    for row in pushed:
        returning.record_arrival(row)
    assert returning.remaining_seconds(104.0) == 1
    assert returning.remaining_seconds(106.0) == 0
    assert returning.give_up() == 2
    assert [row.number for row in returning.pick(pushed, 10)] == [7, 8]


@pytest.mark.parametrize(("patience", "left"), [(0, 1), (9, 9)], ids=["left in good order", "lost again"])
def test_a_channel_that_is_lost_too_starts_the_time_again(patience: float, left: float) -> None:
    returning = ExpectedRedeliveries(rows(5), 5)
    returning.begin(100.0)
    returning.record_loss(rows(), patience)
    returning.begin(104.0)
    assert returning.remaining_seconds(104.0) == left


@dataclass
class Channel:
    out: dict[Row, None] = field(default_factory=dict)
    acknowledged: list[Row] = field(default_factory=list)


@dataclass
class Server:
    """A quorum queue: what came back goes out first; it takes back a channel's all at once, when it notices."""

    ready: deque[Row] = field(default_factory=deque)
    back: deque[Row] = field(default_factory=deque)
    unnoticed: list[Channel] = field(default_factory=list)

    def next(self) -> Row | None:
        source = self.back or self.ready
        return source.popleft() if source else None

    def take_back(self, channel: Channel) -> None:
        self.back.extend(Row(row.key, row.number, redelivered=True) for row in channel.out)


class Member:
    """One channel after another, as ChannelSession is."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.channel = Channel()
        self.returning: ExpectedRedeliveries | None = None
        self.newest_again = False
        self.pushed: deque[Row] = deque()
        self.hand: dict[Row, None] = {}
        self.lanes: dict[str | None, list[Row]] = {}
        self.handled: list[Row] = []

    def receive(self, room: int) -> None:
        while len(self.channel.out) < LIMIT and (row := self.server.next()):
            self.channel.out[row] = None
            self.pushed.append(row)
            self.newest_again = row.redelivered
            if self.returning:
                self.returning.record_arrival(row)
        if self.returning:
            taken = self.returning.pick(self.pushed, room)
        else:
            taken = [self.pushed.popleft() for _ in range(min(room, len(self.pushed)))]
        for row in taken:
            self.hand[row] = None
            self.lanes.setdefault(row.key, []).append(row)
        if self.returning and not self.hand and len(self.pushed) >= LIMIT:
            self.leave()

    def finish(self, key: str | None) -> None:
        if lane := self.lanes.get(key):
            row = lane.pop(0)
            self.handled.append(row)
            self.channel.acknowledged.append(row)
            del self.hand[row]

    def flush(self, most: int = LIMIT) -> None:
        for _ in range(min(most, len(self.channel.acknowledged))):
            del self.channel.out[self.channel.acknowledged.pop(0)]

    def lose(self) -> None:
        self.server.unnoticed.append(self.channel)
        self._end(9.0)

    def leave(self) -> None:
        self.flush()
        self.server.take_back(self.channel)
        self._end(0.0)

    def _end(self, patience: float) -> None:
        had = [*self.hand, *self.pushed]
        if self.returning:
            self.returning.record_loss(had, patience)
        elif patience or self.newest_again or any(row.redelivered for row in had):
            self.returning = ExpectedRedeliveries(had, patience or 9.0)
        self.newest_again = False
        self.channel, self.pushed, self.hand, self.lanes = Channel(), deque(), {}, {}


class World:
    """One member and others of its group, whose messages are not watched."""

    def __init__(self) -> None:
        self.server = Server()
        self.member = Member(self.server)
        self.published = 0
        self.elsewhere: set[int] = set()
        self.in_time = True

    def publish(self, key: str) -> None:
        self.server.ready.append(Row(key, self.published))
        self.published += 1

    def notice(self, at: int) -> None:
        if at < len(self.server.unnoticed):
            self.server.take_back(self.server.unnoticed.pop(at))

    def lose(self, acknowledged: int) -> None:
        self.member.flush(acknowledged)
        self.member.lose()

    def others(self, most: int) -> None:
        for _ in range(most):
            if row := self.server.next():
                self.elsewhere.add(row.number)

    def settle(self) -> None:
        """All is noticed, nothing breaks any more, and at last time is over for what others got."""
        while self.server.unnoticed:
            self.notice(0)
        self._work()
        if self.member.returning and self.elsewhere:
            self.in_time = not self.member.returning.give_up()
            self._work()

    def _work(self) -> None:
        for _ in range(2 * self.published + 2):
            self.member.receive(LIMIT)
            for key in "ab" * LIMIT:
                self.member.finish(key)
            self.member.flush(2 * LIMIT)


def steps(world: World, chance: Random, others: int) -> list[Callable[[], None]]:
    """One of each, the usual ones more often."""
    key, few = chance.choice("ab"), chance.randrange(3)
    member = world.member
    return [
        *[lambda: world.publish(key)] * 3,
        *[lambda: member.receive(1 + few)] * 3,
        *[lambda: member.finish(key)] * 2,
        lambda: member.flush(few),
        lambda: world.lose(few),
        lambda: world.notice(few),
        lambda: world.others(few * others),
        member.leave,
    ]


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "one of several"])
def test_a_member_keeps_the_order_of_each_key_whatever_is_lost(others: int) -> None:
    for seed in range(1000):
        chance, world = Random(seed), World()
        for _ in range(100):
            chance.choice(steps(world, chance, others))()
        world.settle()
        first = dict.fromkeys((row.key, row.number) for row in world.member.handled)
        mine = {key: [number for one, number in first if one == key] for key in "ab"}
        assert not world.in_time or all(numbers == sorted(numbers) for numbers in mine.values()), seed
        assert {number for _, number in first} | world.elsewhere == set(range(world.published)), seed
