"""Sources of settings, and errors in them."""

from __future__ import annotations

import sys
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


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        *(("GRUOP", "GROUP"), ("DEDLINE", "DEADLINE"), ("GRACES", "GRACE"), ("URLS", "URL")),
        *(("VISIBLITY", "VISIBILITY"), ("SESION_TIMEOUT", "SESSION_TIMEOUT"), ("SENTINAL_USER", "SENTINEL_USER")),
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_variable_that_is_nearly_a_setting_of_any_adapter_is_an_error_that_suggests_it(
    wrong: str, right: str, where: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "file":
        (elsewhere / ".env").write_text(f"MSGBUS_{wrong}=s3cret\n")
    else:
        monkeypatch.setenv(f"MSGBUS_{wrong}", "s3cret")
    with pytest.raises(
        ConfigurationError, match=f"unknown variable MSGBUS_{wrong}; did you mean MSGBUS_{right}"
    ) as caught:
        connect("memory://")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "injected",
    [
        *("PORT", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_5672_TCP", "PORT_5672_TCP_ADDR"),
        *("KAFKA_SERVICE_HOST", "KAFKA_PORT_9092_TCP_PROTO", "VERSION", "LOG_LEVEL", "HOST"),
    ],
)
def test_a_variable_that_an_orchestrator_injects_is_a_warning(
    injected: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(f"MSGBUS_{injected}", "tcp://10.0.0.1:5672")
    connect("memory://")
    assert [record.getMessage() for record in caplog.records] == [f"MSGBUS_{injected} is no setting of msgbus: ignored"]


def test_settings_of_other_adapters_and_variables_of_tests_are_no_mistakes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("VISIBILITY", "SESSION_TIMEOUT", "CONSUMER_TIMEOUT", "TEST_ROUNDS", "TEST_URLS", "group"):
        monkeypatch.setenv(f"MSGBUS_{name}", "9")
    connect("memory://")
    assert not caplog.records


def test_an_adapter_that_cannot_be_loaded_keeps_no_other_from_starting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "msgbus_redis", None)
    monkeypatch.setenv("MSGBUS_VISIBILITY", "9")
    connect("memory://")
    assert "MSGBUS_VISIBILITY is no setting of msgbus" in caplog.text
