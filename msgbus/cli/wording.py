"""Words of errors on the command line: what the operator can do here, and no Python. Pure."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["in_words_of_the_command"]

_PYTHON: Final = re.compile(
    r"""
    \b(connect|consume|create_queue|publish|publish_many|take|redrive|purge|rewind|replay|history|dead_letters)\(
    | \b(group|groups|exchange|partitions|retention|compact|native|start|retry|rate|batch|limit|headers|key|delay)=
    | \basync\ with\b
    """,
    re.VERBOSE,
)
_CLAUSES: Final = re.compile(r"([;:]) +")


def in_words_of_the_command(text: str) -> str:
    """Return the text of an error without the clauses that name calls or arguments of the Python API.

    Such a clause is a remedy for a program; the clauses before it say what failed.
    """
    first, *rest = _CLAUSES.split(text)
    kept = [first]
    for separator, clause in zip(rest[::2], rest[1::2], strict=True):
        if not _PYTHON.search(clause):
            kept.append(f"{separator} {clause}")
    return "".join(kept)
