"""What a command tells of messages that it has sent."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import typer

from msgbus.cli.results import print_sent

LOST = SimpleNamespace(refused=[KeyError(number) for number in range(5)], complete=False)
ALL = SimpleNamespace(refused=[], complete=True)


def test_all_that_arrived_is_told_and_the_command_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    print_sent(ALL, {"taken": 2}, "2 arrived", dry_run=False, as_json=False)
    assert capsys.readouterr() == ("2 arrived\n", "")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_command_whose_messages_did_not_arrive_ends_with_status_1(
    capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    with pytest.raises(typer.Exit) as ended:
        print_sent(LOST, {"taken": 5}, "0 arrived", dry_run=False, as_json=as_json)
    assert ended.value.exit_code == 1
    out, err = capsys.readouterr()
    if as_json:
        assert json.loads(out) == {"taken": 5, "dry_run": False, "refused": [str(one) for one in LOST.refused]}
    else:
        assert out == "0 arrived\n"
        assert err.splitlines() == [f"did not arrive: {number}" for number in range(3)]


def test_a_dry_run_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    print_sent(SimpleNamespace(refused=[], complete=False), {"taken": 5}, "5 would", dry_run=True, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"taken": 5, "dry_run": True, "refused": []}
