"""The adapter: two kinds of connection, and which work goes over which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgbus.adapter import Adapter, Capabilities, Lag
from msgbus.errors import ConfigurationError
from msgbus_rabbitmq.connection.connection import Link
from msgbus_rabbitmq.consumer.consumer import RabbitConsumer
from msgbus_rabbitmq.dead_letters import RabbitLetters
from msgbus_rabbitmq.diagnostics import examine
from msgbus_rabbitmq.options import RabbitOptions
from msgbus_rabbitmq.publisher import Publisher
from msgbus_rabbitmq.topology import check, create, ready_messages

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from collections.abc import Set as AbstractSet

    from msgbus.adapter import QueueSpec, SessionListener, Start
    from msgbus.adapter.address import Address
    from msgbus.adapter.diagnostics import Checkup
    from msgbus.adapter.envelope import Outgoing
    from msgbus.adapter.options import AdapterOptions
    from msgbus.adapter.url import BrokerURL
    from msgbus.errors import BrokerError
    from msgbus_rabbitmq.consumer.expected_redeliveries import Returning

__all__ = ["RabbitAdapter"]

HELD_MOST: Final = 5 / 6
"""Of the server's consumer_timeout: what is held for so long goes back before the server takes it."""


class RabbitAdapter(Adapter):
    """RabbitMQ 3.10 or later. Publishing and declaring share a connection; each consumer has its own.

    A server short of memory or disk stops reading from connections that publish: one that also consumed would stand.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        history=False,
        rests_on="quorum queues, publisher confirms and mandatory; at-least-once dead-lettering",
    )
    Options: ClassVar[type[AdapterOptions]] = RabbitOptions
    starts: AbstractSet[Start] = frozenset({"newest"})

    def __init__(self, url: BrokerURL, options: AdapterOptions) -> None:
        """See Adapter."""
        if not url.hosts:
            raise ConfigurationError(f"{url}: name a host, e.g. rabbitmq://localhost:5672")
        if not isinstance(options, RabbitOptions):
            raise ConfigurationError(f"rabbitmq: the options should be RabbitOptions, not {type(options).__name__}")
        self._held_most: Final = options.consumer_timeout * HELD_MOST
        self._url = url
        self._options = options
        self._link = Link(url, options, "publisher")
        self._publisher = Publisher(self._link)
        self._returning: dict[str, dict[Address, Returning]] = {}
        self._consumers: set[RabbitConsumer] = set()
        self._letters: set[RabbitLetters] = set()

    async def connect(self) -> None:
        """See Adapter."""
        await self._link.up()

    async def ping(self) -> str:
        """See Adapter. A server short of memory or disk says so to those who have published since."""
        return await self._link.ping()

    async def examine(self) -> Checkup:
        """See Adapter. By a connection of its own: it publishes, and would be blocked."""
        link = Link(self._url, self._options, "doctor")
        try:
            return await examine(link)
        finally:
            await link.close()

    async def close(self) -> None:
        """See Adapter."""
        while self._consumers:
            await self._consumers.pop().close(0)
        while self._letters:
            await self._letters.pop().close()
        await self._publisher.close()
        await self._link.close()

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """See Adapter."""
        for spec in specs:
            check(spec)
        if specs:
            await create(self._link, specs)

    def publish(
        self, messages: Sequence[Outgoing], timeout: float
    ) -> Coroutine[Any, Any, Sequence[BrokerError | None]]:
        """See Adapter."""
        return self._publisher.publish(messages, timeout)

    async def lag(self, address: Address, group: str) -> Lag:
        """See Adapter; what lies in a member's prefetch counts as handed to it."""
        return Lag(await ready_messages(self._link, address, group))

    async def open_letters(self, address: Address) -> RabbitLetters:
        """See Adapter."""
        link = Link(self._url, self._options, f"letters of {address}")
        letters = RabbitLetters(link, self._publisher, address, self._letters.discard)
        self._letters.add(letters)
        return letters

    async def open_consumer(self, group: str, listener: SessionListener) -> RabbitConsumer:
        """See Adapter."""
        link = Link(self._url, self._options, f"consumer of {group}")
        await link.up()
        returning = self._returning.setdefault(group, {})
        consumer = RabbitConsumer(link, group, listener, self._consumers.discard, self._held_most, returning)
        self._consumers.add(consumer)
        return consumer
