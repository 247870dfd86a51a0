"""The seeded loop: time jumps, what is ready is drawn, and asyncio works as ever."""

from __future__ import annotations

import asyncio

import pytest

from msgbus.testing.simulation import SimulationDeadlock, run


async def race() -> str:
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)
        await asyncio.sleep(1)
        order.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name in "abc":
            tasks.create_task(note(name))
    return "".join(order)


def test_a_day_is_over_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert run(0, main()) == pytest.approx(86_400)


def test_timers_keep_their_order() -> None:
    async def main() -> list[float]:
        fired: list[float] = []
        async with asyncio.TaskGroup() as tasks:
            for seconds in (0.3, 0.1, 0.2):
                tasks.create_task(asyncio.sleep(seconds)).add_done_callback(
                    lambda _, seconds=seconds: fired.append(seconds)  # type: ignore[misc]
                )
        return fired

    assert {tuple(run(seed, main())) for seed in range(20)} == {(0.1, 0.2, 0.3)}


def test_a_seed_decides_the_order_of_what_is_ready() -> None:
    orders = [run(seed, race()) for seed in range(300)]
    assert orders == [run(seed, race()) for seed in range(300)]
    assert len(set(orders)) == 36  # three begin in any order, and end in any


def test_what_asyncio_offers_works() -> None:
    async def main() -> list[object]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        lock = asyncio.Lock()

        async def put() -> None:
            for n in range(3):
                async with lock:
                    await queue.put(n)

        putting = asyncio.create_task(put())
        got: list[object] = [await queue.get() for _ in range(3)]
        await putting
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await queue.get()
        got.append(await asyncio.wait_for(asyncio.shield(asyncio.sleep(1, "slept")), 2))
        return got

    assert run(1, main()) == [0, 1, 2, "slept"]


def test_waiting_for_what_never_comes_is_an_error_instead_of_a_hang() -> None:
    with pytest.raises(SimulationDeadlock):
        run(0, asyncio.Event().wait())


def test_threads_are_refused() -> None:
    with pytest.raises(RuntimeError, match="no threads"):
        run(0, asyncio.to_thread(print))
