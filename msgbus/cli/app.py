"""Application of the command ``msgbus``: ``dlq``, ``group`` and ``doctor``.

Exit codes: 0 done; 1 the server refused, not all messages arrived, or doctor found an error; 2 wrong use.
"""

from __future__ import annotations

import logging

import typer

from msgbus.cli.dead_letters import dlq
from msgbus.cli.doctor import doctor
from msgbus.cli.groups import group
from msgbus.cli.wording import in_words_of_the_command
from msgbus.errors import ConfigurationError, MsgbusError

__all__ = ["run"]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="One broker, whatever the server."
)
app.add_typer(dlq, name="dlq")
app.add_typer(group, name="group")
app.command()(doctor)


@app.callback()
def _top() -> None:
    """Operate a broker from the command line."""


def run() -> int:
    """Run the command. Return its exit code; raise SystemExit for help and wrong use (2), as typer does."""
    logging.basicConfig(level=logging.CRITICAL, format="%(message)s")  # msgbus reports their errors in its own words
    logging.getLogger("msgbus").setLevel(logging.WARNING)
    try:
        app()
    except ConfigurationError as error:
        typer.echo(in_words_of_the_command(str(error)), err=True)
        return 2
    except (MsgbusError, OSError) as error:
        typer.echo(in_words_of_the_command(str(error)), err=True)
        return 1
    return 0
