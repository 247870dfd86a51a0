"""Errors that say that a dependency of a callback is down."""

from __future__ import annotations

import errno
import socket
import sqlite3
import ssl

import pytest
import redis
import requests
from aiokafka.errors import KafkaConnectionError
from aiormq.exceptions import AMQPConnectionError

from msgbus.errors import BrokerUnavailable, PublishUnknown, QueueNotFound
from msgbus.outage_errors import network_failure


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        BrokenPipeError(),
        TimeoutError(),
        socket.gaierror(-2, "Name or service not known"),
        ssl.SSLError("handshake"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        redis.ConnectionError(),
        redis.exceptions.BusyLoadingError(),
        redis.TimeoutError(),
        requests.ConnectionError(),
        requests.exceptions.ReadTimeout(),
        AMQPConnectionError(),
        KafkaConnectionError(),
        BrokerUnavailable("no server"),
        PublishUnknown("no answer"),
    ],
    ids=lambda error: type(error).__qualname__,
)
def test_an_error_of_a_network_or_of_a_common_client_is_an_outage(error: BaseException) -> None:
    assert network_failure(error)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("customer"),
        ValueError(),
        RuntimeError(),
        FileNotFoundError(errno.ENOENT, "no such file"),
        PermissionError(errno.EACCES, "denied"),
        OSError(errno.ENOSPC, "No space left on device"),
        redis.ResponseError("WRONGTYPE"),
        requests.HTTPError(),
        sqlite3.IntegrityError(),
        QueueNotFound("queue q does not exist"),
    ],
    ids=lambda error: type(error).__qualname__,
)
def test_any_other_error_is_its_message_s_own(error: BaseException) -> None:
    assert not network_failure(error)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("sqlalchemy.exc", "OperationalError"),
        ("httpx", "ConnectTimeout"),
        ("psycopg", "OperationalError"),
        ("psycopg.errors", "ConnectionTimeout"),
        ("asyncpg.exceptions._base", "InterfaceError"),
        ("elastic_transport._exceptions", "ConnectionError"),
    ],
)
def test_a_client_that_need_not_be_installed_is_known_by_its_name_and_its_subclasses_too(
    module: str, name: str
) -> None:
    parents = {
        "ConnectTimeout": ("httpx", "TimeoutException"),
        "ConnectionTimeout": ("psycopg.errors", "OperationalError"),
    }
    bases: tuple[type[Exception], ...] = (Exception,)
    if name in parents:
        of, parent = parents[name]
        bases = (type(parent, (Exception,), {"__module__": of}),)
    kind = type(name, bases, {"__module__": module})
    assert network_failure(kind())
