"""The entry point of the command ``msgbus``."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from msgbus.cli import main


class Missing:
    """Finds no module for the command, since a library that it imports is not installed."""

    def __init__(self, library: str) -> None:
        self._library = library

    def find_spec(self, name: str, *_: object) -> None:
        if name == "msgbus.cli.app":
            raise ModuleNotFoundError(f"No module named {self._library!r}", name=self._library)


def without(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "msgbus.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(library), *sys.meta_path])


@pytest.mark.parametrize("library", ["typer", "rich"])
def test_a_missing_library_is_named_with_what_to_install(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(library, monkeypatch)
    assert main() == 2
    assert f"needs {library}: pip install 'msgbus[cli]'" in capsys.readouterr().err


def test_another_missing_module_is_a_defect_and_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    without("msgbus.nothing", monkeypatch)
    with pytest.raises(ModuleNotFoundError):
        main()


def test_the_exit_code_is_that_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgbus.cli.app", SimpleNamespace(run=lambda: 3))
    assert main() == 3
