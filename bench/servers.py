"""Servers of a run, and their processes, whose CPU is measured."""

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

SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {"rabbitmq": {"vm_memory_high_watermark.absolute": "4GB"}}
"""Settings for a backlog of 1,000,000: a quorum queue keeps more of it in memory than the tests' servers allow."""
LIBRARIES = ("msgbus", "faststream", "redis", "aio-pika", "aiormq", "aiokafka", "orjson")


def begun(brokers: Sequence[str], stack: ExitStack) -> dict[str, Server | None]:
    """Start a server for each broker; memory needs none. Raises ServersError."""
    return {broker: None if broker == "memory" else _begun(broker, stack) for broker in brokers}


def _begun(broker: str, stack: ExitStack) -> Server:
    server = start(broker, settings=SETTINGS.get(broker))
    stack.callback(server.stop)
    return server


def pids(server: Server | None) -> list[int]:
    """Return the server's processes, where they run on this machine."""
    return [] if server is None or server.pid is None else sorted(family(server.pid))


def versions(servers: Mapping[str, Server | None]) -> dict[str, str]:
    """Return the versions of interpreter, libraries and servers, and the number of processors."""
    told = {"CPUs": str(os.cpu_count()), "Python": platform.python_version()}
    told |= {name: version(name) for name in LIBRARIES}
    return told | {f"{name} server": asyncio.run(server_version(one.url)) for name, one in servers.items() if one}
