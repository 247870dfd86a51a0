"""Which errors say that something a callback needs is off, and not that its message is bad. Pure.

Errors of clients that may not be installed are known by their qualified names, so nothing is imported for them.
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
"""Types of errors, or a function that is given an error and says whether it is of outage kind."""

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
"""Of an OSError: the network's. ConnectionError and TimeoutError have the others. Files are the message's business."""
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
"""Qualified names: module (as the class says it, or the public package) and class. Subclasses count."""


def network_failure(error: BaseException) -> bool:
    """Return whether ``error`` itself says that a network, a server or a database cannot be reached.

    This is the default of ``RetryPolicy(outage=…)``. Causes and the members of exception groups are looked at by the
    caller, one by one.
    """
    if isinstance(error, _TYPES):
        return True
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    return any(not _NAMES.isdisjoint(_names(kind)) for kind in type(error).__mro__)


def matches(error: BaseException, outage: OutageErrors | None) -> bool:
    """Return whether ``error`` itself is of the kind that a policy's ``outage`` describes."""
    if outage is None:
        return network_failure(error)
    if isinstance(outage, tuple):
        return isinstance(error, outage)
    return bool(outage(error))


def _names(kind: type) -> tuple[str, str, str]:
    """The names under which a class may be listed: with its own module, without private parts, and of its package."""
    module, name = kind.__module__, kind.__qualname__
    public = ".".join(part for part in module.split(".") if not part.startswith("_"))
    return f"{module}.{name}", f"{public}.{name}", f"{module.partition('.')[0]}.{name}"
