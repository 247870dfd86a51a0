"""Does a server answer in its own protocol? One short connection per question, never longer than a second or two.

Each of these gives a question to the server at an address: True when it is ready to serve, False while it is not yet.
"""

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from . import kafka_wire, redis_wire

Probe = Callable[[], bool]
At = tuple[str, int]
_Talk = Callable[[socket.socket], bool]

_PATIENCE = 1.0  # seconds for each step of a conversation


def redis(at: At, login: Sequence[str] = (), tls: ssl.SSLContext | None = None) -> Probe:
    """`login`: a password, or user and password, if the server wants them."""
    return partial(_ready, at, partial(_redis, login=login), tls)


def replica(at: At, login: Sequence[str] = (), tls: ssl.SSLContext | None = None) -> Probe:
    """A Redis replica that has what its primary has."""
    said = partial(_says, login=login, about="replication", what=b"\r\nmaster_link_status:up\r\n")
    return partial(_ready, at, said, tls)


def sentinel(at: At, sentinels: int, login: Sequence[str] = (), tls: ssl.SSLContext | None = None) -> Probe:
    """A Redis sentinel that knows the replica and all `sentinels`, itself included."""
    said = partial(_says, login=login, about="sentinel", what=b",slaves=1,sentinels=%d\r\n" % sentinels)
    return partial(_ready, at, said, tls)


def rabbitmq(at: At, tls: ssl.SSLContext | None = None) -> Probe:
    """A node of RabbitMQ."""
    return partial(_ready, at, _rabbitmq, tls)


def kafka(at: At, node: int = 1) -> Probe:
    """The Kafka broker with this id, in clear text and without a login."""
    return partial(_ready, at, partial(_kafka, node=node))


PROBES: Mapping[str, Callable[[At], Probe]] = {"redis": redis, "rabbitmq": rabbitmq, "kafka": kafka}


def _ready(at: At, talk: _Talk, tls: ssl.SSLContext | None = None) -> bool:
    try:
        with socket.create_connection(at, timeout=_PATIENCE) as plain:
            if tls is None:
                return talk(plain)
            with tls.wrap_socket(plain, server_hostname=at[0]) as connection:
                return talk(connection)
    except (OSError, ValueError):
        return False


def _redis(connection: socket.socket, login: Sequence[str]) -> bool:
    """PING, also while it loads its append-only file: then the answer is an error and we ask again."""
    auth = redis_wire.command("AUTH", *login) if login else b""
    connection.sendall(auth + redis_wire.command("PING"))
    expected = b"+OK\r\n+PONG\r\n" if login else b"+PONG\r\n"
    return _read(connection, len(expected)) == expected


def _says(connection: socket.socket, login: Sequence[str], about: str, what: bytes) -> bool:
    """INFO, one section of it."""
    auth = redis_wire.command("AUTH", *login) if login else b""
    connection.sendall(auth + redis_wire.command("INFO", about))
    with connection.makefile("rb") as answer:
        if login and answer.readline() != b"+OK\r\n":
            return False
        return what in answer.read(int(answer.readline()[1:]))


def _rabbitmq(connection: socket.socket) -> bool:
    """The protocol header, which a node answers with Connection.Start (class 10, method 10) once it has booted."""
    connection.sendall(b"AMQP\x00\x00\x09\x01")
    start = _read(connection, 11)
    return start[:1] == b"\x01" and start[7:] == b"\x00\x0a\x00\x0a"


def _kafka(connection: socket.socket, node: int) -> bool:
    """Metadata: a broker that listens but is still fenced does not name itself, and would refuse to create a topic."""
    connection.sendall(kafka_wire.metadata_request())
    size = kafka_wire.response_size(_read(connection, 4))
    return node in kafka_wire.alive_brokers(_read(connection, size))


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data
