"""Commands ``msgbus group rewind | replay``: the history of a queue, for one group."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from msgbus.cli.options import DryRun, Exchange, Group, Json, Queue, Rate, Url
from msgbus.cli.progress import advancing
from msgbus.cli.reaching import reach
from msgbus.cli.wording import in_words_of_the_command
from msgbus.errors import ConfigurationError

if TYPE_CHECKING:
    from msgbus.adapter import Position
    from msgbus.broker import Broker
    from msgbus.operations.history import ReplayResult

__all__ = ["group"]

group = typer.Typer(no_args_is_help=True, help="Groups: rewind a group, or replay messages to it.")

To = Annotated[str, typer.Option(help="oldest, newest, or a message's position: purchases-0@17, 1700-0; 17 on Kafka.")]
ToTime = Annotated[datetime | None, typer.Option(help="Messages that were published then or later (UTC).")]
Since = Annotated[datetime | None, typer.Option(help="Begin with messages that were published then (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="End with messages that were published before then (UTC).")]
From = Annotated[str, typer.Option("--from", help="Begin at oldest, or at this position.")]
Before = Annotated[str, typer.Option(help="End before this position.")]


@group.command()
def rewind(  # noqa: PLR0913, PLR0917 - a command's options
    queue: Queue,
    group: Group = "",
    exchange: Exchange = "",
    url: Url = "",
    to: To = "",
    to_time: ToTime = None,
) -> None:
    """Make a group without members go on at another position. Other groups are not affected."""
    place = _one_of("--to or --to-time", to, to_time)
    if place is None:
        raise ConfigurationError("rewind: say where, by --to or --to-time")
    reach(url, group, lambda broker: broker.history(queue, exchange=exchange).rewind(place))
    typer.echo(f"{queue}, group {group}: goes on at {place}")


@group.command()
def replay(  # noqa: PLR0913, PLR0917 - a command's options
    queue: Queue,
    group: Group = "",
    exchange: Exchange = "",
    url: Url = "",
    since: Since = None,
    from_: From = "",
    until: Until = None,
    before: Before = "",
    rate: Rate = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Send messages of the queue's history to one group again, and to no other. The group may be running."""
    begin, end = _one_of("--from or --since", from_, since), _one_of("--before or --until", before, until)
    if begin is None:
        raise ConfigurationError("replay: say from where, by --from or --since")

    async def work(broker: Broker) -> ReplayResult:
        history = broker.history(queue, exchange=exchange)
        found = await history.replay(begin, end, dry_run=True)
        if dry_run:
            return found
        with advancing(found.taken, "replayed") as progress:
            return await history.replay(begin, end, rate=rate, progress=progress)

    result = reach(url, group, work)
    counts = {"taken": result.taken, "arrived": result.arrived}
    if as_json:
        typer.echo(json.dumps({**counts, "dry_run": dry_run, "refused": [str(one) for one in result.refused]}))
    else:
        typer.echo(f"would replay {result.taken:,}" if dry_run else f"{result.arrived:,} of {result.taken:,} arrived")
        for refusal in result.refused[:3]:
            typer.echo(f"did not arrive: {in_words_of_the_command(str(refusal))}", err=True)
    if not dry_run and not result.complete:
        raise typer.Exit(1)


def _one_of(names: str, position: str, time: datetime | None) -> Position | None:
    if position and time is not None:
        raise ConfigurationError(f"say {names}, not both")
    return position or (time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time)
