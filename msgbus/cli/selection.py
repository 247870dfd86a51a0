"""The options that say which dead letters a command is for: the same for each command of ``msgbus dlq``."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

from msgbus.cli.options import Exchange, Group, Queue, Url
from msgbus.cli.reaching import reach
from msgbus.operations.dead_letters import DeadLetterFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from msgbus.operations.dead_letters import DeadLetters

__all__ = ["Selection", "selecting"]

_T = TypeVar("_T")
_P = ParamSpec("_P")

Error = Annotated[str, typer.Option(help="Only those whose error or reason contains this.")]
Key = Annotated[str | None, typer.Option(help="Only those with this key.")]
Id = Annotated[str | None, typer.Option("--id", help="Only the message or dead letter with this id.")]
Since = Annotated[datetime | None, typer.Option(help="Only those that failed last since then (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="Only those that failed last until then (UTC).")]


@dataclass(frozen=True)
class Selection:
    """Dead letters of one group, and how to reach them."""

    queue: str
    group: str
    exchange: str
    url: str
    which: DeadLetterFilter

    def __str__(self) -> str:
        return f"{self.queue}, group {self.group}"

    def run(self, work: Callable[[DeadLetters], Coroutine[Any, Any, _T]]) -> _T:
        """Run ``work`` with the group's dead letters, and return its result."""
        return reach(self.url, self.group, lambda broker: work(broker.dead_letters(self.queue, exchange=self.exchange)))


def _selection(  # noqa: PLR0913, PLR0917 - a command's options
    queue: Queue,
    group: Group = "",
    exchange: Exchange = "",
    url: Url = "",
    error: Error = "",
    key: Key = None,
    id: Id = None,
    since: Since = None,
    until: Until = None,
) -> Selection:
    which = DeadLetterFilter(error=error, key=key, id=id, since=since, until=until)
    return Selection(queue, group, exchange, url, which)


def selecting(command: Callable[Concatenate[Selection, _P], None]) -> Callable[..., None]:
    """Return ``command`` with the options of a selection in place of its first parameter.

    typer makes options of a function's signature, so the returned function has the signature of both.
    """
    shared = inspect.signature(_selection, eval_str=True).parameters
    _, *own = inspect.signature(command, eval_str=True).parameters.values()

    @wraps(command)
    def run(*arguments: _P.args, **options: _P.kwargs) -> None:
        selection = _selection(**{name: options.pop(name) for name in shared})  # type: ignore[arg-type]  # by signature
        command(selection, *arguments, **options)

    both = [*shared.values(), *own]
    run.__dict__["__signature__"] = inspect.Signature(both)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in both}
    return run
