"""The programs in README and docs run."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from msgbus import RetryPolicy, connect
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_the_readmes_program_runs_as_printed(tmp_path: Path) -> None:
    program = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    ran = subprocess.run(  # noqa: S603 - our own README
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True, cwd=tmp_path
    )
    assert ran.stdout == "customer-4 gets 29 points\n"
    assert ran.stderr == ""


def test_the_policies_of_the_page_on_failures_are_policies_and_the_first_is_the_default() -> None:
    first, *others = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "failures.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    shown = first.replace("\nRetryPolicy(", "\nshown = RetryPolicy(")
    exec(shown, names)  # noqa: S102 - our own page
    assert names["shown"] == RetryPolicy()
    for block in others:
        exec(block, {})  # noqa: S102 - our own page


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/**/*.md"))], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_and_make_targets_in_the_docs_exist(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), link
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets


def test_the_examples_of_a_services_tests_are_the_services_own() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), re.DOTALL)
    shown = [block for block in blocks if "Loyalty(" in block]
    assert len(shown) == 2
    for block in shown:
        assert block in (ROOT / "examples" / "loyalty" / "test_loyalty.py").read_text()


def test_the_contract_on_another_adapter_is_as_shown() -> None:
    """Run by tests/third_party_adapter, but for the URL."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), re.DOTALL)
    (suite,) = [block for block in blocks if "@contract" in block]
    ran = (ROOT / "tests" / "third_party_adapter" / "suite.txt").read_text()
    assert suite.replace("redis://localhost/9?visibility=2", "listed://here") == ran


async def test_the_probe_of_the_page_for_operators_answers_as_the_broker_is() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "operators.md").read_text(), re.DOTALL)
    (shown,) = [block for block in blocks if "readyz" in block]
    probe: dict[str, Any] = {"broker": connect("memory://", group="g")}
    exec(shown, probe)  # noqa: S102 - our own page
    async with await asyncio.start_server(probe["readyz"], "127.0.0.1", 0) as server:
        answers = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
            answers.append((await reader.read()).decode())
            writer.close()
            await probe["broker"].close()
    assert [answer.split("\r\n")[0] for answer in answers] == ["HTTP/1.1 200 OK", "HTTP/1.1 503 Service Unavailable"]
    assert json.loads(answers[1].split("\r\n\r\n")[1])["reasons"] == ["the broker is closed"]
