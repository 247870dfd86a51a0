"""Processes known by their pid: a server leads a session of its own, and is signalled and ended with all its family.

The family is the session and every descendant: Erlang puts its helpers into sessions of their own.
Reads /proc, so this is for Linux.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .waiting import until


@dataclass(frozen=True)
class _Stat:
    """One line of the kernel's process table. `birth`: clock ticks since boot."""

    pid: int
    state: str
    parent: int
    session: int
    birth: str

    def is_alive(self) -> bool:
        return self.state not in "ZX"  # a zombie only waits for its parent to take notice


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name in front may hold blanks and brackets
    return _Stat(pid, fields[0], int(fields[1]), int(fields[3]), fields[19])


def birth(pid: int) -> str:
    """When a living process started, as the kernel tells it: with the pid it names one process only; "" if dead."""
    stat = _stat(pid)
    return stat.birth if stat and stat.is_alive() else ""


def family(leader: int) -> dict[int, str]:
    """The living processes of the session that `leader` began and all their descendants: pid -> birth."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    alive = [stat for stat in map(_stat, pids) if stat and stat.is_alive()]
    found = {stat.pid: stat.birth for stat in alive if stat.session == leader}
    while more := [stat for stat in alive if stat.parent in found and stat.pid not in found]:
        found.update((stat.pid, stat.birth) for stat in more)
    return found


def send(members: Mapping[int, str], number: signal.Signals) -> None:
    """Send a signal to each of these processes (pid -> birth) that still lives."""
    for pid in _living(members):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def end(leader: int, patience: float) -> None:
    """End a server: SIGTERM to the leader, and after `patience` seconds SIGKILL to whatever is left of its family."""
    members = family(leader)
    send({pid: born for pid, born in members.items() if pid == leader}, signal.SIGTERM)
    send(members, signal.SIGCONT)  # a frozen process hears nothing
    until(lambda: not _living(members), patience)
    _kill({**members, **family(leader)})


def kill(leader: int) -> None:
    """SIGKILL to the whole family; returns when it is gone (at most 5 s)."""
    _kill(family(leader))


def _kill(members: Mapping[int, str]) -> None:
    send(members, signal.SIGKILL)
    until(lambda: not _living(members), 5)


def _living(members: Mapping[int, str]) -> list[int]:
    return [pid for pid, born in members.items() if birth(pid) == born]


class Process:
    """One child process, leader of a session, and its family.

    `guarded`: it is killed when this Python ends in whatever way, SIGKILL included. Without, it outlives us.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path, *, guarded: bool) -> None:
        with log.open("ab") as output:
            self._child = subprocess.Popen(  # noqa: S603 - argv is ours
                argv,
                env={**os.environ, **env},
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._child.pid
        self._guard = _guard(self.pid) if guarded else None

    def alive(self) -> bool:
        """Whether the leader of the session still runs."""
        return self._child.poll() is None

    def end(self, patience: float) -> None:
        """End it and its children, politely for `patience` seconds."""
        end(self.pid, patience)
        self._bury()

    def kill(self) -> None:
        """SIGKILL it and its children."""
        kill(self.pid)
        self._bury()

    def _bury(self) -> None:
        self._child.wait(timeout=5)
        if self._guard and self._guard.stdin:
            self._guard.kill()  # before its pipe closes: the pid it watches is free from here on
            self._guard.wait(timeout=5)
            self._guard.stdin.close()


def _guard(leader: int) -> subprocess.Popen[bytes]:
    """A shell that reads a pipe from us: its end means that we are gone, whatever the reason, and it kills `leader`."""
    return subprocess.Popen(  # noqa: S603 - a constant script
        ["/bin/sh", "-c", 'cat >/dev/null; kill -s KILL -- "-$1"', "guard", str(leader)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C at the terminal is not for it
    )
