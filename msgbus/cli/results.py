"""How commands that send messages again tell what came of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

import typer

from msgbus.cli.wording import in_words_of_the_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["print_json_lines", "print_sent"]

MAX_NAMED_REFUSALS: Final = 3
"""Most refused messages that are named."""


class SendResult(Protocol):
    """Result of a redrive or a replay."""

    @property
    def refused(self) -> Sequence[BaseException]:
        """The errors of messages that did not arrive."""
        ...

    @property
    def complete(self) -> bool:
        """Whether every message arrived."""
        ...


def print_json_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print each row as a line of JSON."""
    for row in rows:
        typer.echo(json.dumps(row))


def print_sent(result: SendResult, counts: Mapping[str, int], text: str, *, dry_run: bool, as_json: bool) -> None:
    """Print ``counts`` as JSON, or ``text``; end the command with status 1 where messages did not arrive."""
    if as_json:
        print_json_lines([{**counts, "dry_run": dry_run, "refused": [str(one) for one in result.refused]}])
    else:
        typer.echo(text)
        for refusal in result.refused[:MAX_NAMED_REFUSALS]:
            typer.echo(f"did not arrive: {in_words_of_the_command(str(refusal))}", err=True)
    if not dry_run and not result.complete:
        raise typer.Exit(1)
