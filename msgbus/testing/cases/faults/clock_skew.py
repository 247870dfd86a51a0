"""Clock skew: with clocks minutes apart nothing is lost or counted twice, and delays stay near their length."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from msgbus.publishing.publication import Publication
from msgbus.retry import RetryPolicy
from msgbus.testing.harness import dead_letters_of, publish_all
from msgbus.testing.probe import DEADLINE_SECONDS, Probe, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus.message import Message
    from msgbus.testing.harness import Harness

OFF: Final = 2 * DEADLINE_SECONDS
"""Seconds of skew; a message that waited so long would miss the deadline."""
POLICY: Final = RetryPolicy(immediate=0, delays=(1.0, 2.0), pause_after=None)
"""Delays of one retry tier, and of two."""
EARLY: Final = 0.002
"""Rounding error: times are stored in milliseconds."""


class _Failing:
    """A callback that fails twice for each message, and the times of its calls."""

    def __init__(self, count: int) -> None:
        self.calls: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._left = count
        self._done = asyncio.Event()

    async def __call__(self, message: Message) -> None:
        self.calls[message.id].append((message.attempt, time.monotonic()))
        if message.attempt <= len(POLICY.delays):
            raise RuntimeError("told to")
        self._left -= 1
        if not self._left:
            self._done.set()

    async def until_done(self) -> None:
        async with within(DEADLINE_SECONDS, "three attempts of each"):
            await self._done.wait()

    def attempts(self) -> set[tuple[int, ...]]:
        return {tuple(attempt for attempt, _ in calls) for calls in self.calls.values()}

    def waits(self, attempt: int) -> list[float]:
        """Return, for each message, the seconds between this attempt and the next."""
        return [calls[attempt][1] - calls[attempt - 1][1] for calls in self.calls.values()]


def _clock(off: float) -> Callable[[], float]:
    return lambda: time.time() + off


async def members_whose_clocks_differ_share_retries_and_each_attempt_is_made_once(harness: Harness) -> None:
    queue, broker, count = await harness.queue("g"), await harness.broker(), harness.size(60, 600)
    failing = _Failing(count)
    for off in (-OFF, OFF):
        member = await harness.broker(clock=_clock(off))
        await (await member.consume(queue, failing, retry=POLICY)).ready()
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=f"k{n}") for n in range(count)])
    await failing.until_done()
    assert failing.calls.keys() == set(ids)
    assert failing.attempts() == {(1, 2, 3)}
    assert await dead_letters_of(broker, queue) == []
    await harness.quiesce(broker, queue)
    harness.judge()


async def a_member_whose_clock_is_off_keeps_its_delays(harness: Harness) -> None:
    await asyncio.gather(*(_keeps_its_delays(harness, off) for off in (-OFF, OFF)))


async def _keeps_its_delays(harness: Harness, off: float) -> None:
    queue, failing, broker = await harness.queue("g"), _Failing(20), await harness.broker(clock=_clock(off))
    await (await broker.consume(queue, failing, retry=POLICY)).ready()
    await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(20)])
    await failing.until_done()
    assert failing.attempts() == {(1, 2, 3)}
    for attempt, delay in enumerate(POLICY.delays, 1):
        assert min(failing.waits(attempt)) >= delay - EARLY * delay


async def a_delay_asked_for_by_a_clock_that_is_ahead_is_kept_and_by_one_that_is_behind_not_lost(
    harness: Harness,
) -> None:
    queue, probe = await harness.queue("g"), Probe()
    ahead, behind = await harness.broker(clock=_clock(OFF)), await harness.broker(clock=_clock(-OFF))
    member = await harness.member(queue, probe)
    began = time.monotonic()
    await ahead.publish(queue, b"x", message_id="ahead", delay=1.5)
    await behind.publish(queue, b"x", message_id="behind", delay=1.5)
    await probe.until_handled(["ahead", "behind"])
    assert time.monotonic() - began >= 1.5 - EARLY
    await harness.fence(member, queue, probe)
    assert probe.times(["ahead", "behind"]) == [1, 1]
