"""Options that commands share."""

from __future__ import annotations

import inspect
from datetime import datetime

import typer
from typer.testing import CliRunner

from msgbus.cli.selection import Selection, selecting
from msgbus.operations.dead_letters import DeadLetterFilter

ran: list[tuple[Selection, int]] = []
app = typer.Typer()


@app.command()
@selecting
def count(selection: Selection, limit: int = 7) -> None:
    """Count something."""
    ran.append((selection, limit))


def test_a_command_has_the_options_of_a_selection_and_its_own() -> None:
    names = [*inspect.signature(count).parameters]
    assert names == ["queue", "group", "exchange", "url", "error", "key", "id", "since", "until", "limit"]
    assert count.__doc__ == "Count something."


def test_a_command_gets_what_was_selected() -> None:
    ran.clear()
    line = "orders -g mail --exchange shop --url memory://x --error no --key k --id 7 --since 2026-01-02 --limit 3"
    result = CliRunner().invoke(app, line.split(), catch_exceptions=False)
    assert result.exit_code == 0
    ((selection, limit),) = ran
    which = DeadLetterFilter(error="no", key="k", id="7", since=datetime(2026, 1, 2))  # noqa: DTZ001 - as typer reads it
    assert selection == Selection("orders", "mail", "shop", "memory://x", which)
    assert str(selection) == "orders, group mail"
    assert limit == 3


def test_a_command_without_a_queue_is_refused() -> None:
    assert CliRunner().invoke(app, []).exit_code == 2
