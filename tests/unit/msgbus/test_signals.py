"""Signals: who is told to stop, and whose handlers are left alone."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from msgbus import connect
from msgbus.signals import until_told_to_stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgbus import Broker


@pytest.fixture(autouse=True)
def _handlers_of_others() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Told:
    """What a broker would do."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.graces = 0
        self.closing = asyncio.Event()
        self.closed = asyncio.Event()

    def end_grace(self) -> None:
        self.graces += 1
        self.closed.set()

    async def close(self) -> None:
        self.closing.set()
        await self.closed.wait()

    async def run(self) -> None:
        await until_told_to_stop(self.stop, self.end_grace, self.close)


async def started(*told: Told) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(one.run()) for one in told]
    await asyncio.sleep(0)
    return tasks


async def running() -> tuple[Broker, asyncio.Task[None]]:
    """A broker whose ``run()`` waits for a signal."""
    broker = connect("memory://", group="g")
    await broker.create_queue("q", groups=["g"])
    subscription = await broker.consume("q", ignore)
    task = asyncio.create_task(broker.run())
    await subscription.ready()
    return broker, task


async def ignore(message: object) -> None:
    del message


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_begins_the_drain_and_a_second_ends_its_grace(number: signal.Signals) -> None:
    told = Told()
    (task,) = await started(told)
    os.kill(os.getpid(), number)
    async with asyncio.timeout(10):
        await told.closing.wait()
        assert told.graces == 0
        os.kill(os.getpid(), number)
        await task
    assert told.graces == 1


async def test_what_was_there_before_is_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    told = Told()
    (task,) = await started(told)
    told.closed.set()
    told.stop.set()
    await task
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize("by", ["signal", "loop"])
async def test_signals_of_a_server_around_the_broker_are_left_alone(by: str) -> None:
    """uvicorn sets its handlers by signal.signal(), older ones by the event loop."""
    received = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if by == "loop":
            loop.add_signal_handler(number, received.set)
        else:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(received.set))
    installed = signal.getsignal(signal.SIGTERM)
    broker, task = await running()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await received.wait()
        assert not task.done(), "the server decides, and calls close() when it stops"
        assert signal.getsignal(signal.SIGTERM) is installed
        await broker.close()
        await task
    assert signal.getsignal(signal.SIGTERM) is installed
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)


async def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts in the background
    told = Told()
    (task,) = await started(told)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGTERM)
    told.closed.set()
    await task
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


async def test_all_brokers_of_a_process_are_told() -> None:
    first, second = Told(), Told()
    first_task, second_task = await started(first, second)
    first.closed.set()
    first.stop.set()
    await first_task
    os.kill(os.getpid(), signal.SIGTERM)
    second.closed.set()
    async with asyncio.timeout(10):
        await second_task


def test_sigint_under_asyncio_run_is_ours() -> None:
    async def main() -> None:
        told = Told()
        told.closed.set()
        (task,) = await started(told)
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(10):
            await task
        assert told.closing.is_set()

    asyncio.run(main())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_broker_in_another_thread_runs_without_signals() -> None:
    found: list[Any] = []

    async def main() -> None:
        broker, task = await running()
        await broker.close()
        await task
        found.append("closed")

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join(10)
    assert found == ["closed"]
    assert signal.getsignal(signal.SIGTERM) is before
