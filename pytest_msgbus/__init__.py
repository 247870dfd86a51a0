"""Pytest plugin: fixtures to test a service without a server, and an adapter by the contract suite.

pytest loads the plugin wherever msgbus is installed. It therefore imports nothing of msgbus until a test requests a
fixture, and it is a package of its own: importing ``msgbus`` alone takes a tenth of a second. See
docs/how-to/test-a-service.md.
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
"""Outcome of a case that needs a fault that its harness cannot inject."""
_FIGURES = pytest.StashKey[dict[str, list[str]]]()
_OUTPUT = "msgbus_figures"
"""Key of the figures that a worker of pytest-xdist sends to the controller."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--contract-size``: how many messages the cases of the contract suite send."""
    parser.getgroup("msgbus").addoption(
        "--contract-size", choices=("small", "large"), default="small", help="messages of a case of msgbus's contract"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the asynchronous fixtures, or, without pytest-asyncio, fixtures that name the missing package."""
    there = config.pluginmanager.has_plugin("asyncio")
    config.pluginmanager.import_plugin(f"pytest_msgbus.{'with' if there else 'without'}_asyncio")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a case that raised NotOffered as "not offered": neither as failed nor as skipped."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    faults = sys.modules.get("msgbus.testing.faults")  # the code that raised it has imported it
    if faults is not None and isinstance(error, faults.NotOffered):
        path, line, _ = report.location
        report.outcome, report.longrepr = "skipped", (path, line or 0, f"{NOT_OFFERED}: {error}")
        report.user_properties.append((NOT_OFFERED, str(error)))
    return report


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """Count cases that were not offered under a name of their own."""
    offered = NOT_OFFERED not in dict(getattr(report, "user_properties", ()))
    return None if offered else (NOT_OFFERED, "n", NOT_OFFERED.upper())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the figures of this worker of pytest-xdist to the controller."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = session.config.stash.setdefault(_FIGURES, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the figures that a worker of pytest-xdist sent; a worker that crashed sent none."""
    output: dict[str, Any] = getattr(node, "workeroutput", {})
    for scheme, figures in output.get(_OUTPUT, {}).items():
        node.config.stash.setdefault(_FIGURES, {}).setdefault(scheme, []).extend(figures)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures of the contract's cases, and the cases that were not offered, with the reason."""
    for report in terminalreporter.stats.get(NOT_OFFERED, ()):
        terminalreporter.write_line(f"{report.nodeid}: {report.longrepr[2]}")
    for scheme, figures in config.stash.setdefault(_FIGURES, {}).items():
        for figure in figures:
            terminalreporter.write_line(f"{scheme}: {figure}")


@pytest.fixture
def harness_of(pytestconfig: pytest.Config) -> HarnessOf:
    """Provide a function that opens a :class:`Harness` on a URL.

    Cases send as many messages as ``--contract-size`` says. pytest prints the figures that they measure at the end.

    Args:
        pytestconfig: pytest's configuration.

    Returns:
        The function, a :class:`msgbus.testing.plugin.HarnessOf`. Enter its result with ``async with``.
    """
    from msgbus.testing.plugin import harness_maker

    large = pytestconfig.getoption("--contract-size") == "large"
    return harness_maker(large=large, figures=pytestconfig.stash.setdefault(_FIGURES, {}))


@pytest.fixture
def msgbus_notes() -> RecordedTraffic:
    """Provide the record of the messages that passed the adapter of the fixture ``broker``.

    Returns:
        The record, empty when the test starts.
    """
    from msgbus.testing.assertions import RecordedTraffic

    return RecordedTraffic()


@pytest.fixture
def published(msgbus_notes: RecordedTraffic) -> Published:
    """Provide a function that returns the messages that the test's broker published to a queue.

    Args:
        msgbus_notes: The record of the broker's messages.

    Returns:
        The function, a :class:`msgbus.testing.plugin.Published`.
    """
    return msgbus_notes.published


@pytest.fixture
def handled(msgbus_notes: RecordedTraffic, request: pytest.FixtureRequest) -> Handled:
    """Provide a function that waits until a group has handled every message published to a queue.

    Args:
        msgbus_notes: The record of the broker's messages.
        request: Tells whether the test uses the fixture ``virtual_time``; then the function waits in virtual time.

    Returns:
        The function, a :class:`msgbus.testing.plugin.Handled`.
    """
    from msgbus.testing.plugin import handled_by

    return handled_by(msgbus_notes, virtual="virtual_time" in request.fixturenames)


@pytest.fixture
def dead_letters(broker: Broker) -> DeadLettersOf:
    """Provide a function that returns the dead letters of a queue and group.

    Args:
        broker: The test's broker.

    Returns:
        The function, a :class:`msgbus.testing.plugin.DeadLettersOf`.
    """
    from msgbus.testing.plugin import dead_letters_of

    return dead_letters_of(broker)
