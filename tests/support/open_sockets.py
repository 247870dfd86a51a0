"""Open sockets of this process."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["sockets"]


def sockets() -> set[str]:
    """The names of its open sockets."""
    names: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it was the one that listed them
            names.add(str(entry.readlink()))
    return {name for name in names if name.startswith("socket:")}
