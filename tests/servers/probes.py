"""Does a server answer in its own protocol? One short connection per question, never longer than a second or two."""

import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial

from . import kafka_wire, redis_wire

_PATIENCE = 1.0  # seconds for each step of a conversation


def probe(
    name: str, host: str, port: int, login: Sequence[str] = (), tls: ssl.SSLContext | None = None
) -> Callable[[], bool]:
    """A question to the server of broker `name`: True when it is ready to serve, False while it is not yet.

    `login`: password, or user and password, where Redis wants them.
    """
    talks: dict[str, Callable[[socket.socket], bool]] = {
        "redis": partial(_redis, login=login),
        "rabbitmq": _rabbitmq,
        "kafka": _kafka,
    }
    talk = talks[name]

    def ready() -> bool:
        try:
            with socket.create_connection((host, port), timeout=_PATIENCE) as plain:
                if tls is None:
                    return talk(plain)
                with tls.wrap_socket(plain, server_hostname=host) as connection:
                    return talk(connection)
        except (OSError, ValueError):
            return False

    return ready


def _redis(connection: socket.socket, login: Sequence[str]) -> bool:
    """PING, also while it loads its append-only file: then the answer is an error and we ask again."""
    auth = redis_wire.command("AUTH", *login) if login else b""
    connection.sendall(auth + redis_wire.command("PING"))
    expected = b"+OK\r\n+PONG\r\n" if login else b"+PONG\r\n"
    return _read(connection, len(expected)) == expected


def _rabbitmq(connection: socket.socket) -> bool:
    """The protocol header, which a node answers with Connection.Start (class 10, method 10) once it has booted."""
    connection.sendall(b"AMQP\x00\x00\x09\x01")
    start = _read(connection, 11)
    return start[:1] == b"\x01" and start[7:] == b"\x00\x0a\x00\x0a"


def _kafka(connection: socket.socket) -> bool:
    """Metadata: a broker that listens but is still fenced names nobody, and would refuse to create a topic."""
    connection.sendall(kafka_wire.metadata_request())
    size = kafka_wire.response_size(_read(connection, 4))
    return kafka_wire.alive_brokers(_read(connection, size)) > 0


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data
