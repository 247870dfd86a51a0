"""``make demo`` and ``make demo-crash`` as a user runs them."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers.server import Server


async def run(program: str, url: str, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", program, *arguments),
        cwd=ROOT,
        env={**os.environ, "MSGBUS_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.parametrize("name", ["memory", "redis", "rabbitmq", "kafka"])
async def test_the_demo_ends_with_equal_totals_on_every_broker(name: str, request: pytest.FixtureRequest) -> None:
    url = "" if name == "memory" else request.getfixturevalue(f"{name}_server").url
    status, output = await run("examples.demo", url)
    assert (status, output.splitlines()[-1]) == (
        0,
        "6,919 purchases of 2,357 customers, 239,444 points: totals are equal to the direct sum",
    ), output
    assert "purchase 1000: attempt 3 failed" in output
    assert "dead letter: purchase 1000 after 3 attempts, TillOffline: no answer about purchase 1000" in output
    assert "the till is mended: 6 redriven, 6 arrived, 0 left" in output
    assert "purchase 1000: attempt 1 succeeded" in output


@pytest.mark.parametrize("name", ["redis", "rabbitmq", "kafka"])
async def test_a_member_killed_with_its_hands_full_costs_nothing(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{name}_server")
    status, output = await run("examples.crash", server.url)
    assert status == 0, output
    assert "exit status -9" in output
    assert "redelivered to" in output
    assert output.splitlines()[-1].endswith("totals are equal to the direct sum")


async def test_bad_data_and_a_broker_of_one_process_are_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("not a purchase\n1 2 3\n")
    status, output = await run("examples.demo", "", "--data", str(tmp_path / "bad"))
    assert (status, "line 2" in output) == (2, True)
    status, output = await run("examples.crash", "memory://")
    assert (status, "real broker" in output) == (2, True)
