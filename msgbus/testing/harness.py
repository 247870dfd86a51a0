"""Harness of a contract case: brokers on new queues, members that can be killed, and fences.

A fence is a set of messages published behind others. When all of them are handled, so are the messages before them.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from msgbus.adapter.url import BrokerURL
from msgbus.errors import DeadLettersLocked
from msgbus.publishing.publication import Publication
from msgbus.registry import adapter_type
from msgbus.testing.faults import ServerFaults
from msgbus.testing.members import Behaviour, ProcessMember, SeveredMember
from msgbus.testing.probe import DEADLINE_SECONDS, within
from msgbus.testing.verification import EventWriter, Kind, check, recorded, report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet
    from types import TracebackType

    from msgbus.adapter import Capabilities
    from msgbus.broker import Broker
    from msgbus.health import Health
    from msgbus.operations.dead_letters import DeadLetter
    from msgbus.retry import RetryPolicy
    from msgbus.testing.members import KillableMember
    from msgbus.testing.probe import Probe
    from msgbus.testing.verification import Event

__all__ = ["Harness", "dead_letters_of", "publish_all", "until_dead_letters", "until_health"]

FENCE_MESSAGES = 64
"""Messages of a fence, each with its own key: of 8 partitions, one stays without a fence once in 600 times."""


class Harness:
    """One case on one server, which is given by its URL."""

    def __init__(
        self,
        url: str,
        *,
        large: bool = False,
        say: Callable[[str], None] = lambda _: None,
        faults: ServerFaults | None = None,
    ) -> None:
        """Make a harness.

        Args:
            url: The server's URL.
            large: Let cases send as many messages as in a long run.
            say: Takes the figures that cases measure, a line each.
            faults: Faults that can be injected into this server; none by default.
        """
        self.url = url
        self.say = say
        self.faults = faults or ServerFaults()
        self._large = large
        self.scheme = BrokerURL.parse(url).scheme
        self._run = secrets.token_hex(4)
        self._names = 0
        self._members = 0
        self.events: list[Event] = []
        """Events of all brokers of this harness."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def capabilities(self) -> Capabilities:
        """The adapter's capabilities.

        Raises:
            AdapterNotFound: No adapter has the URL's scheme, or its client library is not installed.
        """
        return adapter_type(self.scheme).capabilities

    def size(self, small: int, large: int) -> int:
        """Return how many messages a case sends.

        Args:
            small: The number in a usual run.
            large: The number in a long run.
        """
        return large if self._large else small

    def name(self, word: str = "queue") -> str:
        """Return a new queue name, which is unique on a server that other runs use too.

        Args:
            word: Part of the name.
        """
        self._names += 1
        return f"contract-{self._run}.{word}{self._names}"

    async def queue(self, *groups: str, word: str = "queue", **settings: Any) -> str:
        """Create a new queue.

        Args:
            *groups: Groups of the queue.
            word: Part of the queue's name.
            **settings: Further arguments of ``Broker.create_queue()``.

        Returns:
            The queue's name.
        """
        name = self.name(word)
        async with self.make() as broker:
            await broker.create_queue(name, groups=groups, **settings)
        return name

    def make(self, group: str = "g", **settings: Any) -> Broker:
        """Make a recorded broker.

        Args:
            group: Default group of the broker.
            **settings: Further settings of ``connect()``.

        Returns:
            The broker, which is not started.
        """
        self._members += 1
        return recorded(self.url, EventWriter(f"member {self._members}", self.events.append), group=group, **settings)

    async def broker(self, group: str = "g", **settings: Any) -> Broker:
        """Start a broker.

        Args:
            group: Default group of the broker.
            **settings: Further settings of ``connect()``.

        Returns:
            The broker; it is closed at the end of the case.
        """
        return await self._stack.enter_async_context(self.make(group, **settings))

    async def member(
        self,
        queue: str,
        probe: Probe,
        group: str = "g",
        concurrency: int = 10,
        retry: RetryPolicy | None = None,
    ) -> Broker:
        """Start a member of a group, and wait until it is ready.

        Args:
            queue: The queue to consume.
            probe: The callback.
            group: The group.
            concurrency: Callbacks that run at the same time, at most.
            retry: The policy for failed messages; default: that of ``consume()``.

        Returns:
            The member's broker; it is closed at the end of the case.
        """
        broker = await self.broker(group)
        subscription = await broker.consume(queue, probe, concurrency=concurrency, retry=retry)
        await subscription.ready()
        return broker

    async def killable(
        self, queue: str, group: str = "g", *, hanging: str = "", forward_to: str = ""
    ) -> KillableMember:
        """Start a member that can be killed and frozen.

        Args:
            queue: The queue that it consumes.
            group: Its group.
            hanging: Id of the message whose callback never returns; empty: no callback returns.
            forward_to: Queue to which its callback publishes first; empty: none.

        Returns:
            The member; it is ended at the end of the case.
        """
        kind = ProcessMember if self.capabilities.durable else SeveredMember
        member = kind(Behaviour(self.url, queue, group, hanging, forward_to))
        self._stack.push_async_callback(member.end)
        await member.start()
        return member

    async def until_all_handled(self, probes: Sequence[Probe], ids: AbstractSet[str]) -> None:
        """Wait until probes have together handled certain messages.

        Args:
            probes: The probes.
            ids: Ids of the messages.
        """
        await _together(probes, lambda: ids <= {one.id for probe in probes for one in probe.handled}, "handling all")

    async def fence(self, broker: Broker, queue: str, *probes: Probe) -> None:
        """Publish a fence and wait until probes have together handled all of it.

        Args:
            broker: The broker that publishes the fence.
            queue: The queue.
            *probes: The probes of all members of one group.
        """
        mark = f"fence-{secrets.token_hex(4)}"
        ids = [f"{mark}-{n}" for n in range(FENCE_MESSAGES)]
        await publish_all(broker, queue, [Publication(b"fence", message_id=one, key=one) for one in ids])
        await _together(probes, lambda: _passed(ids, probes), "the fences")

    async def quiesce(self, broker: Broker, queue: str) -> None:
        """Wait until the lag of the broker's group is 0. A commit may be 200 ms late on Kafka.

        Args:
            broker: A broker of the group.
            queue: The queue.

        Raises:
            AssertionError: The lag was not 0 in time.
        """
        async with within(DEADLINE_SECONDS, f"no lag of {queue}"):
            while (await broker.lag(queue)).total:  # noqa: ASYNC110 - as the next line says
                await asyncio.sleep(0.02)  # a server does not announce it

    async def until_draining(self) -> None:
        """Wait until a session of this case is being drained.

        Raises:
            AssertionError: No drain began in time.
        """
        async with within(DEADLINE_SECONDS, "a drain"):
            while not any(event.kind is Kind.DRAINING for event in self.events):  # noqa: ASYNC110 - as the next line says
                await asyncio.sleep(0.001)  # a recording does not announce it

    def judge(self, *more: Event) -> None:
        """Assert that the promise was kept, by all events recorded so far. Call it when nothing is in progress.

        Fences are left out: only the probes that were waited for have handled them by now.

        Args:
            *more: Events of other processes, and faults.
        """
        events = [event for event in (*self.events, *more) if not event.id.startswith("fence-")]
        findings = check(events)
        assert not findings, report(events, findings)


def _passed(ids: Sequence[str], probes: Sequence[Probe]) -> bool:
    return set(ids) <= {one.id for probe in probes for one in probe.handled}


async def _together(probes: Sequence[Probe], condition: Callable[[], bool], what: str) -> None:
    # A probe checks the condition only when it is called: the probe that is called last sees that it holds.
    waiting = {asyncio.ensure_future(probe.until(condition, what)) for probe in probes}
    done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in others:
        one.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for one in done:
        one.result()


async def publish_all(broker: Broker, queue: str, messages: Sequence[Publication]) -> list[str]:
    """Publish ``messages``, assert that each was confirmed, and return their ids."""
    verdicts = await broker.publish_many(queue, messages)
    assert verdicts == [None] * len(messages), f"not all confirmed: {[v for v in verdicts if v][:3]}"
    return [str(one.message_id) for one in messages]


async def dead_letters_of(broker: Broker, queue: str) -> list[DeadLetter]:
    """Return all dead letters of the broker's own group; waits while another process has locked them."""
    while True:
        try:
            return [letter async for letter in broker.dead_letters(queue).look()]
        except DeadLettersLocked:
            await asyncio.sleep(0.05)  # the holder of the lock does not announce its end


async def until_dead_letters(broker: Broker, queue: str, count: int) -> list[DeadLetter]:
    """Wait until there are ``count`` dead letters, and return all of them."""
    found: list[DeadLetter] = []
    async with within(DEADLINE_SECONDS, f"{count} dead letters in {queue}"):
        while len(found) < count:
            await asyncio.sleep(0.05)  # a dead-letter queue does not announce new messages
            if await broker.dead_letters(queue).count() >= count:
                found = await dead_letters_of(broker, queue)
    return found


async def until_health(broker: Broker, condition: Callable[[Health], bool], what: str) -> Health:
    """Poll the broker's health until ``condition`` holds, and return that health."""
    async with within(DEADLINE_SECONDS, what):
        while not condition(health := await broker.health()):  # noqa: ASYNC110 - a change is not announced
            await asyncio.sleep(0.05)
    return health
