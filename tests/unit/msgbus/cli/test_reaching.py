"""What a command says where broker or group is missing: its own options."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

from msgbus.cli.reaching import broker_url, reach
from msgbus.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from msgbus.broker import Broker


async def unreached(broker: Broker) -> NoReturn:
    raise AssertionError(broker)


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "GROUP"):
        monkeypatch.delenv(f"MSGBUS_{name}", raising=False)


def test_a_missing_group_is_asked_for_by_its_option() -> None:
    with pytest.raises(ConfigurationError, match=r"^which group\? say --group, or set MSGBUS_GROUP$"):
        reach("redis://h", "", unreached)


def test_a_missing_url_is_asked_for_by_its_option() -> None:
    with pytest.raises(ConfigurationError, match=r"^which broker\? say --url, or set MSGBUS_URL"):
        broker_url("")
    with pytest.raises(ConfigurationError, match=r"^which broker\? say --url, or set MSGBUS_URL"):
        reach("", "g", unreached)


def test_the_option_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSGBUS_URL", "redis://variable")
    assert (broker_url("redis://option"), broker_url("")) == ("redis://option", "redis://variable")
