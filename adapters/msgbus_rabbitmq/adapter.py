"""The RabbitMQ adapter: its publishing connection, its consumers and its dead-letter stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgbus.adapter import Adapter, Capabilities, Lag
from msgbus.errors import ConfigurationError
from msgbus_rabbitmq.aio_pika_internals import verify
from msgbus_rabbitmq.connection.connection import AmqpConnection
from msgbus_rabbitmq.consumer.consumer import RabbitConsumer
from msgbus_rabbitmq.dead_letters import RabbitDeadLetterStore
from msgbus_rabbitmq.diagnostics import diagnose
from msgbus_rabbitmq.options import RabbitOptions
from msgbus_rabbitmq.publisher import Publisher
from msgbus_rabbitmq.topology import check_spec, create_queues, ready_messages

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from collections.abc import Set as AbstractSet

    from msgbus.adapter import QueueSpec, SessionListener, Start
    from msgbus.adapter.address import Address
    from msgbus.adapter.diagnostics import Diagnosis
    from msgbus.adapter.envelope import Outgoing
    from msgbus.adapter.options import AdapterOptions
    from msgbus.adapter.url import BrokerURL
    from msgbus.errors import BrokerError
    from msgbus_rabbitmq.consumer.expected_redeliveries import ExpectedRedeliveries

__all__ = ["RabbitAdapter"]

CONSUMER_TIMEOUT_FRACTION: Final = 5 / 6
"""Part of the server's consumer_timeout after which unacknowledged deliveries are given back.

It is less than 1, so that the member gives them back in order before the server closes the channel.
"""


class RabbitAdapter(Adapter):
    """RabbitMQ 3.10 or later. Publishing and declaring share a connection; each consumer has its own.

    A server short of memory or disk stops reading from connections that publish. A connection that also consumed could
    not acknowledge meanwhile.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        history=False,
        relies_on="quorum queues, publisher confirms and mandatory; at-least-once dead-lettering",
    )
    Options: ClassVar[type[AdapterOptions]] = RabbitOptions
    supported_starts: AbstractSet[Start] = frozenset({"newest"})

    def __init__(self, url: BrokerURL, options: AdapterOptions) -> None:
        """Implement :meth:`Adapter.__init__`.

        Raises:
            ConfigurationError: The URL or the options are wrong, or the installed aio-pika is not supported.
        """
        if not url.hosts:
            raise ConfigurationError(f"{url}: the URL has no host; name one, e.g. rabbitmq://localhost:5672")
        if not isinstance(options, RabbitOptions):
            raise ConfigurationError(f"{url}: options are of type {type(options).__name__}; use RabbitOptions")
        self._max_in_flight_seconds: Final = options.consumer_timeout * CONSUMER_TIMEOUT_FRACTION
        self._url = url
        self._options = options
        self._support = verify()
        self._connection = AmqpConnection(url, options, "publisher", self._support)
        self._publisher = Publisher(self._connection)
        self._expected_redeliveries: dict[str, dict[Address, ExpectedRedeliveries]] = {}
        self._consumers: set[RabbitConsumer] = set()
        self._dead_letter_stores: set[RabbitDeadLetterStore] = set()

    async def connect(self) -> None:
        """Implement :meth:`Adapter.connect`."""
        await self._connection.ensure_connected()

    async def ping(self) -> str:
        """Implement :meth:`Adapter.ping`.

        A server short of memory or disk tells only connections that have published since.
        """
        return await self._connection.ping()

    async def diagnose(self) -> Diagnosis:
        """Implement :meth:`Adapter.diagnose`, on a connection of its own, since a server may block it."""
        connection = AmqpConnection(self._url, self._options, "doctor", self._support)
        try:
            return await diagnose(connection)
        finally:
            await connection.close()

    async def close(self) -> None:
        """Implement :meth:`Adapter.close`."""
        while self._consumers:
            await self._consumers.pop().close(0)
        while self._dead_letter_stores:
            await self._dead_letter_stores.pop().close()
        await self._publisher.close()
        await self._connection.close()

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """Implement :meth:`Adapter.create_queues`."""
        for spec in specs:
            check_spec(spec)
        if specs:
            await create_queues(self._connection, specs)

    def publish(
        self, messages: Sequence[Outgoing], timeout: float
    ) -> Coroutine[Any, Any, Sequence[BrokerError | None]]:
        """Implement :meth:`Adapter.publish`."""
        return self._publisher.publish(messages, timeout)

    async def lag(self, address: Address, group: str) -> Lag:
        """Implement :meth:`Adapter.lag`. Messages in a member's prefetch count as handed to it."""
        return Lag(await ready_messages(self._connection, address, group))

    async def open_dead_letters(self, address: Address) -> RabbitDeadLetterStore:
        """Implement :meth:`Adapter.open_dead_letters`."""
        connection = AmqpConnection(self._url, self._options, f"letters of {address}", self._support)
        store = RabbitDeadLetterStore(connection, self._publisher, address, self._dead_letter_stores.discard)
        self._dead_letter_stores.add(store)
        return store

    async def open_consumer(self, group: str, listener: SessionListener) -> RabbitConsumer:
        """Implement :meth:`Adapter.open_consumer`."""
        connection = AmqpConnection(self._url, self._options, f"consumer of {group}", self._support)
        await connection.ensure_connected()
        expected = self._expected_redeliveries.setdefault(group, {})
        consumer = RabbitConsumer(
            connection, group, listener, self._consumers.discard, self._max_in_flight_seconds, expected
        )
        self._consumers.add(consumer)
        return consumer
