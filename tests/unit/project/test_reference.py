"""The reference pages name everything that the code has, and nothing else."""

from __future__ import annotations

import dataclasses
import re
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

import typer

import msgbus
from msgbus import Broker, MsgbusError, QueueHealth, RetryPolicy, errors
from msgbus.adapter import headers
from msgbus.adapter.address import Address
from msgbus.cli.app import app
from msgbus.consuming.session_metrics import SessionCounts
from msgbus.failure.retry_queues import TIER_DELAY_SECONDS
from msgbus.health import Health, QueueState
from msgbus.settings import Settings
from msgbus.subscription import SubscriptionCounts
from msgbus_kafka.options import KafkaOptions
from msgbus_memory.options import MemoryOptions
from msgbus_rabbitmq.codec import END_MARKER
from msgbus_rabbitmq.options import RabbitOptions
from msgbus_rabbitmq.topology import dead_letter_queue as rabbitmq_dead_letter_queue
from msgbus_rabbitmq.topology import server_queue
from msgbus_redis.keys import handover_signal_key, lock_key, settings_key, stream_key
from msgbus_redis.options import RedisOptions
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCS: Final = ROOT / "docs"
REFERENCE: Final = DOCS / "reference"


def section(page: Path, heading: str) -> str:
    """Return what follows ``heading`` until the next one of its level."""
    text = page.read_text().split(f"\n{heading}\n")[1]
    level = heading.partition(" ")[0]
    return re.split(rf"^{level} ", text, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """Return the code spans in the first cells of all tables of ``text``."""
    rows = re.findall(r"^\| *([^|]*?) *\|", text, re.MULTILINE)
    return [span for row in rows for span in re.findall(r"`([^`]+)`", row)]


def fields(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def test_every_setting_is_on_the_page_and_nothing_else() -> None:
    options = (KafkaOptions, MemoryOptions, RabbitOptions, RedisOptions)
    known = set(Settings.model_fields).union(*(kind.model_fields for kind in options))
    shown = first_cells(section(REFERENCE / "settings.md", "## Parameters"))
    assert sorted(shown) == sorted(known)


def test_the_defaults_on_the_page_are_those_of_the_settings() -> None:
    models = (Settings, KafkaOptions, RabbitOptions, RedisOptions)
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| ([^|]+) \|$", section(REFERENCE / "settings.md", "## Parameters"), re.MULTILINE
    )
    shown = {name: default.strip("`") for name, default in rows}
    for model in models:
        for name, field in model.model_fields.items():
            if isinstance(field.default, int | float) and not isinstance(field.default, bool):
                assert shown[name] == f"{field.default:g}", name
            elif isinstance(field.default, str) and field.default:
                assert shown[name] == field.default, name


def test_every_url_scheme_is_on_the_page_and_nothing_else() -> None:
    ours = {one.name for one in entry_points(group="msgbus.adapters") if one.module.startswith("msgbus_")}
    rows = re.findall(r"^\| ([^|]*) \|", section(REFERENCE / "settings.md", "## URLs"), re.MULTILINE)
    assert sorted(span for row in rows for span in re.findall(r"`([^`]+)`", row)) == sorted(ours)


def test_every_field_of_the_retry_policy_is_on_the_page_and_nothing_else() -> None:
    shown = first_cells(section(REFERENCE / "settings.md", "## Retry policy"))
    assert sorted(shown) == sorted(fields(RetryPolicy))


def test_every_header_of_msgbus_is_on_the_page_and_nothing_else() -> None:
    known = {text for text in vars(headers).values() if isinstance(text, str) and text.startswith("msgbus-")}
    known = (known - {headers.RESERVED_PREFIX}) | {END_MARKER, headers.CONTENT_TYPE}
    assert sorted(first_cells((REFERENCE / "headers.md").read_text())) == sorted(known)


def error_classes(kind: type[MsgbusError] = MsgbusError) -> Iterator[type[MsgbusError]]:
    yield kind
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield from error_classes(one)


def test_every_error_is_on_the_page_once_and_nothing_else() -> None:
    text = (REFERENCE / "errors.md").read_text()
    known = {kind.__name__ for kind in error_classes()} | {"Reject(reason)", "RetryLater(seconds)"}
    assert sorted([*first_cells(text), "MsgbusError"]) == sorted(known)


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    """By the indentation of each name in the drawing."""
    drawing = (REFERENCE / "errors.md").read_text().split("```")[1]
    path: list[str] = []
    for line in drawing.strip().splitlines():
        name = re.sub(r"[^A-Za-z]", "", line)
        depth = (len(line) - len(name)) // 4
        path[depth:] = [name]
        kind = getattr(errors, name)
        assert kind.__mro__[1].__name__ == (path[depth - 1] if depth else "Exception"), name
    assert set(re.findall(r"\w+", drawing)) == {kind.__name__ for kind in error_classes()}


def test_every_public_name_is_on_the_page_and_nothing_else() -> None:
    text = (REFERENCE / "api.md").read_text()
    tables = {span.partition("(")[0] for span in first_cells(text)}
    named = tables | set(re.findall(r"`(\w+)`", section(REFERENCE / "api.md", "## Errors")))
    methods = {name for name, one in vars(Broker).items() if callable(one) and not name.startswith("_")}
    assert named == set(msgbus.__all__) | methods


def commands() -> dict[str, Any]:
    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for name, one in command.commands.items():
                yield from walk(one, (*path, name))
        else:
            yield " ".join(path), command

    return dict(walk(typer.main.get_command(app), ("msgbus",)))


def test_every_command_and_option_is_on_the_page_and_nothing_else() -> None:
    page = REFERENCE / "cli.md"
    shown = [span.removesuffix(" QUEUE") for span in first_cells(page.read_text()) if span.startswith("msgbus ")]
    assert sorted(shown) == sorted(commands())
    options = {
        option
        for command in commands().values()
        for parameter in command.params
        if parameter.param_type_name == "option"
        for option in parameter.opts
    }
    assert set(first_cells(section(page, "## Options"))) == options


def test_the_page_on_health_has_every_state_field_and_count() -> None:
    page = DOCS / "how-to" / "observe-health.md"
    cells = first_cells(page.read_text())
    assert set(QueueState.__args__) <= set(cells)  # type: ignore[attr-defined]
    assert fields(Health) <= set(cells)
    assert fields(SubscriptionCounts) <= set(cells)
    named = set(re.findall(r"`(\w+)`", page.read_text()))
    assert fields(SessionCounts) | fields(QueueHealth) <= named


def test_the_page_of_names_has_the_names_that_the_adapters_use() -> None:
    queue, letters = Address("q"), Address("q", "g", "dlq")
    retry = Address("q", "g", "retry.5s")
    names = [str(retry), str(letters), server_queue(queue, "g"), rabbitmq_dead_letter_queue(queue, "g")]
    keys = [stream_key("msgbus", one) for one in (queue, retry, letters)]
    keys += [lock_key("msgbus", letters), settings_key("msgbus", queue), handover_signal_key("msgbus", "g")]
    shown = set(re.findall(r"`([^`]+)`", (REFERENCE / "names-on-servers.md").read_text()))
    assert {*names, *(key.decode() for key in keys), f"{letters}.taker"} <= shown


def test_the_page_of_names_has_every_tier() -> None:
    tiers = {part.removeprefix("retry.") for part in TIER_DELAY_SECONDS}
    line = re.search(r"tiers of the retry queues are (.*)\.", (REFERENCE / "names-on-servers.md").read_text())
    assert line is not None
    assert set(re.findall(r"`(\w+)`", line[1])) == tiers
