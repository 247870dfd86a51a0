"""Command ``msgbus doctor``: finds settings of a server that endanger messages."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final

import typer
from rich.console import Console
from rich.text import Text

from msgbus.adapter.diagnostics import Diagnosis, Finding
from msgbus.adapter.url import BrokerURL
from msgbus.cli.options import Json, Url
from msgbus.cli.reaching import broker_url, reach
from msgbus.cli.wording import in_words_of_the_command
from msgbus.errors import AccessRefused, BrokerUnavailable, MsgbusError

if TYPE_CHECKING:
    from msgbus.broker import Broker

__all__ = ["doctor"]

COLOURS: Final = {"error": "bold red", "warning": "yellow", "note": "cyan"}
REMEDIES: Final[dict[type[MsgbusError], str]] = {
    AccessRefused: "correct user, password or certificate, or give the rights of docs/how-to/secure-the-connection.md",
    BrokerUnavailable: "start the server, or correct the URL",
}


def doctor(url: Url = "", as_json: Json = False) -> None:
    """Check the server for settings that endanger messages, and say what to do. Changes nothing."""
    where = BrokerURL.parse(broker_url(url))

    async def work(broker: Broker) -> Diagnosis:
        try:
            return await broker.diagnose()
        except MsgbusError as error:
            return Diagnosis(str(where), (_unmet(error),))

    diagnosis = reach(url, None, work, memory=True)
    if as_json:
        typer.echo(json.dumps(diagnosis.as_dict()))
    else:
        _show(diagnosis)
    if not diagnosis.passed:
        raise typer.Exit(1)


def _unmet(error: MsgbusError) -> Finding:
    remedy = next((way for kind, way in REMEDIES.items() if isinstance(error, kind)), "")
    return Finding("error", f"{type(error).__name__}: {in_words_of_the_command(str(error))}", remedy)


def _show(diagnosis: Diagnosis) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(diagnosis.server, "bold"))
    for one in diagnosis.findings:
        console.print(Text.assemble((f"{one.severity:8}", COLOURS[one.severity]), one.what))
        if one.remedy:
            console.print(Text(f"{'':8}→ {one.remedy}"))
    counts = Counter(one.severity for one in diagnosis.findings)
    console.print(_counted(counts["error"], "error"), _counted(counts["warning"], "warning"), sep=", ")


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"
