"""RedisAdapter: the adapter interface over Redis Streams."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, ClassVar, Final

from redis.exceptions import NoPermissionError, ResponseError

from msgbus.adapter import Adapter, Capabilities, Lag
from msgbus.errors import (
    AccessRefused,
    BrokerError,
    ConfigurationError,
    QueueConflict,
    Unsupported,
    queue_not_found,
)
from msgbus_redis.codec import by_name
from msgbus_redis.connection.pool import ConnectionPool
from msgbus_redis.connection.server import verify
from msgbus_redis.consumer.consumer import RedisConsumer
from msgbus_redis.consumer.handover import HANDOVER_CONSUMER, Handover
from msgbus_redis.consumer.maintenance import DEFAULT_RETENTION_SECONDS
from msgbus_redis.dead_letters import RedisDeadLetterStore
from msgbus_redis.diagnostics import SETTINGS_HIDDEN_FINDING, diagnose, findings, server_info
from msgbus_redis.errors import is_missing_stream, translate
from msgbus_redis.history import RedisHistoryReader, id_before, lowest_id, newest_id, rewind
from msgbus_redis.keys import settings_key, stream_key
from msgbus_redis.lua import CREATE_STREAM, script_command
from msgbus_redis.options import RedisOptions, server_address
from msgbus_redis.publisher.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from msgbus.adapter import Consumer, DeadLetterStore, HistoryReader, Position, QueueSpec, SessionListener
    from msgbus.adapter.address import Address
    from msgbus.adapter.diagnostics import Diagnosis
    from msgbus.adapter.envelope import Outgoing
    from msgbus.adapter.options import AdapterOptions
    from msgbus.adapter.url import BrokerURL
    from msgbus_redis.connection.connection import Command

__all__ = ["RedisAdapter"]

logger = logging.getLogger("msgbus.redis")

LAG_PAGE_ENTRIES: Final = 1000
"""Entries of one XRANGE where the server does not know a group's lag and they are counted."""


class RedisAdapter(Adapter):
    """Adapter of ``redis://`` and, with TLS, ``rediss://``: ``[user[:password]@]host[:6379][/database]``.

    ``redis+sentinel://`` names sentinels instead, ``h1[:26379],h2``, and ``?service=``. ``rediss+sentinel://`` uses TLS
    to them and to the servers.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        relies_on="appendonly yes (appendfsync always where a power cut must lose nothing), maxmemory-policy noeviction"
    )
    Options: ClassVar[type[AdapterOptions]] = RedisOptions

    def __init__(self, url: BrokerURL, options: AdapterOptions) -> None:
        """Implement :meth:`Adapter.__init__`. An unsupported version of redis-py is a ConfigurationError as well."""
        if not isinstance(options, RedisOptions):
            raise ConfigurationError(f"redis: the options should be RedisOptions, not {type(options).__name__}")
        verify()
        self._options: Final = options
        self.extend_interval_seconds = options.visibility / 3
        server = server_address(url, options)
        self._client: Final = ConnectionPool(server)
        self._handover: Final = Handover(self._client, options.visibility)
        self._publisher: Final = Publisher(server, options.prefix)
        self._consumers: Final[set[RedisConsumer]] = set()
        self._dead_letter_stores: Final[set[RedisDeadLetterStore]] = set()

    async def connect(self) -> None:
        """Implement :meth:`Adapter.connect`. A server whose settings would lose messages is a ConfigurationError."""
        await self._client.run_one(("PING",), "connecting")
        try:
            info = await server_info(self._client)
        except AccessRefused as error:
            logger.warning("%s; %s", error, SETTINGS_HIDDEN_FINDING)
            return
        for finding in findings(info):
            if finding.severity == "error":
                raise ConfigurationError(f"{self._client.address}: {finding}")
            logger.warning("%s: %s", self._client.address, finding)

    async def ping(self) -> str:
        """Implement :meth:`Adapter.ping` by an XADD to a missing stream.

        It adds nothing, and fails where any publish would fail.
        """
        try:
            await self._client.run_one(
                ("XADD", f"{self._options.prefix}:ping", "NOMKSTREAM", "*", "ping", ""), "pinging"
            )
        except AccessRefused as error:
            if isinstance(error.__cause__, NoPermissionError):
                return ""  # the server answers; this user may write to some keys only
            raise
        except BrokerError as error:
            if isinstance(error.__cause__, ResponseError):
                return str(error)
            raise
        return ""

    async def diagnose(self) -> Diagnosis:
        """Implement :meth:`Adapter.diagnose`."""
        return await diagnose(self._client, await self.ping())

    async def close(self) -> None:
        """Implement :meth:`Adapter.close`."""
        for consumer in list(self._consumers):
            await consumer.close(0)
        self._consumers.clear()
        await asyncio.gather(*(store.close() for store in self._dead_letter_stores))
        self._dead_letter_stores.clear()
        await self._publisher.close()
        await self._client.close()

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """Implement :meth:`Adapter.create_queues`."""
        for spec in specs:
            _check(spec)
        to_create = await self._to_create(specs)
        if not to_create:
            return
        replies = await self._client.run([self._creating(spec) for spec in to_create], "creating queues")
        for spec, reply in zip(to_create, replies, strict=True):
            if isinstance(reply, ResponseError):
                raise translate(reply, f"{self._client.address}: queue {spec.address}")
            if isinstance(reply, list):
                raise self._conflict(spec, int(reply[0]) / 1000)

    async def _to_create(self, specs: Sequence[QueueSpec]) -> list[QueueSpec]:
        """Return the queues that must be created or whose retention must be compared.

        A user without the permission to create a queue can thus use one that exists.
        """
        if not specs:
            return []
        questions = [("XINFO", "GROUPS", self._key(spec.address)) for spec in specs]
        replies = await self._client.run(questions, "looking for queues")
        return [
            spec
            for spec, reply in zip(specs, replies, strict=True)
            if spec.retention is not None or not _has(reply, spec.groups)
        ]

    def _creating(self, spec: QueueSpec) -> Command:
        keys = (self._key(spec.address), settings_key(self._options.prefix, spec.address))
        retention = "" if spec.retention is None else round(spec.retention * 1000)
        return script_command(CREATE_STREAM, keys, (round(DEFAULT_RETENTION_SECONDS * 1000), retention, *spec.groups))

    def _conflict(self, spec: QueueSpec, kept: float) -> QueueConflict:
        key = settings_key(self._options.prefix, spec.address).decode()
        return QueueConflict(
            f"{self._client.address}: queue {spec.address}: retention is {kept:g} s, not {spec.retention:g} s; "
            f"HSET {key} retention {round((spec.retention or 0) * 1000)} changes it"
        )

    def publish(
        self, messages: Sequence[Outgoing], timeout: float
    ) -> Coroutine[Any, Any, Sequence[BrokerError | None]]:
        """Implement :meth:`Adapter.publish`."""
        return self._publisher.publish(messages, timeout)

    async def lag(self, address: Address, group: str) -> Lag:
        """Implement :meth:`Adapter.lag`. Counts the entries where the server does not know the lag."""
        key = self._key(address)
        doing = f"queue {address}: asking for the lag of group {group}"
        groups, length = await self._client.run([("XINFO", "GROUPS", key), ("XLEN", key)], doing)
        if isinstance(groups, ResponseError):
            if is_missing_stream(groups):
                raise queue_not_found(address)
            raise translate(groups, f"{self._client.address}: {doing}")
        for fields in groups:
            state = by_name(fields)
            if state[b"name"] == group.encode():
                known = state.get(b"lag")
                return Lag(known if known is not None else await self._count(key, state[b"last-delivered-id"], doing))
        return Lag(length)

    async def _count(self, key: bytes, last: bytes, doing: str) -> int:
        """Count the entries after ``last``: Redis before 7.0 does not know the lag, nor any where one was deleted."""
        count = 0
        while page := await self._client.run_one(("XRANGE", key, b"(" + last, "+", "COUNT", LAG_PAGE_ENTRIES), doing):
            count += len(page)
            last = page[-1][0]
        return count

    async def open_dead_letters(self, address: Address) -> DeadLetterStore:
        """Implement :meth:`Adapter.open_dead_letters`."""
        self._dead_letter_stores.difference_update([one for one in self._dead_letter_stores if one.closed])
        store = RedisDeadLetterStore(self._client, self._options.prefix, address)
        self._dead_letter_stores.add(store)
        return store

    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        """Implement :meth:`Adapter.open_consumer`."""
        self._consumers.difference_update([one for one in self._consumers if one.closed])
        consumer = RedisConsumer(
            self._client,
            group,
            listener,
            prefix=self._options.prefix,
            visibility=self._options.visibility,
            handover=self._handover,
        )
        self._consumers.add(consumer)
        return consumer

    async def rewind(self, address: Address, group: str, to: Position) -> None:
        """Implement :meth:`Adapter.rewind`. A consumer with a command within the visibility time is a member."""
        key, visibility = self._key(address), self._options.visibility
        await rewind(self._client, key, HANDOVER_CONSUMER, visibility, address, group, to)

    async def open_history(
        self, address: Address, group: str, since: Position, until: Position | None
    ) -> HistoryReader:
        """Implement :meth:`Adapter.open_history`."""
        key = self._key(address)
        end = await newest_id(self._client, key, address)
        if until is not None and until != "newest":
            end = id_before(lowest_id(address, until))
        return RedisHistoryReader(self._client, key, address, group, lowest_id(address, since), end)

    def _key(self, address: Address) -> bytes:
        return stream_key(self._options.prefix, address)


def _has(reply: Any, groups: Iterable[str]) -> bool:
    """Return whether a stream exists and has these groups, by the reply of XINFO GROUPS."""
    if isinstance(reply, ResponseError):
        return False
    return {group.encode() for group in groups} <= {by_name(one)[b"name"] for one in reply}


def _check(spec: QueueSpec) -> None:
    """Raise Unsupported for a setting that Redis cannot honour."""
    refused = {
        "partitions": spec.partitions is not None,
        "retention": bool(spec.address.part) and spec.retention is not None,
        "compact": spec.compact,
        "native": bool(spec.native),
    }
    for option, given in refused.items():
        if given:
            raise Unsupported(f"queue {spec.address}: Redis cannot honour {option}=; leave it out")
