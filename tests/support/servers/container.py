"""A server in a container, through testcontainers, where a Docker engine really answers.

The plain DockerContainer, not the broker-specific classes: these servers get the same settings and the same proof of
readiness as the native ones, and need no further client library (testcontainers' RabbitMQ imports pika).
"""

import atexit
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import ServerNotReady, ServerUnavailable
from .kafka_native import SETTINGS
from .probes import PROBES
from .server import Server
from .waiting import until

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

_ENGINE_PATIENCE = 0.9  # seconds; an engine on this machine answers in 0.05
_READY_PATIENCE = 90.0  # seconds from the container's start to its answer; the image is there by then


@dataclass(frozen=True)
class _Image:
    """An image and how it becomes the server we want. `url` has the places {host} and {port}."""

    name: str
    port: int
    url: str
    command: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)


def _kafka_env() -> dict[str, str]:
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@localhost:9093",
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        **SETTINGS,
    }
    return {"KAFKA_" + key.replace(".", "_").upper(): value for key, value in settings.items()}


# Kafka tells clients where it is, and the port it is published on exists only once the container runs: so it waits
# for a file that says so.
_ADVERTISED = "/tmp/advertised"  # noqa: S108 - inside the container
_KAFKA_START = (
    f"until [ -s {_ADVERTISED} ]; do sleep 0.1; done; "
    f'KAFKA_ADVERTISED_LISTENERS="PLAINTEXT://$(cat {_ADVERTISED})" exec /etc/kafka/docker/run'
)
_REDIS_START = "redis-server --appendonly yes --appendfsync everysec --maxmemory-policy noeviction --save"

_IMAGES = {
    "redis": _Image("redis:8.0", 6379, "redis://{host}:{port}/0", [*_REDIS_START.split(), ""]),
    "rabbitmq": _Image("rabbitmq:4.0", 5672, "rabbitmq://guest:guest@{host}:{port}"),
    "kafka": _Image("apache/kafka:4.1.1", 9092, "kafka://{host}:{port}", ["sh", "-c", _KAFKA_START], _kafka_env()),
}


class ContainerServer(Server):
    """One running container."""

    origin = "container"

    def __init__(self, name: str, url: str, container: "DockerContainer", *, guarded: bool) -> None:
        super().__init__(name, url)
        self.container_id: str = container.get_container_id()
        self._container = container
        if guarded:
            atexit.register(self.stop)

    def stop(self) -> None:
        atexit.unregister(self.stop)
        with suppress(Exception):  # removed already: by a first stop(), or by hand
            self._container.stop()


def engine() -> str:
    """The version of the Docker engine that answers, "" if none does within a second."""
    docker = shutil.which("docker")
    if not docker:
        return ""
    ask = [docker, "version", "--format", "{{.Server.Version}}"]
    with suppress(subprocess.TimeoutExpired, OSError):
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=_ENGINE_PATIENCE, check=False)  # noqa: S603
        return answer.stdout.strip() if answer.returncode == 0 else ""
    return ""


def start_container(name: str, *, guarded: bool = True) -> ContainerServer:
    """A fresh server in a container. `guarded=False`: it outlives this Python.

    ServerUnavailable: testcontainers is missing, or the engine cannot run the image. ServerNotReady: no answer.
    """
    image = _IMAGES[name]
    try:
        container = _run(image, guarded=guarded)
    except Exception as error:  # whatever the engine, the registry or the library says: it is not to be had here
        reason = f"{image.name} does not start in a container ({type(error).__name__}: {error})"
        raise ServerUnavailable(name, reason, f"docker pull {image.name}") from error
    host, port = container.get_container_host_ip(), container.get_exposed_port(image.port)
    container.exec(["sh", "-c", f"echo {shlex.quote(f'{host}:{port}')} > {_ADVERTISED}"])
    server = ContainerServer(name, image.url.format(host=host, port=port), container, guarded=guarded)
    if not until(PROBES[name]((host, int(port))), _READY_PATIENCE):
        tail = b"\n".join(container.get_logs())[-2000:].decode(errors="replace")
        server.stop()
        raise ServerNotReady(name, f"did not answer within {_READY_PATIENCE:.0f} s", tail)
    return server


def _run(image: _Image, *, guarded: bool) -> "DockerContainer":
    if not guarded:
        os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"  # its reaper would end the container with this Python
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(image.name, env=dict(image.env)).with_exposed_ports(image.port)
    if image.command:
        container.with_command(list(image.command))
    try:
        return container.start()
    except BaseException:
        with suppress(Exception):
            container.stop()
        raise
