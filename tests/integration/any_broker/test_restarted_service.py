"""A service is restarted between two attempts: the attempt count continues."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import pytest

from msgbus.testing.harness import Harness, until_dead_letters
from msgbus.testing.probe import within
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from tests.support.servers.server import Server


async def one_attempt(url: str, queue: str) -> int:
    """Start the service, stop it in good order after its next attempt; which attempt that was."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.processes.failing_service", url, queue),
        cwd=ROOT,
        env=dict(os.environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with within(45, "the next attempt"):
            attempt = int(await process.stdout.readline())
        process.terminate()
        async with within(30, "stopping in good order"):
            more, _ = await process.communicate()
        assert (process.returncode, more) == (0, b"")
        return attempt
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("name", ["redis", "rabbitmq", "kafka"])
async def test_attempts_are_counted_on_when_the_service_is_stopped_and_started_between_them(
    name: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(f"{name}_server")
    async with Harness(server.url) as harness:
        queue = await harness.queue("g")
        broker = await harness.broker()
        await broker.publish(queue, b"x", message_id="bad")
        assert [await one_attempt(server.url, queue) for _ in range(3)] == [1, 2, 3]
        (letter,) = await until_dead_letters(broker, queue, 1)
        assert (letter.message.id, letter.attempts) == ("bad", 3)
