"""What waits and tries again speaks tenacity: no other loop sleeps, and no other formula says for how long."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

ELSEWHERE: Final = {
    "msgbus/testing/": "cases and harnesses poll what no server announces; no running service uses them",
}
"""Folders that are not looked at, and why."""
SLEEPING: Final = {
    # The module whose subject it is.
    "msgbus/adapter/retrying.py::call_repeatedly": "the loop of tenacity",
    # State machines that take their seconds from a strategy.
    "msgbus/consuming/member.py::_run": "the session loop: a stop ends its pause, and a long session resets its count",
    "msgbus/failure/forwarder.py::_run": "its batch changes from try to try, and copies that are given up leave it",
    "msgbus/publishing/retry_until_deadline.py::publish_until_deadline": "one result for each message; close() ends it",
    "adapters/msgbus_redis/consumer/stream_reader.py::_unblock": "its pause ends with the read that it wants to end",
    # Pauses of one length, and at most one of them before somebody else decides whether there is another try.
    "adapters/msgbus_kafka/consumer/fetch_loop.py::_count": "the fetch loop: it ends after some errors in a row",
    "adapters/msgbus_kafka/aiokafka_internals/fetcher.py::adapted": "aiokafka's own loop asks again",
    "adapters/msgbus_kafka/aiokafka_internals/offset_fetch.py::guarded": "aiokafka's own loop asks again",
    # Clocks and bounds: they go on whether or not anything fails.
    "msgbus/consuming/session_tracker.py::keep_extending": "a clock: extends what is in flight",
    "msgbus/operations/rate_limiter.py::wait": "a bound on the rate of a redrive",
    "adapters/msgbus_kafka/consumer/offset_commits.py::run": "a clock: commits what is dirty",
    "adapters/msgbus_kafka/consumer/stall_watchdog.py::run": "a clock: looks whether partitions advance",
    "adapters/msgbus_kafka/aiokafka_internals/request_throttle.py::calmed": "a bound on the rate of requests",
    "adapters/msgbus_redis/dead_letters.py::_renew_lock": "a clock: renews the lock of dead letters",
    "adapters/msgbus_rabbitmq/consumer/ack_batcher.py::_flush_soon": "a delay: collects acknowledgements for one write",
    "adapters/msgbus_rabbitmq/connection/connection.py::close": "ends the tasks that are left; nothing is tried again",
    # A loop whose calls must not be cancelled: a declaration that is cancelled closes its channel.
    "adapters/msgbus_rabbitmq/consumer/channel_session.py::_no_consumers": "ends after an answer, at its time or later",
    # Waits for an event within a call, with the call's timeout.
    "adapters/msgbus_redis/consumer/consumer.py::receive": "waits for entries until the timeout of receive()",
}
"""Functions that may sleep, or wait with a timeout inside of a loop, and why each is no loop of tenacity."""
FORMULAS: Final = {"msgbus/backoff.py::longest": "the one exponential backoff"}
SLEEPS: Final = frozenset({"asyncio.sleep", "time.sleep", "sleep"})
BOUNDED: Final = frozenset({"wait_for_event", "asyncio.wait_for", "asyncio.wait"})
"""Waits that count inside of a loop; the last one if it has a timeout."""


def found(source: str) -> Iterator[str]:
    """Yield the functions of ``source`` that sleep, or that wait with a timeout inside of a loop."""
    yield from _found(ast.parse(source), "module", in_loop=False)


def _found(node: ast.AST, function: str, *, in_loop: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        name, loop = function, in_loop
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            name, loop = child.name, False
        elif isinstance(child, (ast.While, ast.For, ast.AsyncFor)):
            loop = True
        of_tenacity = isinstance(child, ast.keyword) and child.arg == "sleep"
        if of_tenacity or (isinstance(child, ast.Call) and _waits(child, in_loop=loop)):
            yield name
        yield from _found(child, name, in_loop=loop)


def _waits(call: ast.Call, *, in_loop: bool) -> bool:
    called = ast.unparse(call.func)
    if called in SLEEPS:
        return [ast.unparse(one) for one in call.args] != ["0"]  # a turn of the event loop is no wait
    timeout = called != "asyncio.wait" or any(one.arg == "timeout" for one in call.keywords)
    return in_loop and called in BOUNDED and timeout


def formulas(source: str) -> Iterator[str]:
    """Yield the functions of ``source`` with a power whose exponent is no constant, or with ``x = … 2 * x``."""
    yield from _formulas(ast.parse(source), "module")


def _formulas(node: ast.AST, function: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        name = child.name if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        power = (
            isinstance(child, ast.BinOp) and isinstance(child.op, ast.Pow) and not isinstance(child.right, ast.Constant)
        )
        if power or (isinstance(child, (ast.Assign, ast.AugAssign)) and _doubles(child)):
            yield name
        yield from _formulas(child, name)


def _doubles(assignment: ast.Assign | ast.AugAssign) -> bool:
    if isinstance(assignment, ast.AugAssign):
        return isinstance(assignment.op, ast.Mult) and _is_pause(assignment.target)
    return any(
        isinstance(one, ast.BinOp)
        and isinstance(one.op, ast.Mult)
        and any(ast.unparse(side) == ast.unparse(target) for side in (one.left, one.right))
        for target in assignment.targets
        if _is_pause(target)
        for one in ast.walk(assignment.value)
    )


def _is_pause(target: ast.expr) -> bool:
    return any(
        word in ast.unparse(target).lower() for word in ("pause", "wait", "delay", "backoff", "sleep", "seconds")
    )


def everywhere(look: object) -> set[str]:
    assert callable(look)
    files = [path for top in ("msgbus", "adapters") for path in sorted((ROOT / top).rglob("*.py"))]
    names = {path.relative_to(ROOT).as_posix(): path for path in files}
    return {
        f"{name}::{function}"
        for name, path in names.items()
        if not name.startswith(tuple(ELSEWHERE))
        for function in look(path.read_text())
    }


def test_only_what_is_listed_sleeps_and_what_is_listed_does() -> None:
    assert everywhere(found) == set(SLEEPING)


def test_seconds_come_from_strategies() -> None:
    assert everywhere(formulas) == set(FORMULAS)


def test_the_folders_that_are_not_looked_at_exist() -> None:
    assert all((ROOT / folder).is_dir() for folder in ELSEWHERE)


@pytest.mark.parametrize(
    "source",
    [
        "async def f():\n while True:\n  await asyncio.sleep(1)",
        "async def f():\n for _ in range(3):\n  try: g()\n  except E: await asyncio.sleep(PAUSE)",
        "async def f():\n await asyncio.sleep(pause)",
        "def f():\n time.sleep(1)",
        "async def f():\n async for _ in it:\n  await wait_for_event(1, event)",
        "async def f():\n while x:\n  await asyncio.wait({task}, timeout=1)",
        "async def f():\n while x:\n  await asyncio.wait_for(task, 1)",
        "async def f():\n await AsyncRetrying(sleep=asyncio.sleep)(g)",
    ],
)
def test_a_wait_is_found(source: str) -> None:
    assert list(found(source)) == ["f"]


@pytest.mark.parametrize(
    "source",
    [
        "async def f():\n while x:\n  await asyncio.sleep(0)",
        "async def f():\n await wait_for_event(1, event)",
        "async def f():\n while x:\n  await asyncio.wait({task})",
        "async def f():\n while x:\n  async def g():\n   await wait_for_event(1, event)",
    ],
)
def test_what_is_no_repeated_wait_is_left_alone(source: str) -> None:
    assert not list(found(source))


@pytest.mark.parametrize(
    "source",
    ["def f():\n return 2 ** n", "def f():\n pause = min(2 * pause, 5)", "def f():\n self.delay *= 2"],
)
def test_a_formula_is_found(source: str) -> None:
    assert list(formulas(source)) == ["f"]


@pytest.mark.parametrize("source", ["def f():\n return 2 ** 31", "def f():\n size *= 2", "def f():\n wait = 2 * first"])
def test_other_arithmetic_is_left_alone(source: str) -> None:
    assert not list(formulas(source))
