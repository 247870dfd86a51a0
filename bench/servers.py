"""The servers of a run, and the processes whose CPU is theirs."""

from __future__ import annotations

import asyncio
import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from tests.support.servers import Server, server_version, start
from tests.support.servers.process import family

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

ROOM: Final[Mapping[str, Mapping[str, str]]] = {"rabbitmq": {"vm_memory_high_watermark.absolute": "4GB"}}
"""For a backlog of 1,000,000, of which a quorum queue keeps more in memory than the tests' servers have."""
LIBRARIES = ("msgbus", "faststream", "redis", "aio-pika", "aiormq", "aiokafka", "orjson")


def begun(brokers: Sequence[str], stack: ExitStack) -> dict[str, Server | None]:
    """A server for each; memory needs none. Raises ServersError."""
    return {broker: None if broker == "memory" else _begun(broker, stack) for broker in brokers}


def _begun(broker: str, stack: ExitStack) -> Server:
    server = start(broker, settings=ROOM.get(broker))
    stack.callback(server.stop)
    return server


def pids(server: Server | None) -> list[int]:
    """The server's processes, where they are this machine's own."""
    return [] if server is None or server.pid is None else sorted(family(server.pid))


def versions(servers: Mapping[str, Server | None]) -> dict[str, str]:
    """Of the interpreter, the libraries, the servers; and how many processors."""
    told = {"CPUs": str(os.cpu_count()), "Python": platform.python_version()}
    told |= {name: version(name) for name in LIBRARIES}
    return told | {f"{name} server": asyncio.run(server_version(one.url)) for name, one in servers.items() if one}
