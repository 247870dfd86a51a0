"""Admin client: one connection for all requests that concern neither producing nor consuming."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest

from msgbus.errors import BrokerUnavailable, translate_errors
from msgbus_kafka.aiokafka_internals.shutdown import stop_client
from msgbus_kafka.clients import new_network_client
from msgbus_kafka.errors import ERROR_TABLE, error_for_code

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgbus_kafka.client_types.network import MetadataResponse, NetworkClient
    from msgbus_kafka.connection import ConnectionSettings

__all__ = ["BROKER_RESOURCE", "TOPIC_RESOURCE", "AdminClient", "TopicState"]

REPLY_TIMEOUT_SECONDS: Final = 5.0
"""Seconds that an answer may take: a member's loop waits for some answers."""
TOPIC_RESOURCE: Final = 2
BROKER_RESOURCE: Final = 4
_UNKNOWN: Final = 3
_FORBIDDEN: Final = frozenset({29, 31})


class TopicState(NamedTuple):
    """A broker's view of a topic: its error code, and the leader of each partition (-1: none)."""

    error: int
    leaders: Mapping[int, int]

    @property
    def missing(self) -> bool:
        """Whether the topic does not exist, or its name is invalid."""
        return self.error in {_UNKNOWN, 17}

    @property
    def ready(self) -> bool:
        """Whether every partition has a leader."""
        return self.error == 0 and all(leader >= 0 for leader in self.leaders.values())


class AdminClient:
    """Sends each request once.

    A client that got no answer is closed and replaced: aiokafka never asks the URL's servers again, and would not find
    a cluster whose addresses have all changed.
    """

    def __init__(self, access: ConnectionSettings) -> None:
        self._access = access
        self._client: NetworkClient | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    @property
    def servers(self) -> str:
        """The servers in the URL."""
        return self._access.servers

    async def connect(self) -> None:
        """Connect. Raises BrokerUnavailable or AccessRefused."""
        self._closed = False
        await self.connected()

    async def connected(self) -> NetworkClient:
        """Return the client, connected if it was not. Raises as connect() does, and BrokerUnavailable after close()."""
        async with self._starting:
            self._check_open()
            if self._client is None:
                await self._access.check_connection()
                client = await self._started()
                try:
                    self._check_open()
                except BrokerUnavailable:
                    await stop_client(client)
                    raise
                self._client = client
            return self._client

    def _check_open(self) -> None:
        if self._closed:  # a late request must not connect again: nothing would close that connection
            raise BrokerUnavailable(f"kafka: {self._access.servers}: the connection was closed")

    async def _started(self) -> NetworkClient:
        client = new_network_client(self._access, request_timeout_ms=30_000)
        try:
            with translate_errors(ERROR_TABLE, f"kafka: {self._access.servers}"):
                await client.bootstrap()
        except BaseException:
            await stop_client(client)
            raise
        return client

    async def send(self, request: object, node: int | None = None, *, wait: float = REPLY_TIMEOUT_SECONDS) -> Any:
        """Return the answer of ``node``, or of any node, after at most ``wait`` seconds. Raises as connect() does."""
        client: NetworkClient | None = None
        try:
            async with asyncio.timeout(wait):
                client = await self.connected()
                with translate_errors(ERROR_TABLE, f"kafka: {self._access.servers}"):
                    return await client.send(client.get_random_node() if node is None else node, request)
        except BrokerUnavailable:
            await self._drop(client)
            raise
        except TimeoutError as error:
            await self._drop(client)
            raise BrokerUnavailable(f"kafka: {self._access.servers} did not answer within {wait:g} s") from error

    async def nodes(self) -> Sequence[int]:
        """Return the live brokers, at least one. Raises BrokerUnavailable."""
        return self.live_nodes(await self.send(MetadataRequest([])))

    def live_nodes(self, answer: MetadataResponse) -> list[int]:
        """Return the brokers in an answer to a MetadataRequest, at least one. Raises BrokerUnavailable."""
        if not answer.brokers:  # a resumed node answers before the controller knows that it is alive
            raise BrokerUnavailable(f"kafka: {self._access.servers} answered that the cluster has no live node")
        return [broker[0] for broker in answer.brokers]

    async def topic_states(self, topics: Sequence[str], node: int | None = None) -> Mapping[str, TopicState]:
        """Return the view that ``node``, or any node, has of ``topics``. Creates none of them."""
        if not topics:
            return {}
        # aiokafka's own describe_topics() leaves the flag at True: a misspelled name becomes a topic on a broker that
        # creates them by itself.
        answer = await self.send(MetadataRequest(list(topics), allow_auto_topic_creation=False), node)
        return {
            name: TopicState(error, {partition: leader for _, partition, leader, *_ in partitions})
            for error, name, _, partitions in answer.topics
        }

    async def configs(self, kind: int, names: Sequence[str], node: int | None = None) -> dict[str, dict[str, str]]:
        """Return the settings of topics, or of a broker; those that may not be read are absent."""
        answer = await self.send(DescribeConfigsRequest([(kind, name, None) for name in names]), node)
        found: dict[str, dict[str, str]] = {}
        for error, message, _, name, entries in answer.resources:
            if error in _FORBIDDEN or error == _UNKNOWN:
                continue
            if error:
                raise error_for_code(error, message, f"settings of {name}")
            found[name] = {entry[0]: entry[1] for entry in entries}
        return found

    async def close(self) -> None:
        """Close the connections. No request connects again until connect()."""
        self._closed = True
        await self._drop(self._client)

    async def _drop(self, client: NetworkClient | None) -> None:
        if client is not None and client is self._client:
            self._client = None
            await stop_client(client)
