"""MemoryAdapter: the adapter interface over a server in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from msgbus.adapter import Adapter, Capabilities, Lag
from msgbus.adapter.diagnostics import Diagnosis, Finding
from msgbus.errors import BrokerUnavailable, ConfigurationError, GroupActive, QueueConflict, Unsupported
from msgbus_memory.consumer import MemoryConsumer
from msgbus_memory.dead_letters import MemoryDeadLetterStore
from msgbus_memory.history import MemoryHistoryReader, resolve_position, warn_of_removed
from msgbus_memory.options import MemoryOptions
from msgbus_memory.server import server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import Consumer, DeadLetterStore, HistoryReader, Position, QueueSpec, SessionListener
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.adapter.options import AdapterOptions
    from msgbus.adapter.url import BrokerURL
    from msgbus.errors import BrokerError
    from msgbus_memory.server import Queue, Server

__all__ = ["MemoryAdapter"]


class MemoryAdapter(Adapter):
    """Adapter of ``memory://name``: one server per name, process and event loop."""

    capabilities: ClassVar[Capabilities] = Capabilities(durable=False, relies_on="the life of the process")
    Options: ClassVar[type[AdapterOptions]] = MemoryOptions

    def __init__(self, url: BrokerURL, options: AdapterOptions) -> None:
        """Implement :meth:`Adapter.__init__`. A port, a path or a user in the URL is a ConfigurationError."""
        if not isinstance(options, MemoryOptions):
            raise ConfigurationError(f"memory: the options should be MemoryOptions, not {type(options).__name__}")
        if url.path or url.username or url.password or len(url.hosts) > 1 or any(port for _, port in url.hosts):
            raise ConfigurationError("memory: the URL should be memory:// or memory://name")
        self._retention_bytes: Final = options.retention_bytes
        self._name: Final = url.hosts[0][0] if url.hosts else ""
        self._server: Server | None = None
        self._consumers: list[MemoryConsumer] = []
        self._severed = False

    async def connect(self) -> None:
        """Implement :meth:`Adapter.connect`."""
        if self._severed:
            raise BrokerUnavailable("memory: the connection was severed")
        self._server = server(self._name, self._retention_bytes)

    async def diagnose(self) -> Diagnosis:
        """Implement :meth:`Adapter.diagnose`."""
        await self.connect()
        volatile = Finding("note", "nothing is stored: messages live and end with this process", "use it for tests")
        return Diagnosis(f"memory://{self._name} in this process", (volatile,))

    async def close(self) -> None:
        """Implement :meth:`Adapter.close`."""
        self._consumers.clear()

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """Implement :meth:`Adapter.create_queues`."""
        reached = await self._reach()
        for spec in specs:
            _check(spec, reached.queues.get(spec.address))
        for spec in specs:
            queue = reached.create(spec.address, spec.retention)
            for group in spec.groups:
                queue.group(group)

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """Implement :meth:`Adapter.publish`."""
        del timeout
        if self._severed:
            return [BrokerUnavailable("memory: the connection was severed")] * len(messages)
        return (await self._reach()).publish(messages)

    async def lag(self, address: Address, group: str) -> Lag:
        """Implement :meth:`Adapter.lag`."""
        queue = (await self._reach()).find(address)
        return Lag(queue.groups[group].lag if group in queue.groups else queue.end - queue.first)

    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        """Implement :meth:`Adapter.open_consumer`."""
        consumer = MemoryConsumer(await self._reach(), group, listener)
        self._consumers.append(consumer)
        return consumer

    async def open_dead_letters(self, address: Address) -> DeadLetterStore:
        """Implement :meth:`Adapter.open_dead_letters`."""
        return MemoryDeadLetterStore(await self._reach(), address)

    async def rewind(self, address: Address, group: str, to: Position) -> None:
        """Implement :meth:`Adapter.rewind`."""
        queue = (await self._reach()).find(address)
        known = queue.groups.get(group)
        place = resolve_position(queue, address, to, known.kept_alone() if known else ())
        if known is not None and known.members:
            raise GroupActive(
                f"queue {address}, group {group}: it has {len(known.members)} members in this process; stop them first"
            )
        warn_of_removed(queue, address, to)
        queue.group(group).rewind(place)

    async def open_history(
        self, address: Address, group: str, since: Position, until: Position | None
    ) -> HistoryReader:
        """Implement :meth:`Adapter.open_history`."""
        queue = (await self._reach()).find(address)
        begin, end = (resolve_position(queue, address, one) for one in (since, until or "newest"))
        warn_of_removed(queue, address, since)
        return MemoryHistoryReader(queue, address, group, begin, end)

    def sever(self) -> None:
        """Cut off this adapter permanently, like a killed process: its deliveries are given back. For crash tests."""
        self._severed = True
        for consumer in self._consumers:
            consumer.sever()

    async def _reach(self) -> Server:
        """Return the server, connecting where there is no connection."""
        if self._server is None or self._severed:
            await self.connect()
        return self._server or server(self._name, self._retention_bytes)


def _check(spec: QueueSpec, existing: Queue | None) -> None:
    """Raise Unsupported for a setting that memory:// cannot honour, QueueConflict for another one than there is."""
    refused = {"partitions": spec.partitions is not None, "compact": spec.compact, "native": bool(spec.native)}
    for option, given in refused.items():
        if given:
            raise Unsupported(f"queue {spec.address}: memory:// cannot honour {option}=; leave it out")
    if existing is not None and spec.retention not in {None, existing.retention}:
        raise QueueConflict(
            f"queue {spec.address}: retention is {existing.retention:g} s, not {spec.retention:g} s; it stays as it is"
        )
