"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["DryRun", "Exchange", "Group", "Json", "Queue", "Rate", "Url"]

Queue = Annotated[str, typer.Argument(help="The queue the messages were published to.")]
Group = Annotated[str, typer.Option("--group", "-g", envvar="MSGBUS_GROUP", help="The group that consumes the queue.")]
Exchange = Annotated[str, typer.Option(help="Prefix of the queue's name.")]
Url = Annotated[str, typer.Option(help="The broker; default MSGBUS_URL.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines, for programs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")]
Rate = Annotated[float | None, typer.Option(min=0.001, help="Messages a second, at most.")]
