"""Commands ``msgbus dlq list | show | redrive | purge | export``: the dead letters of a group."""

from __future__ import annotations

import contextlib
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from msgbus.cli.options import DryRun, Json, Rate
from msgbus.cli.progress import advancing
from msgbus.cli.report import detailed, grouped
from msgbus.cli.results import print_json_lines, print_sent
from msgbus.cli.selection import Selection, selecting

if TYPE_CHECKING:
    from msgbus.operations.dead_letters import DeadLetters, RedriveResult

__all__ = ["dlq"]

dlq = typer.Typer(no_args_is_help=True, help="Dead letters: what a group has given up.")

Limit = Annotated[int | None, typer.Option(min=1, help="At most this many.")]
Yes = Annotated[bool, typer.Option("--yes", help="Confirm: purged messages cannot be restored.")]
Batch = Annotated[
    int, typer.Option(min=1, help="Messages sent together; a killed redrive may repeat as many. More is faster.")
]
Looping = Annotated[
    bool, typer.Option("--looping", help="Also those that were redriven three times or more and failed again.")
]


@dlq.command("list")
@selecting
def list_(selection: Selection, as_json: Json = False) -> None:
    """Count dead letters by error."""

    async def work(letters: DeadLetters) -> list[dict[str, Any]]:
        return grouped([letter async for letter in letters.look(selection.which)], datetime.now(UTC))

    found = selection.run(work)
    if as_json:
        print_json_lines(found)
        return
    table = Table("error", "letters", "oldest", "newest", "looping", "for example", title=str(selection))
    for row in found:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table if found else f"{selection}: no dead letters")


@dlq.command()
@selecting
def show(selection: Selection, limit: Limit = 20, as_json: Json = False) -> None:
    """Show dead letters, oldest first, with all their fields."""

    async def work(letters: DeadLetters) -> list[dict[str, Any]]:
        return [letter.as_dict() async for letter in letters.look(selection.which, limit=limit)]

    found = selection.run(work)
    if as_json:
        print_json_lines(found)
    else:
        for one in found:
            Console().print(detailed(one))


@dlq.command()
@selecting
def redrive(  # noqa: PLR0913, PLR0917 - a command's options
    selection: Selection,
    limit: Limit = None,
    rate: Rate = None,
    batch: Batch = 1,
    looping: Looping = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Send dead letters back to the group that failed, and to no other."""
    which = selection.which

    async def work(letters: DeadLetters) -> RedriveResult:
        total = (await letters.redrive(which, limit=limit, looping=looping, dry_run=True)).taken
        with advancing(total, "redriven") as progress:
            return await letters.redrive(
                which, limit=limit, rate=rate, batch=batch, looping=looping, dry_run=dry_run, progress=progress
            )

    result = selection.run(work)
    counts = {"taken": result.taken, "arrived": result.arrived, "left": result.remaining, "skipped": result.skipped}
    text = ", ".join(f"{count:,} {word}" for word, count in counts.items())
    if dry_run:
        text = f"would redrive {result.taken:,}, skip {result.skipped:,} that loop; {result.remaining:,} in the queue"
    print_sent(result, counts, text, dry_run=dry_run, as_json=as_json)


@dlq.command()
@selecting
def purge(
    selection: Selection,
    limit: Limit = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete dead letters for good."""
    if not yes and not dry_run:
        typer.echo("purge deletes messages for good: say --yes, or --dry-run to see how many", err=True)
        raise typer.Exit(2)

    async def work(letters: DeadLetters) -> int:
        return await letters.purge(selection.which, limit=limit, dry_run=dry_run)

    count = selection.run(work)
    if as_json:
        print_json_lines([{"purged": 0 if dry_run else count, "matching": count, "dry_run": dry_run}])
    else:
        typer.echo(f"would purge {count:,}" if dry_run else f"{count:,} purged")


@dlq.command()
@selecting
def export(
    selection: Selection,
    limit: Limit = None,
    output: Annotated[str, typer.Option("--output", "-o", help="A file; - is the standard output.")] = "-",
) -> None:
    """Write dead letters as JSON lines; they stay where they are."""

    async def work(letters: DeadLetters) -> int:
        with contextlib.ExitStack() as stack:
            file = sys.stdout if output == "-" else stack.enter_context(open(output, "w"))  # noqa: ASYNC230, PTH123
            return await letters.export(file, selection.which, limit=limit)

    count = selection.run(work)
    if output != "-":
        typer.echo(f"{count:,} written to {output}")
