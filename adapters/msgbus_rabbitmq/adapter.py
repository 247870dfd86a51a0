"""RabbitAdapter: the boundary over one connection for publishing, and one for each group that consumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from msgbus.adapter import Adapter, AdapterOptions, Capabilities, Lag
from msgbus.errors import ConfigurationError
from msgbus_rabbitmq.connection import Link
from msgbus_rabbitmq.consumer import RabbitConsumer
from msgbus_rabbitmq.publisher import Publisher
from msgbus_rabbitmq.topology import check, create, ready_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import Consumer, QueueSpec, SessionListener
    from msgbus.errors import BrokerError
    from msgbus.message import Outgoing
    from msgbus.names import Address
    from msgbus.url import BrokerURL

__all__ = ["RabbitAdapter", "RabbitOptions"]


class RabbitOptions(AdapterOptions):
    """Nothing beyond what every adapter has."""


class RabbitAdapter(Adapter):
    """``rabbitmq://user:password@h1:5672,h2/vhost``; ``rabbitmqs://`` with TLS."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        history=False, rests_on="quorum queues, publisher confirms, mandatory"
    )
    Options: ClassVar[type[AdapterOptions]] = RabbitOptions

    def __init__(self, url: BrokerURL, options: AdapterOptions) -> None:
        """See Adapter."""
        if not url.hosts:
            raise ConfigurationError("rabbitmq: the URL needs a host: rabbitmq://host:5672/vhost")
        self._url = url
        self._options = options
        self._link = Link(url, options, "publishing")
        self._publisher = Publisher(self._link)

    async def connect(self) -> None:
        """See Adapter."""
        await self._link.up()

    async def close(self) -> None:
        """See Adapter."""
        await self._link.close()

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """See Adapter."""
        for spec in specs:
            check(spec)
        await create(self._link, specs)

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """See Adapter."""
        return await self._publisher.publish(messages, timeout)

    async def lag(self, address: Address, group: str) -> Lag:
        """See Adapter."""
        return Lag(await ready_messages(self._link, address, group))

    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        """See Adapter. A connection of its own: publishing that the server blocks must not stop consuming."""
        link = Link(self._url, self._options, f"consuming for {group}")
        await link.up()
        return RabbitConsumer(link, group, listener)
