"""Servers that outlive the command that started them: `up`, `down`, `status`.

A state file in the cache folder remembers them: processes by pid and birth, so that a pid the kernel has given to
somebody else since then is never touched; containers by id. Each checkout has a file of its own: its `down` stops
nothing of another's.
"""

import fcntl
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.support.paths import ROOT

from . import cache, process
from .choose import start
from .container import ContainerServer
from .native import NativeServer
from .server import Server

_POLITENESS = 15.0  # seconds from SIGTERM to SIGKILL


@dataclass
class Standing:
    """One server that `up` started. `pids`: leader of a session -> its birth, the serving one first."""

    name: str
    url: str
    pids: dict[int, str] = field(default_factory=dict)
    folder: str = ""
    container: str = ""

    def runs(self) -> bool:
        """Whether its serving process is still the one we started, or its container still runs."""
        if self.container:
            return _docker("inspect", "--format", "{{.State.Running}}", self.container) == "true"
        return any(process.birth(pid) == born for pid, born in list(self.pids.items())[:1])

    def end(self) -> None:
        """Stop it and forget its data."""
        if self.container:
            _docker("rm", "--force", "--volumes", self.container)
        for pid, born in self.pids.items():
            if process.birth(pid) == born:
                process.end(pid, _POLITENESS)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __str__(self) -> str:
        where = f"container {self.container[:12]}" if self.container else f"pid {next(iter(self.pids), None)}"
        return f"{self.name} ({where}) {self.url}"


def up(name: str) -> str:
    """The URL of a server that goes on after us; started now unless one runs already, or the environment names one."""
    with _state() as standing:
        found = standing.get(name)
        if found and found.runs():
            return found.url
        if found:
            standing.pop(name).end()  # what is left of a dead one: its helpers and its folder
        server = start(name, guarded=False)
        if server.origin != "environment":
            standing[name] = _remember(server)
        return server.url


def down() -> list[Standing]:
    """Stop everything that `up` started; what it was."""
    with _state() as standing:
        stopped = list(standing.values())
        for server in stopped:
            server.end()
            del standing[server.name]
        return stopped


def running() -> dict[str, Standing]:
    """What `up` started and still runs, by name."""
    with _state() as standing:
        return {name: server for name, server in standing.items() if server.runs()}


def _remember(server: Server) -> Standing:
    if isinstance(server, ContainerServer):
        return Standing(server.name, server.url, container=server.container_id)
    if isinstance(server, NativeServer):
        pids = {pid: process.birth(pid) for pid in server.pids}
        return Standing(server.name, server.url, pids, str(server.folder))
    raise TypeError(f"a server from the {server.origin} is not ours to remember")


@contextmanager
def _state() -> Iterator[dict[str, Standing]]:
    """What the state file says, written back at the end; one command at a time."""
    cache.folder().mkdir(parents=True, exist_ok=True)
    path = _path(ROOT)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        standing = _read(path)
        try:
            yield standing
        finally:
            _write(path, standing)


def _path(checkout: Path) -> Path:
    """The state file of a checkout, named after where it is."""
    return cache.folder() / f"servers-{hashlib.sha256(str(checkout.resolve()).encode()).hexdigest()[:12]}.json"


def _read(path: Path) -> dict[str, Standing]:
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))
    servers = [Standing(**{**row, "pids": {int(pid): born for pid, born in row["pids"].items()}}) for row in rows]
    return {server.name: server for server in servers}


def _write(path: Path, standing: dict[str, Standing]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps([asdict(server) for server in standing.values()], indent=1), encoding="utf-8")
    fresh.replace(path)


def _docker(*words: str) -> str:
    """What docker says; "" if there is no docker, no engine or no such container."""
    docker = shutil.which("docker")
    if not docker:
        return ""
    done = subprocess.run([docker, *words], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    return done.stdout.strip()
