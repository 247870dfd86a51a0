"""A file of a process of its own that survives its kill: each event is one write, there when the call returns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from msgbus.testing.verification.events import as_line

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from msgbus.testing.verification.events import Event

__all__ = ["Recorder"]


class Recorder:
    """Appends to ``path``. What is written survives SIGKILL of the process, not the death of the machine."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def __call__(self, event: Event) -> None:
        """Record ``event``. Raises OSError when it could not be written whole."""
        line = as_line(event)
        if (written := os.write(self._file, line)) != len(line):
            raise OSError(f"only {written} of {len(line)} bytes were written")

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
