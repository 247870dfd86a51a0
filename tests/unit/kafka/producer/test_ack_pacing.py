"""Ack pacing: which callers complete in which turn of the event loop, with simulated processor time."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from msgbus_kafka.producer.ack_pacing import TURNS_UNTIL_NEXT_REQUEST, TURNS_UNTIL_SENT, AckPacer

WORKING = 1000.0
"""Seconds of work between two answers: more than the test takes."""


class Answers:
    """Answers of some batches, and who was told after how many turns."""

    def __init__(self, *, working: bool, waits: bool = False) -> None:
        self.told: dict[int, int] = {}
        self._worked = 0.0
        self._each = WORKING if working else 0.0
        self._halves = AckPacer(lambda: waits, self._cpu)

    def _cpu(self) -> float:
        self._worked += self._each
        return self._worked

    async def answer(self, batches: int) -> list[int]:
        """The turn in which each was told, from that of the answer on."""
        self.told.clear()
        turn = 0

        def tell(number: int) -> None:
            self.told[number] = turn

        for number in range(batches):
            self._halves.complete(partial(tell, number))
        while len(self.told) < batches:
            turn += 1
            await asyncio.sleep(0)
        return [self.told[number] for number in range(batches)]


async def test_where_the_server_takes_longer_all_are_told_at_once() -> None:
    assert await Answers(working=False).answer(5) == [1] * 5


async def test_where_this_process_takes_longer_half_are_told_when_the_others_are_on_their_way() -> None:
    answers = Answers(working=True)
    await answers.answer(1)  # the first has nothing to be compared with
    assert await answers.answer(5) == [1, 1, 1, 1 + TURNS_UNTIL_SENT, 1 + TURNS_UNTIL_SENT]


async def test_what_waits_goes_before_what_those_who_are_told_publish() -> None:
    answers = Answers(working=True, waits=True)
    await answers.answer(1)
    assert await answers.answer(3) == [1 + TURNS_UNTIL_NEXT_REQUEST] * 3


async def test_one_batch_alone_is_told_at_once_by_whoever_is_busy() -> None:
    answers = Answers(working=True)
    await answers.answer(1)
    assert await answers.answer(1) == [1]


def test_a_broker_may_be_entered_again_in_another_event_loop_whatever_became_of_the_first() -> None:
    answers, halves = Answers(working=False), AckPacer(lambda: False)

    async def end_at_once() -> None:
        halves.complete(lambda: pytest.fail("told in another loop"))
        asyncio.get_running_loop().stop()

    loop = asyncio.new_event_loop()
    ending = loop.create_task(end_at_once())
    loop.run_forever()
    assert ending.done()
    loop.close()

    told: list[int] = []

    async def answer() -> None:
        halves.complete(lambda: told.append(1))
        await asyncio.sleep(0)

    asyncio.run(answer())
    assert told == [1]
    assert [asyncio.run(answers.answer(2)) for _ in range(2)] == [[1, 1], [1, 1]]
