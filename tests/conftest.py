"""Server fixtures, and the summary of the contract: which cases ran on which servers."""

from __future__ import annotations

import asyncio
import gc
import os
import re
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.testing import CASES
from pytest_msgbus import NOT_OFFERED
from tests.support import conformance
from tests.support.servers.fixtures import serving
from tests.support.servers.version import server_version

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.support.servers.server import Server

_CONTRACT = re.compile(r"tests/contract/test_(\w+)\.py")
_CASE = re.compile(r"tests/contract/test_(\w+)\.py::test_contract\[(\w+)\]")
_SERVERS = pytest.StashKey[dict[str, tuple[str, str]]]()
"""Broker -> the server that this process uses: its name in CONFORMANCE.md, and its description."""
_SERVED_BY = "served by"
"""Property of a report with that pair; pytest-xdist passes it from a worker to the controller."""
_RESULTS = pytest.StashKey["_Results"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--conformance``."""
    parser.addoption("--conformance", choices=("compare", "write"), help="the contract's results and CONFORMANCE.md")


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_over() -> Iterator[None]:
    """Collect garbage after each module, so that its leaked sockets and failed tasks are reported there."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _without_client_internals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish and consume on RabbitMQ by the client's own methods: with MSGBUS_TEST_FALLBACK=1."""
    if os.environ.get("MSGBUS_TEST_FALLBACK"):
        from msgbus_rabbitmq import adapter
        from msgbus_rabbitmq.aio_pika_internals import Support

        monkeypatch.setattr(adapter, "verify", lambda: Support(frame_reader=False, batch_publish=False))


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
    """Serve one server for the whole run, and ask it for its version over a connection of its own."""
    for server in serving(name):
        with ThreadPoolExecutor(
            1
        ) as elsewhere:  # an async test may request the server, and its loop runs in this thread
            version = elsewhere.submit(asyncio.run, server_version(server.url)).result()
        described = f"{version}, {server.origin}"
        config.stash.setdefault(_SERVERS, {})[name] = (conformance.label(name, version), described)
        yield server


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Schedule groups by file and broker: see tests.support.xdist_groups."""
    from tests.support.xdist_groups import SideBySide

    return SideBySide(config, log)


class _Results:
    """Results of the contract, collected from reports in the process that summarises them."""

    def __init__(self) -> None:
        self.verdicts: conformance.Results = defaultdict(dict)
        self.descriptions: dict[str, str] = {}
        self.differences: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the result of a case; a skipped case was not run."""
        properties: dict[str, Any] = dict(report.user_properties)
        found = _CASE.search(report.nodeid)
        if found is None or _SERVED_BY not in properties:
            return
        server, self.descriptions[found[1]] = properties[_SERVED_BY]
        offered = NOT_OFFERED not in properties
        if (not report.skipped or not offered) and (report.failed or report.when == "call"):
            self.verdicts[server][found[2]] = report.outcome if offered else NOT_OFFERED


def pytest_configure(config: pytest.Config) -> None:
    """Start collecting results."""
    config.stash[_RESULTS] = results = _Results()
    config.pluginmanager.register(results)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the server to the report of a case."""
    report = yield
    if found := _CASE.search(item.nodeid):
        servers = item.config.stash.get(_SERVERS, {}) | {"memory": ("memory", "this process")}
        if found[1] in servers:
            report.user_properties.append((_SERVED_BY, servers[found[1]]))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the results to CONFORMANCE.md, or fail where they differ from it; not in a worker of pytest-xdist."""
    if hasattr(session.config, "workerinput"):
        return
    results = session.config.stash[_RESULTS]
    match session.config.getoption("--conformance"):
        case "write":
            conformance.store(results.verdicts)
        case "compare":
            results.differences = conformance.stored().differences(results.verdicts)
            if results.differences and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print, per broker, how many cases passed, failed, were skipped and not offered, and the server's version."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in ("passed", "failed", "error", "skipped", NOT_OFFERED):
        for report in terminalreporter.stats.get(outcome, ()):
            if (found := _CONTRACT.match(report.nodeid)) and (outcome != "passed" or report.when == "call"):
                counts[found[1]][outcome] += 1
    if counts:
        terminalreporter.section(f"contract: {len(CASES)} cases")
    results = config.stash[_RESULTS]
    for broker, count in counts.items():
        said = ", ".join(f"{number} {outcome}" for outcome, number in count.items())
        terminalreporter.write_line(f"{broker}: {said} ({results.descriptions.get(broker, 'no server')})")
    _compare(terminalreporter, results)


def _compare(reporter: pytest.TerminalReporter, results: _Results) -> None:
    """Print where the results differ from CONFORMANCE.md, and which servers are not in it."""
    if strangers := set(results.verdicts) - set(conformance.stored().results):
        reporter.write_line(f"not in CONFORMANCE.md and so not compared: {', '.join(sorted(strangers))}")
    if results.differences:
        reporter.section("CONFORMANCE.md says something else; make conformance renews it")
        for one in results.differences:
            reporter.write_line(one)
