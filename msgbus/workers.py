"""The callbacks of one subscription at work: one task per busy place, none per message."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from msgbus.flow import Flow
from msgbus.lanes import Lanes
from msgbus.retry import TryAgain
from msgbus.sessions import Held, Stage
from msgbus.subscription import inside

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from msgbus.message import Delivery
    from msgbus.sessions import Session
    from msgbus.subscription import Owner, Subscription

__all__ = ["Workers"]

logger = logging.getLogger("msgbus")


class Workers:
    """Runs what is held of one subscription's queue, by its lanes, and says how each delivery ended."""

    def __init__(self, subscription: Subscription, owner: Owner, done: Callable[[Held], None], random: Random) -> None:
        """``done`` gets every delivery whose callback returned while it still counted."""
        self.subscription = subscription
        self.flow = Flow(subscription.concurrency)
        self.lanes: Lanes[Held] = Lanes(subscription.concurrency)
        self.tasks: set[asyncio.Task[None]] = set()
        self._owner = owner
        self._done = done
        self._random = random
        self._loop = asyncio.get_running_loop()

    def accept(self, delivery: Delivery, session: Session) -> None:
        """Take ``delivery`` in hand; start() sets it going."""
        held = Held(delivery, session, self)
        session.hold(held)
        self.flow.held += 1
        self.lanes.add(held)

    def start(self) -> None:
        """Set tasks to work on what may run."""
        for _ in range(min(self.lanes.waiting, self.lanes.concurrency - len(self.tasks))):
            task = self._loop.create_task(self._work(), name=f"msgbus {self.subscription.address}")
            self.tasks.add(task)

    def give_up(self, held: Held) -> None:
        """The next session gets ``held``, and what is behind it in its lane: nothing overtakes it."""
        parked = held.stage is Stage.PARKED
        if held.timer is not None:
            held.timer.cancel()
        self._drop(held)
        for behind in list(self.lanes.behind(held.lane)):
            if behind.session is held.session and not behind.dropped:
                self._drop(behind)
        if parked:
            self.lanes.leave(held)
            self.start()

    def abandon(self, held: Held) -> None:
        """Its time is over: cancel the callback of a running one, give up another."""
        if held.stage is not Stage.RUNNING:
            self.give_up(held)
            return
        self._drop(held)
        if held.worker is not None:
            held.worker.cancel()

    def fence(self, held: Held) -> None:
        """It is somebody else's now: one that runs may end, but its end counts for nothing.

        What is behind it in its lane is still ours, and goes on. One that has ended meanwhile stays ended: the
        answer that it is no longer ours may only say that it was acknowledged.
        """
        if held.stage in {Stage.DONE, Stage.DROPPED}:
            return
        parked = held.stage is Stage.PARKED
        if held.timer is not None:
            held.timer.cancel()
        self._drop(held)
        if parked:
            self.lanes.leave(held)
            self.start()

    def _drop(self, held: Held) -> None:
        held.stage = Stage.DROPPED
        held.session.release(held)
        self.flow.held -= 1

    async def _work(self) -> None:
        inside.set(self._owner)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            while (held := self.lanes.take()) is not None:
                held.stage = Stage.RUNNING
                held.worker = task
                held.session.started(held)
                error = await self._call(held)
                held.worker = None
                self._ended(held, error)
        finally:
            # Here and not in a callback of the task: what is accepted in between would find no worker, for ever.
            self.tasks.discard(task)
        # Full hands and an idle place: others must not wait with what waits for its lane.
        if self.lanes.blocked and not self.flow.room and self.flow.widen():
            self._owner.changed()

    async def _call(self, held: Held) -> BaseException | None:
        """What the callback raised; None if it returned."""
        message = held.delivery.message
        if held.failures:
            message = replace(message, attempt=message.attempt + held.failures)
        began = self._loop.time()
        try:
            await self.subscription.callback(message)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, it is the message's failure
            return error
        else:
            return None
        finally:
            self.flow.worked(self._loop.time() - began)
            _uncancel(held)

    def _ended(self, held: Held, error: BaseException | None) -> None:
        if held.current and error is None:
            held.stage = Stage.DONE
            self._done(held)
            held.session.release(held)
            self.lanes.finish(held)
        elif held.current and error is not None:
            self._failed(held, error)
        else:
            self.lanes.finish(held)

    def _failed(self, held: Held, error: BaseException) -> None:
        held.failures += 1
        outcome = self.subscription.policy.decide(held.failures, self._random.random())
        if held.session.draining or not isinstance(outcome, TryAgain):
            self.give_up(held)
            self.lanes.finish(held)
            return
        self._report(held, error, outcome.after)
        held.stage = Stage.PARKED
        self.lanes.park()
        held.timer = self._loop.call_later(outcome.after, self._again, held)

    def _again(self, held: Held) -> None:
        held.timer = None
        held.stage = Stage.QUEUED
        self.lanes.resume(held)
        self.start()

    def _report(self, held: Held, error: BaseException, after: float) -> None:
        message = held.delivery.message
        logger.warning(
            "queue %s, group %s: message %s failed at attempt %d (%s: %s), trying again in %.1f s",
            message.queue,
            message.group,
            message.id,
            message.attempt + held.failures - 1,
            type(error).__name__,
            error,
            after,
            exc_info=error if held.failures == 1 else None,
        )


def _uncancel(held: Held) -> None:
    # A callback may swallow the cancellation of a drain; the task goes on with the next message all the same.
    while held.worker is not None and held.worker.cancelling():
        held.worker.uncancel()
