"""Recorder: appends events to a file that survives a kill of the process. Each event is one write."""

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
    """Appends events to ``path``. They survive SIGKILL of the process, not a crash of the machine."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Args:
            path: The file; events are appended to it.

        Raises:
            OSError: The file cannot be opened.
        """
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def __call__(self, event: Event) -> None:
        """Record an event.

        Args:
            event: The event.

        Raises:
            OSError: The event cannot be written completely.
        """
        line = as_line(event)
        if (written := os.write(self._file, line)) != len(line):
            raise OSError(f"only {written} of {len(line)} bytes were written")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
