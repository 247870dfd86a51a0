"""Servers for every test that asks for one, and the summary of the contract: how much ran on what."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pytest

from msgbus.testing.suite import CASES
from tests.servers.fixtures import kafka_server, rabbitmq_server, redis_server
from tests.servers.version import server_version

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.servers.server import Server

__all__ = ["kafka_server", "rabbitmq_server", "redis_server"]

_CONTRACT = re.compile(r"tests/contract/test_(\w+)\.py")
_VERSIONS = pytest.StashKey[dict[str, str]]()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Ask every server that starts for its version, over its own connection."""
    server = yield
    if fixturedef.argname.endswith("_server"):
        _note_version(request.config, server)  # type: ignore[arg-type]  # what these fixtures are
    return server


def _note_version(config: pytest.Config, server: Server) -> None:
    versions = config.stash.setdefault(_VERSIONS, {"memory": "this process"})
    versions[server.name] = f"{asyncio.run(server_version(server.url))}, {server.origin}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The contract per broker: cases passed, failed and skipped, and the version of the server."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            if (found := _CONTRACT.match(report.nodeid)) and (outcome != "passed" or report.when == "call"):
                counts[found[1]][outcome] += 1
    if counts:
        terminalreporter.section(f"contract: {len(CASES)} cases")
    versions = config.stash.get(_VERSIONS, {})
    for broker, count in counts.items():
        said = ", ".join(f"{number} {outcome}" for outcome, number in count.items())
        terminalreporter.write_line(f"{broker}: {said} ({versions.get(broker, 'this process')})")
