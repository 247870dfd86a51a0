"""Implementation of the adapter boundary with aiokafka."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgbus.adapter import Adapter, Capabilities
from msgbus.errors import AccessRefused, BrokerUnavailable, ConfigurationError
from msgbus_kafka.admin.client import AdminClient
from msgbus_kafka.admin.groups import commit_offsets, lag
from msgbus_kafka.admin.topics import Topics
from msgbus_kafka.aiokafka_internals.verify import verify
from msgbus_kafka.compression import codec_findings
from msgbus_kafka.connection import ConnectionSettings
from msgbus_kafka.consumer.client_factory import start_client
from msgbus_kafka.consumer.consumer import KafkaConsumer
from msgbus_kafka.consumer.group_state import GroupState
from msgbus_kafka.consumer.initial_offsets import commit_initial_offsets
from msgbus_kafka.dead_letters import KafkaDeadLetterStore
from msgbus_kafka.diagnostics import client_findings, diagnose
from msgbus_kafka.history import KafkaHistoryReader, resolve_position
from msgbus_kafka.options import KafkaOptions, Timing
from msgbus_kafka.producer.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from msgbus.adapter import Consumer, DeadLetterStore, HistoryReader, Lag, Position, QueueSpec, SessionListener
    from msgbus.adapter.address import Address
    from msgbus.adapter.diagnostics import Diagnosis
    from msgbus.adapter.envelope import Outgoing
    from msgbus.adapter.options import AdapterOptions
    from msgbus.adapter.url import BrokerURL
    from msgbus.errors import BrokerError

__all__ = ["KafkaAdapter"]

logger = logging.getLogger("msgbus.kafka")

CONNECT_TIMEOUT_SECONDS: Final = 15.0
"""Seconds of one try to connect."""


class KafkaAdapter(Adapter):
    """``kafka://[user:password@]host[:9092][,host…]``, ``kafka+ssl://…``."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        partitions=True,
        relies_on="acks=all; with several brokers a replication factor of 3 and min.insync.replicas=2",
    )
    Options: ClassVar[type[AdapterOptions]] = KafkaOptions
    change_delay_seconds = 0.05

    def __init__(self, url: BrokerURL, options: AdapterOptions) -> None:
        """Implement :meth:`Adapter.__init__`.

        Raises ConfigurationError as well for an aiokafka that is not supported.
        """
        if not isinstance(options, KafkaOptions):
            raise ConfigurationError(f"kafka: options should be KafkaOptions, not {type(options).__name__}")
        verify()
        self._timing: Final = Timing.of(options.session_timeout)
        self._assignor: Final = options.assignor
        self._connection_settings: Final = ConnectionSettings(url, options)
        self._cluster: Final = AdminClient(self._connection_settings)
        self._topics: Final = Topics(self._cluster)
        self._publisher: Final = Publisher(self._connection_settings, self._topics)
        self._consumers: set[KafkaConsumer] = set()
        self._group_states: dict[str, GroupState] = {}
        self._warned = False

    async def connect(self) -> None:
        """Implement :meth:`Adapter.connect`."""
        self._warn_of_client()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await self._cluster.connect()
                with contextlib.suppress(AccessRefused):  # a user who may only read is accepted; publish() raises it
                    await self._publisher.connect()
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"kafka: {self._connection_settings.servers} did not answer within {CONNECT_TIMEOUT_SECONDS:g} s"
            ) from error

    async def ping(self) -> str:
        """Implement :meth:`Adapter.ping`. If one node does not answer, another one is asked."""
        try:
            await self._cluster.nodes()
        except BrokerUnavailable:
            await self._cluster.connected()
        return ""

    async def diagnose(self) -> Diagnosis:
        """Implement :meth:`Adapter.diagnose`."""
        return await diagnose(self._cluster)

    async def close(self) -> None:
        """Implement :meth:`Adapter.close`. Log what a part raises while it is closed."""
        consumers = list(self._consumers)
        self._consumers.clear()
        closing: dict[str, Coroutine[Any, Any, None]] = {
            **{f"consumer {number}": consumer.close(0) for number, consumer in enumerate(consumers)},
            "the producers": self._publisher.close(),
            "the admin client": self._cluster.close(),
        }
        for name, error in zip(closing, await asyncio.gather(*closing.values(), return_exceptions=True), strict=True):
            if error is not None:
                logger.warning(
                    "kafka: closing %s failed: %r; its connections may stay open until the process ends", name, error
                )

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """Implement :meth:`Adapter.create_queues`.

        A topic keeps its records for groups that do not exist yet. Each group still gets a first commit here: members
        with ``start="newest"`` find by it that the group exists.
        """
        await self._topics.create(specs)
        new_groups = [(str(spec.address), group) for spec in specs if not spec.address.part for group in spec.groups]
        with contextlib.suppress(AccessRefused):  # creating queues does not need the right to commit
            await asyncio.gather(*(commit_initial_offsets(self._cluster, self._topics, *one) for one in new_groups))

    def publish(
        self, messages: Sequence[Outgoing], timeout: float
    ) -> Coroutine[Any, Any, Sequence[BrokerError | None]]:
        """Implement :meth:`Adapter.publish`."""
        return self._publisher.publish(messages, timeout)

    async def lag(self, address: Address, group: str) -> Lag:
        """Implement :meth:`Adapter.lag`."""
        return await lag(self._cluster, self._topics, str(address), group)

    async def open_dead_letters(self, address: Address) -> DeadLetterStore:
        """Implement :meth:`Adapter.open_dead_letters`."""
        return KafkaDeadLetterStore(self._connection_settings, self._topics, self._publisher, address)

    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        """Implement :meth:`Adapter.open_consumer`."""
        group_state = self._group_states.setdefault(group, GroupState(self._cluster, self._topics, group))
        client = await start_client(self._connection_settings, group_state, self._timing, self._assignor)
        consumer = KafkaConsumer(client, listener, group_state, self._timing)
        consumer.start()
        self._consumers = {one for one in self._consumers if not one.closed} | {consumer}
        return consumer

    async def rewind(self, address: Address, group: str, to: Position) -> None:
        """Implement :meth:`Adapter.rewind`."""
        offsets = await resolve_position(self._cluster, self._topics, str(address), to)
        await commit_offsets(self._cluster, str(address), group, offsets)

    async def open_history(
        self, address: Address, group: str, since: Position, until: Position | None
    ) -> HistoryReader:
        """Implement :meth:`Adapter.open_history`."""
        find = partial(resolve_position, self._cluster, self._topics, str(address))
        begins, ends = await asyncio.gather(find(since), find(until or "newest"))
        return KafkaHistoryReader(self._connection_settings, address, group, begins, ends)

    def _warn_of_client(self) -> None:
        for finding in (*client_findings(), *codec_findings({})) if not self._warned else ():
            self._warned = True
            logger.warning("kafka: %s", finding)
