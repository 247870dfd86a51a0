"""What importing and installing msgbus loads, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def python(program: str, cwd: Path = ROOT) -> str:
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=cwd
    )
    return ran.stdout.strip()


def test_importing_msgbus_loads_no_client_library_and_no_settings() -> None:
    loaded = python("import sys, msgbus; print(*sys.modules)").split()
    clients = {"aiokafka", "aio_pika", "aiormq", "hiredis", "redis"}
    assert not (clients | {"pydantic_settings", "msgbus.adapter.options", "msgbus_memory", "pytest"}) & set(loaded)


@pytest.mark.parametrize(
    ("scheme", "client", "extra"),
    [
        ("kafka", "aiokafka", "kafka"),
        ("rabbitmq", "aio_pika", "rabbitmq"),
        ("redis", "redis", "redis"),
        ("redis", "hiredis", "redis"),
    ],
)
def test_a_missing_client_library_says_what_to_install(scheme: str, client: str, extra: str) -> None:
    program = f"""
import sys
sys.modules[{client!r}] = None  # as if it were not installed
from msgbus import AdapterNotFound, connect
try:
    connect("{scheme}://x")
except AdapterNotFound as error:
    print(error)
"""
    assert f"pip install 'msgbus[{extra}]'" in python(program)


def test_the_name_adapters_holds_nothing_of_ours(tmp_path: Path) -> None:
    program = "import importlib.util as u; spec = u.find_spec('adapters'); print(spec and spec.origin)"
    assert python(program) == "None"
    assert python(program, tmp_path) == "None"
    assert python("import adapters; print([name for name in dir(adapters) if not name.startswith('_')])") == "[]"


@pytest.mark.parametrize(
    "package",
    ["msgbus", "pytest_msgbus", *(f"adapters/msgbus_{name}" for name in ("kafka", "memory", "rabbitmq", "redis"))],
)
def test_every_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()
