"""Commands that install things, and what they say when they fail."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_TIME = 600.0  # seconds for one command; seen: 25 for apt-get, 10 for Maven, 45 for debootstrap


class Failed(Exception):
    """A command that did not do its work; the text is the end of what it said."""


def run(argv: Sequence[str], env: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
    """Run it to its end, in `folder`, with `env` beside our environment."""
    try:
        done = subprocess.run(  # noqa: S603 - argv is ours
            argv,
            env={**os.environ, **(env or {})},
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIME,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(str(error)) from error
    if done.returncode:
        end = " / ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise Failed(f"{' '.join(argv[:4])} ...: {end}")
