"""Commands ``msgbus dlq list | show | redrive | purge | export``: the dead letters of a group."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from msgbus.cli.options import DryRun, Exchange, Group, Json, Queue, Rate, Url
from msgbus.cli.progress import advancing
from msgbus.cli.reaching import reach
from msgbus.cli.report import detailed, grouped
from msgbus.cli.wording import in_words_of_the_command
from msgbus.operations.dead_letters import DeadLetterFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from msgbus.operations.dead_letters import DeadLetters, RedriveResult

__all__ = ["dlq"]

_T = TypeVar("_T")

dlq = typer.Typer(no_args_is_help=True, help="Dead letters: what a group has given up.")

Error = Annotated[str, typer.Option(help="Only those whose error or reason contains this.")]
Key = Annotated[str | None, typer.Option(help="Only those with this key.")]
Id = Annotated[str | None, typer.Option("--id", help="Only the message or dead letter with this id.")]
Since = Annotated[datetime | None, typer.Option(help="Only those that failed last since then (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="Only those that failed last until then (UTC).")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many.")]
Yes = Annotated[bool, typer.Option("--yes", help="Confirm: purged messages cannot be restored.")]
Batch = Annotated[
    int, typer.Option(min=1, help="Messages sent together; a killed redrive may repeat as many. More is faster.")
]
Looping = Annotated[
    bool, typer.Option("--looping", help="Also those that were redriven three times or more and failed again.")
]


@dlq.command("list")
def list_(  # noqa: PLR0913, PLR0917 - a command's options
    queue: Queue,
    group: Group = "",
    exchange: Exchange = "",
    url: Url = "",
    error: Error = "",
    key: Key = None,
    id: Id = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Count dead letters by error."""
    which = DeadLetterFilter(error=error, key=key, id=id, since=since, until=until)

    async def work(letters: DeadLetters) -> list[dict[str, Any]]:
        return grouped([letter async for letter in letters.look(which)], datetime.now(UTC))

    found = _with(url, queue, group, exchange, work)
    if as_json:
        _lines(found)
        return
    table = Table("error", "letters", "oldest", "newest", "looping", "for example", title=f"{queue}, group {group}")
    for row in found:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table if found else f"{queue}, group {group}: no dead letters")


@dlq.command()
def show(  # noqa: PLR0913, PLR0917 - a command's options
    queue: Queue,
    group: Group = "",
    exchange: Exchange = "",
    url: Url = "",
    error: Error = "",
    key: Key = None,
    id: Id = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Show dead letters, oldest first, with all their fields."""
    which = DeadLetterFilter(error=error, key=key, id=id, since=since, until=until)

    async def work(letters: DeadLetters) -> list[dict[str, Any]]:
        return [letter.as_dict() async for letter in letters.look(which, limit=limit)]

    found = _with(url, queue, group, exchange, work)
    if as_json:
        _lines(found)
    else:
        for one in found:
            Console().print(detailed(one))


@dlq.command()
def redrive(  # noqa: PLR0913, PLR0917 - a command's options
    queue: Queue,
    group: Group = "",
    exchange: Exchange = "",
    url: Url = "",
    error: Error = "",
    key: Key = None,
    id: Id = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    rate: Rate = None,
    batch: Batch = 1,
    looping: Looping = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Send dead letters back to the group that failed, and to no other."""
    which = DeadLetterFilter(error=error, key=key, id=id, since=since, until=until)

    async def work(letters: DeadLetters) -> RedriveResult:
        total = (await letters.redrive(which, limit=limit, looping=looping, dry_run=True)).taken
        with advancing(total, "redriven") as progress:
            return await letters.redrive(
                which, limit=limit, rate=rate, batch=batch, looping=looping, dry_run=dry_run, progress=progress
            )

    result = _with(url, queue, group, exchange, work)
    counts = {"taken": result.taken, "arrived": result.arrived, "left": result.remaining, "skipped": result.skipped}
    if as_json:
        _lines([{**counts, "dry_run": dry_run, "refused": [str(one) for one in result.refused]}])
    elif dry_run:
        typer.echo(
            f"would redrive {result.taken:,}, skip {result.skipped:,} that loop; {result.remaining:,} in the queue"
        )
    else:
        typer.echo(", ".join(f"{count:,} {word}" for word, count in counts.items()))
        for refusal in result.refused[:3]:
            typer.echo(f"did not arrive: {in_words_of_the_command(str(refusal))}", err=True)
    if not dry_run and not result.complete:
        raise typer.Exit(1)


@dlq.command()
def purge(  # noqa: PLR0913, PLR0917 - a command's options
    queue: Queue,
    group: Group = "",
    exchange: Exchange = "",
    url: Url = "",
    error: Error = "",
    key: Key = None,
    id: Id = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete dead letters for good."""
    if not yes and not dry_run:
        typer.echo("purge deletes messages for good: say --yes, or --dry-run to see how many", err=True)
        raise typer.Exit(2)
    which = DeadLetterFilter(error=error, key=key, id=id, since=since, until=until)

    async def work(letters: DeadLetters) -> int:
        return await letters.purge(which, limit=limit, dry_run=dry_run)

    count = _with(url, queue, group, exchange, work)
    if as_json:
        _lines([{"purged": 0 if dry_run else count, "matching": count, "dry_run": dry_run}])
    else:
        typer.echo(f"would purge {count:,}" if dry_run else f"{count:,} purged")


@dlq.command()
def export(  # noqa: PLR0913, PLR0917 - a command's options
    queue: Queue,
    group: Group = "",
    exchange: Exchange = "",
    url: Url = "",
    error: Error = "",
    key: Key = None,
    id: Id = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    output: Annotated[str, typer.Option("--output", "-o", help="A file; - is the standard output.")] = "-",
) -> None:
    """Write dead letters as JSON lines; they stay where they are."""
    which = DeadLetterFilter(error=error, key=key, id=id, since=since, until=until)

    async def work(letters: DeadLetters) -> int:
        with contextlib.ExitStack() as stack:
            file = sys.stdout if output == "-" else stack.enter_context(open(output, "w"))  # noqa: ASYNC230, PTH123
            return await letters.export(file, which, limit=limit)

    count = _with(url, queue, group, exchange, work)
    if output != "-":
        typer.echo(f"{count:,} written to {output}")


def _with(
    url: str, queue: str, group: str, exchange: str, work: Callable[[DeadLetters], Coroutine[Any, Any, _T]]
) -> _T:
    return reach(url, group, lambda broker: work(broker.dead_letters(queue, exchange=exchange)))


def _lines(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        typer.echo(json.dumps(row))
