"""Command ``msgbus`` for operators: dead letters, groups, and the server. Needs the extra ``cli``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command. Return its exit code."""
    try:
        from msgbus.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        sys.stderr.write(f"the command needs {error.name}: pip install 'msgbus[cli]'\n")
        return 2
    return run()
