"""Outage errors: errors that show that something a callback needs is down, not that its message is bad. Pure.

Errors of client libraries that may not be installed are recognised by their qualified names, without an import.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

from msgbus.errors import BrokerUnavailable, PublishUnknown

__all__ = ["OutageErrors", "matches", "network_failure"]

OutageErrors = tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Types of errors, or a function that gets an error and returns whether it is an outage error."""

_TYPES: Final = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    socket.herror,
    ssl.SSLError,
    BrokerUnavailable,
    PublishUnknown,
)
_ERRNOS: Final = frozenset(
    {
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EADDRNOTAVAIL,
        errno.ENOTCONN,
        errno.ENOBUFS,
    }
)
"""Error numbers of an OSError that come from the network. ConnectionError and TimeoutError cover the others. Errors of
files count as the message's own."""
_NAMES: Final = frozenset(
    {
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiokafka.errors.KafkaConnectionError",
        "aiokafka.errors.KafkaTimeoutError",
        "aiokafka.errors.NodeNotReadyError",
        "aiormq.exceptions.AMQPConnectionError",
        "aiosmtplib.errors.SMTPConnectError",
        "aiosmtplib.errors.SMTPServerDisconnected",
        "asyncpg.exceptions.CannotConnectNowError",
        "asyncpg.exceptions.PostgresConnectionError",
        "asyncpg.exceptions.TooManyConnectionsError",
        "asyncpg.exceptions._base.InterfaceError",
        "botocore.exceptions.ConnectTimeoutError",
        "botocore.exceptions.ConnectionClosedError",
        "botocore.exceptions.EndpointConnectionError",
        "botocore.exceptions.ReadTimeoutError",
        "elastic_transport.ConnectionError",
        "elastic_transport.ConnectionTimeout",
        "httpcore.NetworkError",
        "httpcore.RemoteProtocolError",
        "httpcore.TimeoutException",
        "httpx.NetworkError",
        "httpx.ProxyError",
        "httpx.RemoteProtocolError",
        "httpx.TimeoutException",
        "mysql.connector.errors.InterfaceError",
        "mysql.connector.errors.OperationalError",
        "psycopg.OperationalError",
        "psycopg.errors.InterfaceError",
        "psycopg.InterfaceError",
        "psycopg2.InterfaceError",
        "psycopg2.OperationalError",
        "psycopg_pool.PoolTimeout",
        "pymongo.errors.ConnectionFailure",
        "pymysql.err.InterfaceError",
        "pymysql.err.OperationalError",
        "redis.exceptions.ConnectionError",
        "redis.exceptions.TimeoutError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "smtplib.SMTPConnectError",
        "smtplib.SMTPServerDisconnected",
        "sqlalchemy.exc.InterfaceError",
        "sqlalchemy.exc.OperationalError",
        "sqlalchemy.exc.TimeoutError",
        "urllib3.exceptions.NewConnectionError",
        "urllib3.exceptions.ProtocolError",
        "urllib3.exceptions.TimeoutError",
    }
)
"""Qualified names: module (the class's own, or the public package) and class. Subclasses count."""


def network_failure(error: BaseException) -> bool:
    """Return whether ``error`` itself shows that a network, a server or a database cannot be reached.

    This is the default of ``RetryPolicy(outage=…)``. The caller checks causes and members of exception groups one by
    one.

    Args:
        error: The error that a callback raised, or one of its causes.
    """
    if isinstance(error, _TYPES):
        return True
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    return any(not _NAMES.isdisjoint(_names(kind)) for kind in type(error).__mro__)


def matches(error: BaseException, outage: OutageErrors | None) -> bool:
    """Return whether ``error`` itself is an outage error by a policy's ``outage``."""
    if outage is None:
        return network_failure(error)
    if isinstance(outage, tuple):
        return isinstance(error, outage)
    return bool(outage(error))


def _names(kind: type) -> tuple[str, str, str]:
    """Return the names that may stand for a class: with its module, without private parts, and of its package."""
    module, name = kind.__module__, kind.__qualname__
    public = ".".join(part for part in module.split(".") if not part.startswith("_"))
    return f"{module}.{name}", f"{public}.{name}", f"{module.partition('.')[0]}.{name}"
