"""Sources of settings, and errors in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msgbus import AdapterNotFound, ConfigurationError, connect

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "GROUP", "DEADLINE", "GRACE", "VISIBILITY"):
        monkeypatch.delenv(f"MSGBUS_{name}", raising=False)
    return tmp_path


def test_arguments_win_over_the_url_and_that_over_variables_and_those_over_the_file(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / ".env").write_text("MSGBUS_DEADLINE=1\nMSGBUS_GRACE=1\nMSGBUS_GROUP=file\nMSGBUS_URL=memory://file\n")
    assert (connect().deadline, connect().group) == (1.0, "file")
    monkeypatch.setenv("MSGBUS_DEADLINE", "2")
    monkeypatch.setenv("MSGBUS_GROUP", "variable")
    assert (connect().deadline, connect().grace, connect().group) == (2.0, 1.0, "variable")
    assert connect("memory://?deadline=3&group=url").deadline == 3.0
    broker = connect("memory://?deadline=3&group=url", deadline=4, group="argument")
    assert (broker.deadline, broker.group) == (4.0, "argument")


def test_no_url_anywhere_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match="MSGBUS_URL"):
        connect()


def test_an_unknown_scheme_suggests_one() -> None:
    with pytest.raises(AdapterNotFound, match="did you mean 'kafka'"):
        connect("kafak://h")


def test_an_unknown_parameter_suggests_one_in_the_url_and_as_an_argument() -> None:
    with pytest.raises(ConfigurationError, match="unknown parameter 'visiblity'; did you mean 'visibility'"):
        connect("redis://h?visiblity=3")
    with pytest.raises(ConfigurationError, match="unknown parameter 'gruop'; did you mean 'group'"):
        connect("memory://", gruop="x")


def test_a_value_that_does_not_fit_names_the_parameter_and_not_the_value() -> None:
    with pytest.raises(ConfigurationError, match="deadline") as caught:
        connect("memory://?deadline=s3cret")
    assert "s3cret" not in str(caught.value)


def test_an_adapters_option_has_its_variable_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSGBUS_VISIBILITY", "never")
    with pytest.raises(ConfigurationError, match="visibility"):
        connect("redis://h")
    connect("memory://")


def test_a_bad_group_is_found_at_once() -> None:
    with pytest.raises(ConfigurationError, match="group"):
        connect("memory://", group="with.dot")
