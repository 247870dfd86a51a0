"""The pytest plugin: a service is tested in milliseconds, without a server; an adapter is tested by the contract.

pytest loads it wherever msgbus is installed, so it imports nothing of msgbus until a test asks for a fixture, and
stands outside the package, whose import alone takes a tenth of a second. See docs/how-to/test-a-service.md.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from msgbus import Broker
    from msgbus.testing.assertions import RecordedTraffic
    from msgbus.testing.plugin import DeadLettersOf, Handled, HarnessOf, Published

NOT_OFFERED = "not offered"
"""The outcome of a case that needs what its harness has no means for."""
_FIGURES = pytest.StashKey[dict[str, list[str]]]()
_OUTPUT = "msgbus_figures"
"""What a worker of pytest-xdist calls them when it hands them over."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The size of the contract suite's cases."""
    parser.getgroup("msgbus").addoption(
        "--contract-size", choices=("small", "large"), default="small", help="messages of a case of msgbus's contract"
    )


def pytest_configure(config: pytest.Config) -> None:
    """The asynchronous fixtures are pytest-asyncio's, where it is there."""
    there = config.pluginmanager.has_plugin("asyncio")
    config.pluginmanager.import_plugin(f"pytest_msgbus.{'with' if there else 'without'}_asyncio")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A case that ended with NotOffered is no failure, and no skip: it is counted by itself."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    faults = sys.modules.get("msgbus.testing.faults")  # who raised it has imported it
    if faults is not None and isinstance(error, faults.NotOffered):
        path, line, _ = report.location
        report.outcome, report.longrepr = "skipped", (path, line or 0, f"{NOT_OFFERED}: {error}")
        report.user_properties.append((NOT_OFFERED, str(error)))
    return report


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """By its own name."""
    offered = NOT_OFFERED not in dict(getattr(report, "user_properties", ()))
    return None if offered else (NOT_OFFERED, "n", NOT_OFFERED.upper())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands over what its cases have measured."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = session.config.stash.setdefault(_FIGURES, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """And here it arrives; a worker that crashed has handed over nothing."""
    output: dict[str, Any] = getattr(node, "workeroutput", {})
    for scheme, figures in output.get(_OUTPUT, {}).items():
        node.config.stash.setdefault(_FIGURES, {}).setdefault(scheme, []).extend(figures)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the contract's cases have measured, and what they could not have done to the server."""
    for report in terminalreporter.stats.get(NOT_OFFERED, ()):
        terminalreporter.write_line(f"{report.nodeid}: {report.longrepr[2]}")
    for scheme, figures in config.stash.setdefault(_FIGURES, {}).items():
        for figure in figures:
            terminalreporter.write_line(f"{scheme}: {figure}")


@pytest.fixture
def harness_of(pytestconfig: pytest.Config) -> HarnessOf:
    """Makes a harness on a URL, of the size asked for; what its case measures is printed at the end."""
    from msgbus.testing.plugin import harness_maker

    large = pytestconfig.getoption("--contract-size") == "large"
    return harness_maker(large=large, figures=pytestconfig.stash.setdefault(_FIGURES, {}))


@pytest.fixture
def msgbus_notes() -> RecordedTraffic:
    """What the broker's adapter let pass."""
    from msgbus.testing.assertions import RecordedTraffic

    return RecordedTraffic()


@pytest.fixture
def published(msgbus_notes: RecordedTraffic) -> Published:
    """What was published; see msgbus.testing.plugin.Published."""
    return msgbus_notes.published


@pytest.fixture
def handled(msgbus_notes: RecordedTraffic, request: pytest.FixtureRequest) -> Handled:
    """Waits until all is handled; see msgbus.testing.plugin.Handled."""
    from msgbus.testing.plugin import handled_by

    return handled_by(msgbus_notes, virtual="virtual_time" in request.fixturenames)


@pytest.fixture
def dead_letters(broker: Broker) -> DeadLettersOf:
    """What was given up; see msgbus.testing.plugin.DeadLettersOf."""
    from msgbus.testing.plugin import dead_letters_of

    return dead_letters_of(broker)
