"""Loops that wait and try again, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING

import pytest
from tenacity import retry_if_exception_type, stop_after_attempt, wait_fixed, wait_incrementing

from msgbus.adapter.retrying import call_repeatedly, wait_until
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FAILED = retry_if_exception_type(KeyError)


class Call:
    """Raises each of some errors once, then returns."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.count = 0
        self.at: list[float] = []

    async def __call__(self) -> str:
        self.count += 1
        self.at.append(asyncio.get_running_loop().time())
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_a_first_success_sleeps_not_at_all(slept: list[float]) -> None:
    assert await call_repeatedly(Call(), wait=wait_fixed(9), retry=FAILED) == "done"
    assert slept == []


async def test_the_first_failure_counts_as_the_first_try(slept: list[float]) -> None:
    call = Call(KeyError(), KeyError(), KeyError())
    assert await call_repeatedly(call, wait=wait_incrementing(1, 1), retry=FAILED) == "done"
    assert (slept, call.count) == ([1, 2, 3], 4)


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_an_error_that_does_not_count_is_raised_itself(slept: list[float], before: int) -> None:
    mine = ValueError("mine")
    call = Call(*[KeyError() for _ in range(before)], mine)
    with pytest.raises(ValueError, match="mine") as raised:
        await call_repeatedly(call, wait=wait_fixed(1), retry=FAILED)
    assert raised.value is mine
    assert len(slept) == before


async def test_at_its_stop_the_last_error_is_raised_itself(slept: list[float]) -> None:
    errors = [KeyError(n) for n in range(5)]
    call = Call(*errors)
    with pytest.raises(KeyError) as raised:
        await call_repeatedly(call, wait=wait_fixed(1), retry=FAILED, stop=stop_after_attempt(3))
    assert raised.value is errors[2]
    assert (slept, call.count) == ([1, 1], 3)


@pytest.mark.parametrize("turns", range(8))
async def test_it_is_cancelled_in_its_call_and_in_its_sleep(turns: int) -> None:
    begun = asyncio.Event()

    async def call() -> None:
        begun.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        raise KeyError

    task = asyncio.ensure_future(call_repeatedly(call, wait=wait_fixed(0 if turns % 2 else 60), retry=FAILED))
    await begun.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_deadline_around_it_ends_its_call_and_its_sleep() -> None:
    for call in (Call(*[KeyError() for _ in range(1000)]), asyncio.Event().wait):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await call_repeatedly(call, wait=wait_fixed(60), retry=FAILED)


async def test_calls_side_by_side_have_their_own_counts(slept: list[float]) -> None:
    calls = [Call(KeyError(), KeyError()) for _ in range(50)]
    await asyncio.gather(*(call_repeatedly(one, wait=wait_incrementing(1, 1), retry=FAILED) for one in calls))
    assert sorted(slept) == [1] * 50 + [2] * 50


async def test_its_errors_are_gone_without_a_collection_when_it_has_returned(slept: list[float]) -> None:
    class Mine(KeyError):
        pass

    async def call(errors: list[KeyError]) -> None:
        if errors:
            raise errors.pop()

    gone = list[weakref.ref[KeyError]]()
    gc.collect()
    gc.disable()
    try:
        errors: list[KeyError] = [Mine(), Mine()]
        gone = [weakref.ref(one) for one in errors]
        await call_repeatedly(lambda: call(errors), wait=wait_fixed(0), retry=FAILED)
        assert [one() for one in gone] == [None, None]
    finally:
        gc.enable()
    assert slept


async def test_what_is_waited_for_is_asked_at_once_and_then_after_each_wait(slept: list[float]) -> None:
    answers = [False, False, True]

    async def check() -> bool:
        return answers.pop(0)

    await wait_until(check, wait=wait_fixed(3))
    assert slept == [3, 3]
    answers.append(True)
    await wait_until(check, wait=wait_fixed(3))
    assert slept == [3, 3]


async def test_what_a_check_raises_ends_the_wait(slept: list[float]) -> None:
    with pytest.raises(ValueError, match="mine"):
        await wait_until(_raising(), wait=wait_fixed(3))
    assert slept == []


def _raising() -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        raise ValueError("mine")

    return check


def test_a_success_never_enters_tenacity() -> None:
    program = """
import asyncio, tenacity
from msgbus.adapter import retrying

class Entered(Exception): ...

def enter(**_: object) -> None: raise Entered

retrying.AsyncRetrying = enter

async def call(*errors: Exception) -> str:
    for error in errors: raise error
    return "done"

how = {"wait": tenacity.wait_none(), "retry": tenacity.retry_if_exception_type(KeyError)}
print(asyncio.run(retrying.call_repeatedly(call, **how)))
try:
    asyncio.run(retrying.call_repeatedly(lambda: call(KeyError()), **how))
except Entered:
    print("entered")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    assert ran.stdout.split() == ["done", "entered"]
