"""Which versions the native servers have: this machine's, or by MSGBUS_TEST_SET another set.

| set | Redis adapter | RabbitMQ | Kafka |
|---|---|---|---|
| (none) | Redis of this machine's Debian | RabbitMQ of this machine's Debian | 4.1.1 |
| next | Redis 8.0 of Debian 13 | RabbitMQ 4.0 of Debian 13 | 3.9.1 |
| valkey | Valkey 8.1 of Debian 13 | (none) | (none) |

Those of Debian 13 lie in a folder of their own that becomes the root of the server's process; nothing else of the
machine is touched (`make brokers-next`). It takes root.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cache

KAFKA = {"": "4.1.1", "next": "3.9.1"}
"""The first one is also the default in kafka-pom.xml."""
PROGRAMS: Mapping[str, Mapping[str, str]] = {
    "": {"redis": "redis-server", "rabbitmq": "rabbitmq-server"},
    "next": {"redis": "redis-server", "rabbitmq": "rabbitmq-server"},
    "valkey": {"redis": "valkey-server"},
}

# A mount namespace of its own, gone with the process: the server's root has its own /proc and /tmp, and sees the one
# folder that its files are in at the same place as we do.
_ENTER = """
root=$1 folder=$2; shift 2
mount -t proc proc "$root/proc" && mount -t tmpfs tmpfs "$root/tmp" && mkdir -p "$root$folder" &&
mount --bind "$folder" "$root$folder" && exec chroot "$root" "$@"
"""


def brokers() -> list[str]:
    """The brokers that the chosen set has."""
    return [*PROGRAMS[chosen()], *(["kafka"] if chosen() in KAFKA else [])]


def chosen() -> str:
    """The name of the set. ValueError: there is no such set."""
    name = os.environ.get("MSGBUS_TEST_SET", "")
    if name not in PROGRAMS:
        raise ValueError(f"MSGBUS_TEST_SET={name}: the sets are {', '.join(filter(None, PROGRAMS))}, or none")
    return name


@dataclass(frozen=True)
class Root:
    """The folder with another Debian in it."""

    path: Path

    def lacks(self, program: str) -> str:
        """What is missing to run `program` there; "" if nothing."""
        if not self.path.is_dir():
            return f"{program} of Debian 13 is not there (make brokers-next)"
        return "" if os.geteuid() == 0 else f"{program} of Debian 13 can be run by root only"

    def entering(self, folder: Path, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` in it, with `folder` at the place where we see it."""
        return ["unshare", "--mount", "sh", "-c", _ENTER, "enter", str(self.path), str(folder), *argv]


def root() -> Root | None:
    """Where the chosen set's Debian packages are installed, None for this machine itself."""
    return Root(cache.folder() / "debian-13") if chosen() else None
