"""A member over a scripted server: the cut of a drain, fencing, acknowledging, and new sessions."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from msgbus.adapter.address import Address
from msgbus.broker import Broker
from msgbus.consuming.session_tracker import SessionTracker
from msgbus.errors import AccessRefused, BrokerUnavailable, PublishUnknown, QueueNotFound
from msgbus.in_flight.deliveries import DeliveryState
from msgbus.retry import Backoff, RetryPolicy
from msgbus.testing.probe import Probe, within
from tests.support.scripted_adapter import QUEUE, ScriptedAdapter, ScriptedConsumer, delivery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def member(
    probe: Probe,
    *,
    concurrency: int = 10,
    grace: float = 10,
    extend_every: float | None = None,
    retry: RetryPolicy | None = None,
) -> AsyncIterator[ScriptedConsumer]:
    """The consumer of a member that handles queue ``q`` with ``probe``; its session is ``s``."""
    adapter = ScriptedAdapter()
    adapter.extend_interval_seconds = extend_every
    async with Broker(adapter, group="g", grace=grace) as broker:
        subscription = await broker.consume("q", probe, concurrency=concurrency, retry=retry)
        await subscription.ready()
        yield adapter.consumers[0]


async def test_a_drain_finishes_all_at_or_below_the_cut_and_nothing_above() -> None:
    probe = Probe()
    probe.hold()
    async with member(probe, concurrency=2) as consumer:
        # 1 and 3 start; 2 waits behind 1 in its lane, below the cut; 4 and 5 are above it.
        consumer.give(
            delivery("s", 1, "1", "a"),
            delivery("s", 2, "2", "a"),
            delivery("s", 3, "3", "b"),
            delivery("s", 4, "4", "c"),
            delivery("s", 5, "5", "b"),
        )
        await probe.until_entered(2)
        ending = asyncio.ensure_future(consumer.listener.ending(["s"], 10))
        await asyncio.sleep(0)
        assert not ending.done()
        await probe.release()
        await ending
        assert sorted(probe.ids) == ["1", "2", "3"]
        assert sorted(consumer.acknowledged) == ["1", "2", "3"]


async def test_without_positions_a_drain_finishes_what_runs_and_gives_back_the_rest() -> None:
    probe = Probe()
    probe.hold()
    async with member(probe, concurrency=2) as consumer:
        consumer.give(*(delivery("s", None, str(n)) for n in range(6)))
        await probe.until_entered(2)
        ending = asyncio.ensure_future(consumer.listener.ending(["s"], 10))
        await asyncio.sleep(0)
        await probe.release()
        await ending
        assert sorted(probe.ids) == ["0", "1"]
        assert sorted(consumer.acknowledged) == ["0", "1"]


KEEPS_ORDER = RetryPolicy(immediate=1000, delays=())


async def test_a_drain_gives_up_a_message_that_waits_for_its_next_try_where_order_is_kept() -> None:
    probe = Probe()
    probe.fail("bad", 1_000_000)
    async with member(probe, retry=KEEPS_ORDER) as consumer:
        consumer.give(delivery("s", 1, "bad", "a"), delivery("s", 2, "behind", "a"), delivery("s", 3, "good", "b"))
        await probe.until_handled(["good"])
        await probe.until(lambda: any(one.attempt == 4 for one in probe.entered), "four tries")
        async with within(5, "a drain that waits for nobody"):
            await consumer.listener.ending(["s"], 10)
        assert "bad" not in probe.ids
        assert consumer.acknowledged == ["good"]


async def test_a_callback_that_fails_during_a_drain_is_given_up() -> None:
    probe = Probe()
    probe.hold()
    probe.fail("bad", 1_000_000)
    async with member(probe, retry=KEEPS_ORDER) as consumer:
        consumer.give(delivery("s", 1, "bad", "a"), delivery("s", 2, "behind", "a"))
        await probe.until_entered(1)
        ending = asyncio.ensure_future(consumer.listener.ending(["s"], 10))
        await asyncio.sleep(0)
        await probe.release()
        await ending
        assert consumer.acknowledged == []
        assert len(probe.entered) == 1


async def test_a_callback_over_the_budget_of_a_drain_is_cancelled_and_not_acknowledged() -> None:
    probe = Probe()
    probe.hold()
    async with member(probe) as consumer:
        consumer.give(delivery("s", 1, "hangs"))
        await probe.until_entered(1)
        async with within(5, "the drain"):
            await consumer.listener.ending(["s"], 0.05)
        await probe.until(lambda: probe.cancelled == 1, "the cancellation")
        assert consumer.acknowledged == []


async def test_a_worker_whose_callback_was_cancelled_goes_on_with_the_next_session() -> None:
    probe = Probe()
    probe.hold()
    async with member(probe, concurrency=1) as consumer:
        consumer.give(delivery("s", 1, "hangs"))
        await probe.until_entered(1)
        await consumer.listener.ending(["s"], 0.05)
        await probe.release()
        consumer.listener.begun("t")
        consumer.give(delivery("t", 1, "hangs"))
        await probe.until_handled(["hangs"])


async def test_what_ends_after_its_session_was_lost_is_not_acknowledged() -> None:
    probe = Probe()
    probe.hold()
    async with member(probe, concurrency=1) as consumer:
        consumer.give(delivery("s", 1, "zombie", "a"), delivery("s", 2, "queued", "b"))
        await probe.until_entered(1)
        consumer.listener.lost(["s"])
        consumer.listener.begun("t")
        consumer.give(delivery("t", 1, "zombie", "a"))
        await probe.release()
        await probe.until(lambda: probe.ids == ["zombie", "zombie"], "the zombie and its repetition")
        await consumer.listener.ending(["t"], 10)
        assert consumer.acknowledged == ["zombie"]


async def test_deliveries_of_a_session_that_ended_are_ignored() -> None:
    probe = Probe()
    async with member(probe) as consumer:
        await consumer.listener.ending(["s"], 1)
        consumer.listener.begun("t")
        consumer.give(delivery("s", 1, "late"), delivery("t", 1, "good"))
        await probe.until_handled(["good"])
        assert probe.ids == ["good"]


async def test_acknowledging_is_tried_again_while_the_session_lives() -> None:
    probe = Probe()
    async with member(probe) as consumer:
        consumer.refuse_acknowledging = 3
        consumer.give(delivery("s", 1, "1"), delivery("s", 2, "2"))
        await probe.until_handled(["1", "2"])
    assert consumer.acknowledged == ["1", "2"]


async def test_a_receive_that_raises_loses_every_session_and_a_new_consumer_goes_on() -> None:
    probe = Probe()
    probe.hold()
    async with member(probe) as consumer:
        consumer.give(delivery("s", 1, "m"))
        await probe.until_entered(1)
        consumer.adapter.opened.clear()
        consumer.fail(BrokerUnavailable("gone"))
        async with within(5, "another consumer"):
            await consumer.adapter.opened.wait()
        await probe.release()
        again = consumer.adapter.consumers[1]
        again.give(delivery("s", 1, "m"))
        await probe.until(lambda: probe.ids == ["m", "m"], "the repetition")
    assert consumer.acknowledged == []
    assert again.acknowledged == ["m"]


async def test_hands_full_of_what_waits_behind_a_failing_message_take_more() -> None:
    probe = Probe()
    probe.fail("0", 3)
    async with member(probe, concurrency=2, retry=KEEPS_ORDER) as consumer:
        consumer.give(*(delivery("s", n, str(n), "hot") for n in range(4)))
        await probe.until(lambda: len(probe.ids) == 4, "all of the lane")
    assert [limits[QUEUE] for limits in consumer.limits[:2]] == [4, 8]


async def test_what_was_acknowledged_while_it_was_being_extended_takes_nothing_behind_it_along() -> None:
    probe = Probe()
    held = {"1", "2"}
    probe.hold(lambda message: message.id in held)
    async with member(probe, concurrency=1, extend_every=0.01) as consumer:
        consumer.give(*(delivery("s", None, str(n), "a") for n in range(1, 4)))
        await probe.until_entered(1)
        consumer.answer_extend.clear()
        consumer.extending.clear()
        async with within(5, "an extend() under way"):
            await consumer.extending.wait()
        consumer.lost_on_extend = {"1"}  # what a server says of a message that was acknowledged just before
        held.remove("1")
        await probe.look_again()
        await probe.until_entered(2)
        consumer.answer_extend.set()
        await probe.release()
        await probe.until_handled(["1", "2", "3"])
    assert consumer.acknowledged == ["1", "2", "3"]


async def test_what_became_somebody_elses_is_not_acknowledged_and_what_is_behind_it_goes_on() -> None:
    probe = Probe()
    probe.hold()
    async with member(probe, concurrency=1, extend_every=0.01) as consumer:
        consumer.lost_on_extend = {"1", "3"}
        consumer.give(*(delivery("s", None, str(n), "a") for n in range(1, 5)))
        await probe.until_entered(1)
        for _ in range(2):  # the first may have begun before they were held
            consumer.extending.clear()
            async with within(5, "an extend()"):
                await consumer.extending.wait()
        await probe.release()
        await probe.until_handled(["2", "4"])
    assert consumer.acknowledged == ["2", "4"]
    assert probe.ids == ["1", "2", "4"]


LATER = RetryPolicy(immediate=1, delays=(5.0,))


async def test_a_drain_tries_at_once_what_waits_for_its_next_try_and_sends_it_to_its_retry_queue() -> None:
    probe = Probe()
    probe.fail("bad", 2)
    async with member(probe, retry=LATER) as consumer:
        consumer.give(delivery("s", 1, "bad", "a"))
        await probe.until_entered(1)
        await consumer.listener.ending(["s"], 10)
        assert [str(one.address) for one in consumer.adapter.copies] == ["q.g.retry.5s"]
        assert consumer.adapter.copies[0].headers["msgbus-attempts"] == "2"
        assert consumer.acknowledged == ["bad"]


async def test_a_drain_finishes_what_failed_and_is_due_again_while_every_place_is_taken() -> None:
    probe = Probe()
    probe.fail("bad", 1)
    async with member(probe, concurrency=1, retry=RetryPolicy(immediate=1, backoff=Backoff(0.5, 0.5))) as consumer:
        consumer.give(delivery("s", None, "bad"))
        await probe.until_entered(1)
        probe.hold()
        consumer.give(delivery("s", None, "slow"), delivery("s", None, "behind"))
        await probe.until_entered(2)
        assert isinstance(consumer.listener, SessionTracker)
        (session,) = consumer.listener._sessions.values()
        async with within(5, "a message that is due again"):
            while len(session.in_state(DeliveryState.QUEUED)) < 2:
                await asyncio.sleep(0)
        ending = asyncio.ensure_future(consumer.listener.ending(["s"], 10))
        await asyncio.sleep(0)
        await probe.release()
        await ending
        assert [(one.id, one.attempt) for one in probe.entered] == [("bad", 1), ("slow", 1), ("bad", 2)]
        assert sorted(consumer.acknowledged) == ["bad", "slow"]


async def test_nothing_is_acknowledged_while_the_dead_letter_queue_cannot_be_written() -> None:
    probe = Probe()
    probe.fail("bad", 1)
    async with member(probe, retry=RetryPolicy(immediate=0, delays=())) as consumer:
        consumer.adapter.script.extend([[BrokerUnavailable("full")], [PublishUnknown("late")], [QueueNotFound("no")]])
        consumer.give(delivery("s", 1, "bad", "a"), delivery("s", 2, "behind", "a"), delivery("s", 3, "good", "b"))
        await probe.until_handled(["good"])
        assert "behind" not in probe.ids
        assert "bad" not in consumer.acknowledged
        await probe.until_handled(["behind"])
    assert [str(one.address) for one in consumer.adapter.copies] == ["q.g.dlq"]
    assert consumer.acknowledged.count("bad") == 1
    assert consumer.adapter.published == [["bad"]] * 4


async def test_a_drain_gives_up_what_waits_for_a_dead_letter_queue_that_cannot_be_written() -> None:
    probe = Probe()
    probe.fail("bad", 1)
    async with member(probe, retry=RetryPolicy(immediate=0, delays=())) as consumer:
        consumer.adapter.script.extend([[BrokerUnavailable("full")]] * 100)
        consumer.give(delivery("s", 1, "bad", "a"), delivery("s", 2, "good", "b"))
        await probe.until_handled(["good"])
        async with within(5, "the first try"):
            await consumer.adapter.asked_to_publish.wait()
        async with within(5, "a drain that waits for nobody"):
            await consumer.listener.ending(["s"], 10)
        assert consumer.acknowledged == ["good"]


async def test_no_limit_is_raised_while_something_waits_for_a_queue_that_cannot_be_written() -> None:
    probe = Probe()
    probe.fail("bad", 1)

    async def work(name: str) -> None:
        for turn in range(8):  # the limit is looked at when more comes
            ids = [f"{name}-{turn}-{n}" for n in range(15)]
            consumer.give(*(delivery("s", None, id, id) for id in ids))
            await probe.until_handled(ids)

    async with member(probe, retry=RetryPolicy(immediate=0, delays=())) as consumer:
        consumer.adapter.script.extend([[BrokerUnavailable("full")]] * 1000)
        consumer.give(delivery("s", None, "bad", "a"))
        async with within(5, "the first try"):
            await consumer.adapter.asked_to_publish.wait()
        await work("stuck")
        assert len(consumer.limits) == 1, "what is stuck would be called again where a limit ends the session"
        consumer.adapter.script.clear()
        async with within(5, "the dead letter"):
            while not consumer.adapter.copies:
                consumer.adapter.asked_to_publish.clear()
                await consumer.adapter.asked_to_publish.wait()
        await work("free")
        async with within(5, "the limit"):
            while len(consumer.limits) == 1:
                await work("more")


PAUSES_AT_ONCE = RetryPolicy(immediate=0, delays=(5.0,), outage=(RuntimeError,), pause_after=1)


async def test_a_drain_of_a_paused_subscription_parks_what_lies_below_the_cut_and_gives_back_what_is_above() -> None:
    probe = Probe()
    probe.hold(lambda message: message.id == "1")
    probe.fail("1", 1_000_000)
    async with member(probe, retry=PAUSES_AT_ONCE, concurrency=2) as consumer:
        # 1 runs, 2 waits behind it, 3 is handled; then 1 fails and pauses all; 4 is above.
        consumer.give(delivery("s", 1, "1", "a"), delivery("s", 2, "2", "a"), delivery("s", 3, "3", "b"))
        await probe.until_handled(["3"])
        await probe.release()
        async with within(5, "parking what failed"):
            await consumer.adapter.asked_to_publish.wait()
        consumer.give(delivery("s", 4, "4", "c"))
        async with within(5, "a drain that waits for nobody"):
            await consumer.listener.ending(["s"], 10)
        assert sorted(one.id for one in consumer.adapter.copies) == ["1", "2"]
        assert sorted(consumer.acknowledged) == ["1", "2", "3"]
        assert sorted(one.id for one in probe.entered) == ["1", "3"]


async def test_without_positions_a_drain_of_a_paused_subscription_gives_back_what_waits() -> None:
    probe = Probe()
    probe.fail("1", 1_000_000)
    async with member(probe, retry=PAUSES_AT_ONCE, concurrency=1) as consumer:
        consumer.give(*(delivery("s", None, str(n)) for n in range(1, 5)))
        await probe.until_entered(1)
        async with within(5, "a drain that waits for nobody"):
            await consumer.listener.ending(["s"], 10)
        assert len(probe.entered) == 1
        assert consumer.acknowledged == [one.id for one in consumer.adapter.copies]


async def test_a_pause_that_begins_during_a_drain_ends_what_lies_below_the_cut_without_a_call() -> None:
    probe = Probe()
    probe.hold(lambda message: message.id == "1")
    probe.fail("1", 1_000_000)
    async with member(probe, retry=PAUSES_AT_ONCE, concurrency=2) as consumer:
        consumer.give(delivery("s", 1, "1", "a"), delivery("s", 2, "2", "a"), delivery("s", 3, "3", "b"))
        await probe.until_handled(["3"])
        ending = asyncio.ensure_future(consumer.listener.ending(["s"], 10))
        await asyncio.sleep(0)
        await probe.release()
        async with within(5, "a drain that waits for nobody"):
            await ending
        assert sorted(one.id for one in consumer.adapter.copies) == ["1", "2"]
        assert sorted(consumer.acknowledged) == ["1", "2", "3"]
        assert sorted(one.id for one in probe.entered) == ["1", "3"]


async def test_a_pause_gives_back_what_has_not_started_where_deliveries_have_no_position() -> None:
    probe = Probe()
    probe.fail("1", 1_000_000)
    async with member(probe, retry=PAUSES_AT_ONCE, concurrency=1) as consumer:
        before = len(consumer.limits)
        consumer.give(*(delivery("s", None, str(n)) for n in range(1, 5)))
        async with within(5, "subscribing without the queue, and with it"):
            while len(consumer.limits) < before + 2:
                await asyncio.sleep(0.01)  # a scripted consumer tells nobody
        assert QUEUE not in consumer.limits[before]
        assert QUEUE in consumer.limits[before + 1]


async def test_a_pause_keeps_its_sessions_where_deliveries_have_a_position() -> None:
    probe = Probe()
    probe.fail("1", 1_000_000)
    async with member(probe, retry=PAUSES_AT_ONCE, concurrency=1) as consumer:
        consumer.give(*(delivery("s", n, str(n)) for n in range(1, 5)))
        await probe.until_handled(["2"])
        assert all(QUEUE in limits for limits in consumer.limits)


async def test_a_queue_that_is_refused_while_it_is_consumed_is_told_and_subscribed_again_and_no_other() -> None:
    ill, well = Address("ill"), Address("well")
    adapter, probe = ScriptedAdapter(), Probe()
    async with Broker(adapter, group="g") as broker:
        for queue in (ill, well):
            await (await broker.consume(str(queue), probe)).ready()
        (consumer,) = adapter.consumers
        adapter.refused[ill] = AccessRefused("queue ill: no right")
        calls = len(consumer.limits)
        consumer.listener.queue_refused(ill, AccessRefused("queue ill: no right"))
        consumer.wake()
        states = {one.queue: (one.state, one.reason) for one in (await broker.health()).queues}
        assert states == {"ill": ("refused", "queue ill: no right"), "well": ("active", "")}
        async with within(20, "another try"):
            while len(consumer.limits) == calls:
                await asyncio.sleep(0.01)
        assert {ill, well} <= consumer.limits[-1].keys()
        del adapter.refused[ill]
        async with within(20, "the queue is consumed again"):
            while (await broker.health()).queues[0].state != "active":
                await asyncio.sleep(0.01)  # it is not announced
        assert adapter.consumers == [consumer], "the consumer goes on"


async def test_a_refused_queue_rests_while_the_limits_of_others_change() -> None:
    ill, well = Address("ill"), Address("well")
    adapter, probe = ScriptedAdapter(), Probe()
    adapter.refused[ill] = QueueNotFound("queue ill does not exist")
    async with Broker(adapter, group="g") as broker:
        subscriptions = [await broker.consume(str(one), probe) for one in (ill, well)]
        await subscriptions[1].ready()
        (consumer,) = adapter.consumers
        calls = len(consumer.limits)
        assert ill in consumer.limits[-1], "it was tried once"
        owner = subscriptions[1]._owner
        assert owner is not None
        owner.subscriptions_changed()
        async with within(20, "the change is applied"):
            while len(consumer.limits) == calls:
                await asyncio.sleep(0.01)
        assert ill not in consumer.limits[-1]
        assert well in consumer.limits[-1]


async def test_a_retry_queue_that_is_refused_is_told_and_its_queue_goes_on() -> None:
    adapter, probe = ScriptedAdapter(), Probe()
    async with Broker(adapter, group="g") as broker:
        await (await broker.consume("q", probe)).ready()
        (consumer,) = adapter.consumers
        tier = next(one for one in consumer.limits[-1] if one.is_retry_queue)
        adapter.refused[tier] = AccessRefused("no right")
        consumer.listener.queue_refused(tier, AccessRefused("no right"))
        (queue,) = (await broker.health()).queues
        assert (queue.state, queue.reason, queue.ready) == ("active", f"retry queue {tier}: no right", False)
        consumer.give(delivery("s", 1, "m"))
        await probe.until_handled(["m"])


async def test_a_queue_that_is_refused_during_a_subscribe_is_not_taken_for_consumed() -> None:
    ill, well = Address("ill"), Address("well")
    adapter, probe = ScriptedAdapter(), Probe()
    async with Broker(adapter, group="g") as broker:
        subscriptions = [await broker.consume(str(one), probe) for one in (ill, well)]
        await subscriptions[1].ready()
        (consumer,) = adapter.consumers
        subscribe, told = consumer.subscribe, asyncio.Event()

        async def refusing(limits: Any, newest: Any = frozenset()) -> Any:
            consumer.listener.queue_refused(ill, AccessRefused("no right"))
            answer = await subscribe(limits, newest)
            adapter.refused[ill] = AccessRefused("no right")
            told.set()
            return answer

        cast("Any", consumer).subscribe = refusing
        owner = subscriptions[1]._owner
        assert owner is not None
        owner.subscriptions_changed()
        async with within(20, "the change is applied"):
            await told.wait()
        await asyncio.sleep(0)
        states = {one.queue: one.state for one in (await broker.health()).queues}
        assert states == {"ill": "refused", "well": "active"}
