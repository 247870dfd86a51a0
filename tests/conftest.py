"""Servers for every test that asks for one, and the summary of the contract: how much ran on what."""

from __future__ import annotations

import asyncio
import gc
import re
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from msgbus.testing import CASES
from pytest_msgbus import NOT_OFFERED
from tests import conformance
from tests.servers.fixtures import serving
from tests.servers.version import server_version

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.servers.server import Server

_CONTRACT = re.compile(r"tests/contract/test_(\w+)\.py")
_CASE = re.compile(r"tests/contract/test_(\w+)\.py::test_contract\[(\w+)\]")
_VERSIONS = pytest.StashKey[dict[str, str]]()
_SERVERS = pytest.StashKey[dict[str, str]]()
_VERDICTS = pytest.StashKey[dict[tuple[str, str], str]]()
_DIFFERENCES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the contract's results are for."""
    parser.addoption("--conformance", choices=("compare", "write"), help="the contract's results and CONFORMANCE.md")


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_over() -> Iterator[None]:
    """What a module's tests leave to the collector, an open socket or a failed task, is told there and not anywhere."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    yield from _serving(pytestconfig, "redis")


@pytest.fixture(scope="session")
def rabbitmq_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    yield from _serving(pytestconfig, "rabbitmq")


@pytest.fixture(scope="session")
def kafka_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    yield from _serving(pytestconfig, "kafka")


def _serving(config: pytest.Config, name: str) -> Iterator[Server]:
    """One server for the whole run; its version is asked of it, over a connection of its own."""
    for server in serving(name):
        with ThreadPoolExecutor(1) as elsewhere:  # an async test may be what asks for the server: its loop runs here
            version = elsewhere.submit(asyncio.run, server_version(server.url)).result()
        config.stash.setdefault(_VERSIONS, {})[name] = f"{version}, {server.origin}"
        config.stash.setdefault(_SERVERS, {})[name] = conformance.label(name, version)
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the verdict of a case of the contract; what was skipped was not run."""
    report = yield
    offered = NOT_OFFERED not in dict(report.user_properties)
    if (found := _CASE.search(item.nodeid)) and not (report.skipped and offered):
        verdicts = item.config.stash.setdefault(_VERDICTS, {})
        if report.failed or report.when == "call":
            verdicts[found[1], found[2]] = report.outcome if offered else NOT_OFFERED
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the verdicts to CONFORMANCE.md, or fail where they differ from it."""
    config = session.config
    servers = config.stash.setdefault(_SERVERS, {}) | {"memory": "memory"}
    fresh: conformance.Results = defaultdict(dict)
    for (broker, case), verdict in config.stash.get(_VERDICTS, {}).items():
        fresh[servers[broker]][case] = verdict
    match config.getoption("--conformance"):
        case "write":
            conformance.store(fresh)
        case "compare":
            config.stash[_DIFFERENCES] = differences = conformance.stored().differences(fresh)
            if differences and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The contract per broker: cases passed, failed, skipped and not offered, and the version of the server."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in ("passed", "failed", "error", "skipped", NOT_OFFERED):
        for report in terminalreporter.stats.get(outcome, ()):
            if (found := _CONTRACT.match(report.nodeid)) and (outcome != "passed" or report.when == "call"):
                counts[found[1]][outcome] += 1
    if counts:
        terminalreporter.section(f"contract: {len(CASES)} cases")
    versions = config.stash.get(_VERSIONS, {})
    for broker, count in counts.items():
        said = ", ".join(f"{number} {outcome}" for outcome, number in count.items())
        terminalreporter.write_line(f"{broker}: {said} ({versions.get(broker, 'this process')})")
    _compare(terminalreporter, config)


def _compare(reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say where CONFORMANCE.md says something else, and what it says nothing about."""
    if strangers := set(config.stash.setdefault(_SERVERS, {}).values()) - set(conformance.stored().results):
        reporter.write_line(f"not in CONFORMANCE.md and so not compared: {', '.join(sorted(strangers))}")
    if differences := config.stash.get(_DIFFERENCES, []):
        reporter.section("CONFORMANCE.md says something else; make conformance renews it")
        for one in differences:
            reporter.write_line(one)
