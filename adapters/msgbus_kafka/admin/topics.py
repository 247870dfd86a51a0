"""Topics: which exist, how large a batch they accept, and their creation."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from aiokafka.protocol.admin import CreateTopicsRequest
from tenacity import wait_fixed

from msgbus.adapter.retrying import wait_until
from msgbus.errors import BrokerError, BrokerUnavailable, ConfigurationError, QueueConflict, QueueNotFound
from msgbus_kafka import compression
from msgbus_kafka.admin.client import BROKER_RESOURCE, TOPIC_RESOURCE
from msgbus_kafka.admin.read_access import refused_reads
from msgbus_kafka.admin.topic_config import MIN_INSYNC_FINDING, differences, new_topic, replication_factor
from msgbus_kafka.errors import error_for_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from msgbus.adapter import QueueSpec
    from msgbus.adapter.address import Address
    from msgbus.errors import AccessRefused
    from msgbus_kafka.admin.client import AdminClient, TopicState
    from msgbus_kafka.admin.topic_config import NewTopic
    from msgbus_kafka.client_types.records import Row

__all__ = ["Topics", "queue_not_found"]

logger = logging.getLogger("msgbus.kafka")

ABSENT_CACHE_SECONDS: Final = 0.25
"""Seconds for which the absence of a topic is cached."""
DEFAULT_MAX_BATCH_BYTES: Final = 1_048_588
"""Kafka's own ``message.max.bytes``, where we may not look at the topic's."""
CREATE_TIMEOUT_SECONDS: Final = 30.0
VISIBLE_TIMEOUT_SECONDS: Final = 5.0
"""Seconds until every broker must know a new topic and its leaders; seen: 52 ms."""
_EXISTS: Final = 36
_POLL_INTERVAL_SECONDS: Final = 0.01


def queue_not_found(name: str) -> QueueNotFound:
    """Return the error for a topic that does not exist."""
    return QueueNotFound(f"queue {name} does not exist; create_queue() makes it")


class Topics:
    """Cached knowledge about a cluster's topics. That a topic exists is remembered, that it is absent for 0.25 s."""

    def __init__(self, cluster: AdminClient) -> None:
        self._cluster = cluster
        self._limits: dict[str, int] = {}
        self._absent: dict[str, float] = {}
        self._warned = False

    def cached_limit(self, name: str) -> int | None:
        """Return what limit() would return without a request; None if it would need one."""
        return self._limits.get(name)

    async def limit(self, name: str) -> int:
        """Return the largest batch that the topic accepts, in bytes.

        Raises QueueNotFound, AccessRefused or BrokerUnavailable.
        """
        known = self._limits.get(name)
        if known is not None:
            return known
        await self.state(name)
        settings = (await self._cluster.configs(TOPIC_RESOURCE, [name])).get(name, {})
        limit = self._limits[name] = int(settings.get("max.message.bytes", DEFAULT_MAX_BATCH_BYTES))
        return limit

    async def state(self, name: str) -> TopicState:
        """Return a broker's view of the topic. Raises as limit() does."""
        now = asyncio.get_running_loop().time()
        if self._absent.get(name, 0.0) > now:
            raise queue_not_found(name)
        state = (await self._cluster.topic_states([name]))[name]
        if state.missing:
            self._absent[name] = now + ABSENT_CACHE_SECONDS
            self._limits.pop(name, None)
        checked = self._checked(name, state)
        if isinstance(checked, BrokerError):
            raise checked
        return checked

    def forget(self, name: str) -> None:
        """Drop what is cached of ``name``: the topic may be gone or changed."""
        self._limits.pop(name, None)

    async def states(self, addresses: Iterable[Address]) -> dict[Address, TopicState | BrokerError]:
        """Return a broker's view of each queue, or the error of that queue. Raises BrokerUnavailable."""
        wanted = list(addresses)
        states = await self._cluster.topic_states([str(address) for address in wanted])
        return {address: self._checked(str(address), states[str(address)]) for address in wanted}

    @staticmethod
    def _checked(name: str, state: TopicState) -> TopicState | BrokerError:
        if state.missing:
            return queue_not_found(name)
        if state.error and not state.leaders:
            error = error_for_code(state.error, None, f"queue {name}")
            return error if isinstance(error, BrokerError) else BrokerError(str(error))
        return state

    async def refused_reads(self, states: Mapping[str, TopicState]) -> dict[str, AccessRefused]:
        """Return which of these topics this user may not read, each with the error. Raises BrokerUnavailable."""
        return await refused_reads(self._cluster, {name: state.leaders for name, state in states.items()})

    async def missing(self, addresses: Iterable[Address]) -> set[Address]:
        """Return the queues that do not exist. Raises BrokerUnavailable."""
        return {one for one, state in (await self.states(addresses)).items() if isinstance(state, QueueNotFound)}

    async def create(self, specs: Sequence[QueueSpec]) -> None:
        """Create the topics in one request, and wait until every broker knows them. See Adapter.create_queues."""
        wanted = {topic.name: topic for topic in map(new_topic, specs)}
        if not wanted:
            return
        nodes = await self._cluster.nodes()
        settings = (await self._cluster.configs(BROKER_RESOURCE, [str(nodes[0])], nodes[0])).get(str(nodes[0]), {})
        for topic in wanted.values():
            compression.check_codec(topic.name, {**settings, **topic.settings})
        copies = self._replication_factor(nodes, settings)
        existing = [wanted[name] for name in await self._make(list(wanted.values()), copies)]
        await self._visible(list(wanted), nodes)
        for topic in wanted.values():
            self._absent.pop(topic.name, None)
            if topic not in existing:
                self._limits[topic.name] = topic.max_batch_bytes
        await self._compare(existing)

    def _replication_factor(self, nodes: Sequence[int], settings: Mapping[str, str]) -> int:
        copies = replication_factor(int(settings.get("default.replication.factor", 1)), len(nodes))
        if copies > 1 and settings.get("min.insync.replicas") == "1" and not self._warned:
            self._warned = True
            logger.warning("kafka: %s", MIN_INSYNC_FINDING)
        return copies

    async def _make(self, topics: Sequence[NewTopic], copies: int) -> list[str]:
        """Create ``topics``; return the names of those that existed already."""
        request = CreateTopicsRequest(
            create_topic_requests=[_row(topic, copies) for topic in topics],
            timeout=int(CREATE_TIMEOUT_SECONDS * 1000),
            validate_only=False,
        )
        # Any broker passes it on to the controller (KIP-590).
        answer = await self._cluster.send(request, wait=CREATE_TIMEOUT_SECONDS)
        existing: list[str] = []
        for name, code, *message in answer.topic_errors:
            if code == _EXISTS:
                existing.append(name)
            elif code:
                raise error_for_code(code, message[0] if message else None, f"queue {name} was not created")
        return existing

    async def _visible(self, names: Sequence[str], nodes: Sequence[int]) -> None:
        try:
            async with asyncio.timeout(VISIBLE_TIMEOUT_SECONDS):
                for node in nodes:
                    await wait_until(partial(self._ready, names, node), wait=wait_fixed(_POLL_INTERVAL_SECONDS))
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"queues {', '.join(names)}: no leaders {VISIBLE_TIMEOUT_SECONDS:g} s after creation"
            ) from error

    async def _ready(self, names: Sequence[str], node: int) -> bool:
        return all(state.ready for state in (await self._cluster.topic_states(names, node)).values())

    async def _compare(self, topics: Sequence[NewTopic]) -> None:
        if not topics:
            return
        names = [topic.name for topic in topics]
        states = await self._cluster.topic_states(names)
        settings = await self._cluster.configs(TOPIC_RESOURCE, names)
        for name in names:
            compression.check_codec(name, settings.get(name, {}))
        conflicts = [
            f"queue {topic.name} exists, but its {differs}"
            for topic in topics
            for differs in differences(topic, len(states[topic.name].leaders), settings.get(topic.name, {}))
        ]
        if conflicts:
            raise QueueConflict("; ".join(conflicts))


def _row(topic: NewTopic, copies: int) -> Row:
    if topic.partitions < 1:
        raise ConfigurationError(f"queue {topic.name}: partitions={topic.partitions} should be 1 or more")
    settings: Mapping[str, str] = topic.settings
    return (topic.name, topic.partitions, copies, [], list(settings.items()))
