"""Connection settings of a cluster.

Servers, TLS and login for every aiokafka client, and one try with a clear error.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final, cast

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError, UnsupportedSaslMechanismError
from aiokafka.protocol.metadata import MetadataRequest

from msgbus.errors import AccessRefused, BrokerUnavailable, ConfigurationError
from msgbus_kafka.aiokafka_internals.shutdown import abort_connection
from msgbus_kafka.errors import ACCESS_ERRORS, describe

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from msgbus.adapter.url import BrokerURL
    from msgbus.errors import BrokerError
    from msgbus_kafka.client_types.network import Connection, MetadataResponse
    from msgbus_kafka.options import KafkaOptions

__all__ = ["ConnectionSettings"]

DEFAULT_PORT: Final = 9092
CONNECT_TIMEOUT_SECONDS: Final = 10.0
"""Seconds a server has to answer a new connection."""
_FAILURES: Final = (OSError, KafkaError, EOFError, ValueError, AssertionError)
"""What connecting raises: TimeoutError is an OSError."""


class ConnectionSettings:
    """Bootstrap servers, TLS and SASL settings of one cluster. No text of this class contains the password."""

    def __init__(self, url: BrokerURL, options: KafkaOptions) -> None:
        """Read the URL. Raises ConfigurationError if it is not a URL of Kafka."""
        if not url.hosts:
            raise ConfigurationError("kafka: the URL needs a host: kafka://host:9092")
        if url.path:
            raise ConfigurationError("kafka: the URL has no path: kafka://host:9092")
        self.servers: Final = url.servers(DEFAULT_PORT)
        self._options = options
        self._tls = url.scheme.endswith("+ssl")
        self._user = url.username
        self._password = url.password
        self._context: ssl.SSLContext | None = None

    def client_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments for aiokafka's clients. Raises ConfigurationError for unusable certificates."""
        return {"bootstrap_servers": self.servers.split(","), **self._security()}

    async def check_connection(self) -> None:
        """Connect to one server, log in once, and close the connection.

        Raises AccessRefused or BrokerUnavailable naming the servers. aiokafka's own start() raises "Unable to
        bootstrap" for both, and only logs the reason.
        """
        failures: list[BaseException] = []
        for host, port, _ in collect_hosts(self.servers):
            try:
                connection = await self._connected(host, port)
            except _FAILURES as error:
                failures.append(error)
            else:
                connection.close()
                return
        raise self._connection_error(failures)

    async def fetch_metadata(
        self, topics: Iterable[str] | None, beside: Container[tuple[str, int]]
    ) -> MetadataResponse | None:
        """Return the cluster's metadata from the first server that answers, or None if no server does.

        Args:
            topics: Topics to include; None includes all of them.
            beside: Addresses that are not asked.
        """
        for host, port, _ in collect_hosts(self.servers):
            if (host, port) in beside:
                continue
            try:
                connection = await self._connected(host, port)
            except _FAILURES:
                continue
            request = MetadataRequest(None if topics is None else list(topics))
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    answer: MetadataResponse = await connection.send(request)
            except _FAILURES:
                continue
            finally:
                connection.close()
            if answer.brokers:
                return answer
        return None

    async def _connected(self, host: str, port: int) -> Connection:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            connection = await create_conn(
                host,
                port,
                request_timeout_ms=int(CONNECT_TIMEOUT_SECONDS * 1000),
                on_close=abort_connection,
                **self._security(),
            )
        return cast("Connection", connection)

    def _connection_error(self, failures: list[BaseException]) -> BrokerError:
        # ValueError and AssertionError are what aiokafka makes of an answer of SCRAM or PLAIN that does not fit.
        refusal = next((one for one in failures if isinstance(one, (*ACCESS_ERRORS, ValueError, AssertionError))), None)
        if isinstance(refusal, UnsupportedSaslMechanismError):
            return AccessRefused(f"kafka: {self.servers} does not offer {self._mechanism()}; see mechanism= in the URL")
        if refusal is not None:
            return AccessRefused(f"kafka: {self.servers} refused {self._who()}: {describe(refusal)}")
        return BrokerUnavailable(f"kafka: {self.servers} cannot be reached: {describe(failures[-1])}")

    def _who(self) -> str:
        return f"user {self._user!r} ({self._mechanism()})" if self._user else "a client without a user"

    def _mechanism(self) -> str:
        return (self._options.mechanism or "scram-sha-512").upper()

    def _security(self) -> dict[str, Any]:
        protocol = "SSL" if self._tls else "PLAINTEXT"
        if not self._user:
            return {"security_protocol": protocol, "ssl_context": self._ssl()}
        return {
            "security_protocol": f"SASL_{protocol}",
            "ssl_context": self._ssl(),
            "sasl_mechanism": self._mechanism(),
            "sasl_plain_username": self._user,
            "sasl_plain_password": self._password,
        }

    def _ssl(self) -> ssl.SSLContext | None:
        if self._tls and self._context is None:
            try:
                self._context = self._options.ssl_context()
            except (OSError, ssl.SSLError) as error:
                raise ConfigurationError(f"kafka: ca=, cert= or key= in the URL is unusable: {error}") from error
        return self._context
