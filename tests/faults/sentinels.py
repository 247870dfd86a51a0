"""A primary, a replica and three sentinels as plain processes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from msgbus.url import BrokerURL
from msgbus_redis.connection import Client, Place
from msgbus_redis.sentinel import Sentinels
from tests.faults.redis_bench import serving
from tests.servers.ports import LOOPBACK, free_ports
from tests.servers.process import Process
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.servers.native import NativeServer

SERVICE = "main"
DOWN_AFTER = 1000
"""Milliseconds of silence after which a sentinel calls the primary down."""


class Watched:
    """Two Redis servers that replicate and who watches them."""

    def __init__(self) -> None:
        self._servers: list[AbstractContextManager[NativeServer]] = []
        self.first = self._start()
        self.second = self._start(replicaof=f"{LOOPBACK} {port_of(self.first)}")
        # A sentinel asks for replicas at its start, and then every 10 s.
        assert until(self._replicates, 15.0)
        self.ports = free_ports(3)
        self._folder = Path(tempfile.mkdtemp(prefix="msgbus-sentinels-"))
        self._sentinels = [self._watch(port) for port in self.ports]

    def _start(self, **settings: str) -> NativeServer:
        context = serving(**settings)
        server = context.__enter__()
        self._servers.append(context)
        return server

    def _watch(self, port: int) -> Process:
        configuration = self._folder / f"{port}.conf"
        configuration.write_text(
            f"port {port}\nbind {LOOPBACK}\ndir {self._folder}\n"
            f"sentinel monitor {SERVICE} {LOOPBACK} {port_of(self.first)} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}\n"
            f"sentinel failover-timeout {SERVICE} 5000\n"
        )
        return Process(
            ["redis-server", str(configuration), "--sentinel"], {}, self._folder / f"{port}.log", guarded=True
        )

    def _replicates(self) -> bool:
        command = ("redis-cli", "-p", str(port_of(self.first)), "INFO", "replication")
        answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own
        return "state=online" in answer.stdout

    @property
    def url(self) -> str:
        """By its sentinels, the first of which nobody answers for."""
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in (1, *self.ports))
        return f"redis+sentinel://{hosts}/0?service={SERVICE}"

    @property
    def sentinels(self) -> Sentinels:
        return Sentinels(SERVICE, [(LOOPBACK, port) for port in self.ports])

    def sentinel(self) -> Client:
        """A connection to one sentinel."""
        return Client(Place(LOOPBACK, self.ports[0]))

    def server(self, port: int) -> NativeServer:
        """The server on that port."""
        return next(one for one in (self.first, self.second) if port_of(one) == port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sentinel in self._sentinels:
            sentinel.kill()
        for context in self._servers:
            context.__exit__(None, None, None)
        shutil.rmtree(self._folder, ignore_errors=True)


def watched() -> Iterator[Watched]:
    """For a fixture."""
    with Watched() as those:
        yield those


def port_of(server: NativeServer) -> int:
    """Where it listens."""
    ((_, port),) = BrokerURL.parse(server.url).hosts
    return port or 0
