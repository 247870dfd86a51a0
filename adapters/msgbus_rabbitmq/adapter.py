"""The adapter: two kinds of connection, and which work goes over which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgbus.adapter import Adapter, Capabilities, Lag
from msgbus.errors import ConfigurationError
from msgbus_rabbitmq.aiormq_internals import verify
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
"""Of the server's consumer_timeout: what is held for so long goes back before the server takes it."""


class RabbitAdapter(Adapter):
    """RabbitMQ 3.10 or later. Publishing and declaring share a connection; each consumer has its own.

    A server short of memory or disk stops reading from connections that publish: one that also consumed would stand.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        history=False,
        relies_on="quorum queues, publisher confirms and mandatory; at-least-once dead-lettering",
    )
    Options: ClassVar[type[AdapterOptions]] = RabbitOptions
    supported_starts: AbstractSet[Start] = frozenset({"newest"})

    def __init__(self, url: BrokerURL, options: AdapterOptions) -> None:
        """See Adapter."""
        if not url.hosts:
            raise ConfigurationError(f"{url}: name a host, e.g. rabbitmq://localhost:5672")
        if not isinstance(options, RabbitOptions):
            raise ConfigurationError(f"rabbitmq: the options should be RabbitOptions, not {type(options).__name__}")
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
        """See Adapter."""
        await self._connection.ensure_connected()

    async def ping(self) -> str:
        """See Adapter. A server short of memory or disk says so to those who have published since."""
        return await self._connection.ping()

    async def diagnose(self) -> Diagnosis:
        """See Adapter. By a connection of its own: it publishes, and would be blocked."""
        link = AmqpConnection(self._url, self._options, "doctor", self._support)
        try:
            return await diagnose(link)
        finally:
            await link.close()

    async def close(self) -> None:
        """See Adapter."""
        while self._consumers:
            await self._consumers.pop().close(0)
        while self._dead_letter_stores:
            await self._dead_letter_stores.pop().close()
        await self._publisher.close()
        await self._connection.close()

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """See Adapter."""
        for spec in specs:
            check_spec(spec)
        if specs:
            await create_queues(self._connection, specs)

    def publish(
        self, messages: Sequence[Outgoing], timeout: float
    ) -> Coroutine[Any, Any, Sequence[BrokerError | None]]:
        """See Adapter."""
        return self._publisher.publish(messages, timeout)

    async def lag(self, address: Address, group: str) -> Lag:
        """See Adapter; what lies in a member's prefetch counts as handed to it."""
        return Lag(await ready_messages(self._connection, address, group))

    async def open_dead_letters(self, address: Address) -> RabbitDeadLetterStore:
        """See Adapter."""
        link = AmqpConnection(self._url, self._options, f"letters of {address}", self._support)
        letters = RabbitDeadLetterStore(link, self._publisher, address, self._dead_letter_stores.discard)
        self._dead_letter_stores.add(letters)
        return letters

    async def open_consumer(self, group: str, listener: SessionListener) -> RabbitConsumer:
        """See Adapter."""
        link = AmqpConnection(self._url, self._options, f"consumer of {group}", self._support)
        await link.ensure_connected()
        returning = self._expected_redeliveries.setdefault(group, {})
        consumer = RabbitConsumer(
            link, group, listener, self._consumers.discard, self._max_in_flight_seconds, returning
        )
        self._consumers.add(consumer)
        return consumer
