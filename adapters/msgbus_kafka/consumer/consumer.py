"""KafkaConsumer: one AIOKafkaConsumer of a group for all its topics."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from msgbus.adapter import Consumer
from msgbus.adapter.timeouts import wait_for_event
from msgbus.errors import BrokerError, BrokerUnavailable
from msgbus_kafka.aiokafka_internals import consumer_state
from msgbus_kafka.aiokafka_internals.shutdown import stop_consumer
from msgbus_kafka.consumer.fetch_loop import FetchLoop
from msgbus_kafka.consumer.offset_commits import OffsetCommits
from msgbus_kafka.consumer.partition_session import PartitionSessions
from msgbus_kafka.consumer.rebalance import RebalanceHandler
from msgbus_kafka.consumer.stall_watchdog import StallWatchdog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from aiokafka.structs import TopicPartition

    from msgbus.adapter import SessionListener
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery
    from msgbus_kafka.client_types.consumer import ConsumerClient
    from msgbus_kafka.consumer.group_state import GroupState
    from msgbus_kafka.consumer.partition_session import PartitionSession
    from msgbus_kafka.options import Timing

__all__ = ["KafkaConsumer"]

SETTLE_TIMEOUT_SECONDS: Final = 30.0
REBALANCE_WAIT_SECONDS: Final = 5.0
"""Seconds to wait for a rebalance in progress before the subscription is changed."""
LAST_COMMIT_TIMEOUT_SECONDS: Final = 3.0
LEAVE_TIMEOUT_SECONDS: Final = 5.0
"""Seconds for leaving the group; while others rebalance it took 4.8."""
LEAVE_TIMEOUT_UNREACHABLE_SECONDS: Final = 1.5
"""The same when the last commit got no answer either."""


class KafkaConsumer(Consumer):
    """Implements :class:`Consumer`.

    ``receive()`` never waits for the network: a task fetches, ``receive()`` hands out.
    """

    def __init__(
        self, client: ConsumerClient, listener: SessionListener, group_state: GroupState, timing: Timing
    ) -> None:
        self._client = client
        self._group_state = group_state
        self._wanted: dict[str, Address] = {}
        self._refused: dict[Address, BrokerError] = {}
        """Queues that were refused when they were checked last."""
        self._event = asyncio.Event()
        self.closed = False
        self._sessions = PartitionSessions(group_state.group)
        commits = OffsetCommits(consumer_state.coordinator_of(client), self._sessions, timing.commit, self._confirmed)
        self._timing = timing
        self._fetch_loop = FetchLoop(client, self._sessions, group_state, self._fetched)
        self._rebalance = RebalanceHandler(client, listener, self._sessions, commits, timing)
        self._commits = commits
        self._watchdog = StallWatchdog(client, self._sessions, group_state, self._rebalance.stable)
        self._fetch_task: asyncio.Task[None] | None = None
        self._background_tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start fetching, committing and watching for stalls; close() ends all three."""
        group = self._group_state.group
        self._fetch_task = asyncio.create_task(self._fetch_loop.run(), name=f"msgbus fetching for {group}")
        self._background_tasks = [
            asyncio.create_task(self._commits.run(), name=f"msgbus committing for {group}"),
            asyncio.create_task(self._watchdog.run(self._on_stall), name=f"msgbus watching over {group}"),
        ]

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> Mapping[Address, BrokerError]:
        """Implement :meth:`Consumer.subscribe`."""
        self._alive()
        refused = await self._check_topics(limits.keys())
        wanted = {str(address): address for address in limits if address not in refused}
        self._sessions.limit(limits)
        if wanted.keys() != self._wanted.keys():
            fresh = wanted.keys() - self._wanted.keys()
            self._group_state.initial_offsets.expect(
                {name for name, address in wanted.items() if not address.part}, {str(address) for address in newest}
            )
            await self._change(wanted)
            await self._until_groups_exist(fresh)
            self._alive()
        return refused

    async def _until_groups_exist(self, fresh: AbstractSet[str]) -> None:
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_SECONDS):
                await self._group_state.initial_offsets.wait_until_committed(fresh)
        except TimeoutError:
            return  # partition 0 has no owner yet: the OffsetFetch guard continues

    async def _check_topics(self, asked: AbstractSet[Address]) -> Mapping[Address, BrokerError]:
        """Return the queues that cannot be consumed, each with its error: missing, or not to be read by this user.

        One topic in a subscription that the user may not read would be an error of every fetch.
        """
        try:
            found = await self._group_state.topics.states(asked)
            states = {one: state for one, state in found.items() if not isinstance(state, BrokerError)}
            refused = {one: state for one, state in found.items() if isinstance(state, BrokerError)}
            fresh = {str(one): state for one, state in states.items() if str(one) not in self._wanted}
            unread = await self._group_state.topics.refused_reads(fresh)
            refused |= {one: unread[str(one)] for one in states if str(one) in unread}
        except BrokerUnavailable:
            if not asked <= {*self._wanted.values(), *self._refused}:
                raise
            # aiokafka survives an outage; a check of topics must not end that.
            return {one: error for one, error in self._refused.items() if one in asked}
        self._refused = {one: error for one, error in self._refused.items() if one not in asked} | refused
        self._compare({str(address): len(state.leaders) for address, state in states.items()})
        return refused

    def _compare(self, widths: Mapping[str, int]) -> None:
        """Refresh aiokafka's metadata, up to a minute old, if a topic has another number of partitions by now."""
        there = {name: consumer_state.partition_count(self._client, name) for name in self._wanted}
        if any(widths.get(name, width) != width for name, width in there.items()):
            consumer_state.refresh_metadata(self._client)

    async def _change(self, wanted: dict[str, Address]) -> None:
        await wait_for_event(REBALANCE_WAIT_SECONDS, self._rebalance.stable)
        while len(self._sessions):  # a rebalance may have begun new ones meanwhile
            await self._rebalance.revoke_all(self._timing.drain, self._timing.commit)
        self._wanted = wanted
        self._rebalance.expect(wanted)
        if wanted:
            self._client.subscribe(sorted(wanted), listener=self._rebalance)  # without it the listener is dropped
            await wait_for_event(SETTLE_TIMEOUT_SECONDS, self._rebalance.stable)
        else:
            await self._leave()
            self._rebalance.stable.set()

    async def _leave(self) -> None:
        """Leave the group.

        ``unsubscribe()`` leaves in a task that cannot be awaited, and requests the metadata of all topics.
        """
        consumer_state.unsubscribe(self._client)
        leaving = asyncio.ensure_future(consumer_state.leave_group(self._client))
        await asyncio.wait({leaving}, timeout=LEAVE_TIMEOUT_SECONDS)
        leaving.cancel()

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.receive`."""
        self._alive()
        deliveries = self._sessions.take(capacity)
        if not deliveries:
            await wait_for_event(timeout, self._event)
            self._alive()
            deliveries = self._sessions.take(capacity)
        self._event.clear()
        return deliveries

    def wake(self) -> None:
        """Implement :meth:`Consumer.wake`."""
        self._event.set()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Implement :meth:`Consumer.acknowledge`. The broker gets the commit within 200 ms."""
        freed = False
        for delivery in deliveries:
            session: PartitionSession = delivery.session  # type: ignore[assignment]  # the core returns deliveries of this consumer
            if session.finished(delivery.position or 0) and session.waiting:
                freed = True
        if freed:  # its next record may have been over the limit
            self._event.set()

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.extend`: heartbeats keep the sessions of the whole member."""
        del deliveries
        return ()

    def problem(self, address: Address) -> str:
        """Implement :meth:`Consumer.problem`. aiokafka survives an outage without an error from receive()."""
        return self._rebalance.problem() or self._fetch_loop.problem(address) if self._wanted else ""

    async def close(self, budget: float) -> None:
        """Implement :meth:`Consumer.close`."""
        if self.closed:
            return
        self.closed = True
        self._rebalance.close()
        flushed = False
        with contextlib.suppress(TimeoutError):  # a rebalance is revoking already: its sessions are lost
            async with asyncio.timeout(budget + LAST_COMMIT_TIMEOUT_SECONDS + 1):
                flushed = await self._rebalance.revoke_all(budget, LAST_COMMIT_TIMEOUT_SECONDS)
        self._rebalance.mark_all_lost()
        self._fetch_loop.stop()
        for task in self._background_tasks:
            task.cancel()
        self._event.set()
        await stop_consumer(self._client, LEAVE_TIMEOUT_SECONDS if flushed else LEAVE_TIMEOUT_UNREACHABLE_SECONDS)
        # getmany() during a rebalance waits for an assignment that will not come.
        if self._fetch_task is not None:
            self._fetch_task.cancel()
            await asyncio.wait({self._fetch_task, *self._background_tasks}, timeout=1.0)

    def _confirmed(self, partition: TopicPartition, offset: int) -> None:
        self._group_state.start_offsets.committed(partition, offset)
        if (session := self._sessions.living(partition)) is not None and session.waiting:
            self._event.set()  # its next record may have been too far above the last commit

    def _on_stall(self, why: str) -> None:
        self._fetch_loop.fail(BrokerUnavailable(f"kafka: consumer stalled: {why}; replacing the consumer"))

    def _fetched(self) -> None:
        self._event.set()
        if self._fetch_loop.failure is not None:
            self._rebalance.stable.set()  # subscribe() waits for it and raises the failure

    def _alive(self) -> None:
        if self.closed:
            raise BrokerUnavailable("kafka: the consumer is closed")
        if self._fetch_loop.failure is not None:
            raise self._fetch_loop.failure
