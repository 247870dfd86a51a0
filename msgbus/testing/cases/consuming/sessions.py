"""Session counts: begun, drained and lost sessions are counted alike on every broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus.publishing.publication import Publication
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from msgbus.testing.harness import Harness


async def sessions_that_end_in_good_order_are_counted(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    counts = broker.session_counts()
    assert counts.current >= 1
    probe.hold()
    await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=str(n)) for n in range(3)])
    await probe.until_entered(3)
    await probe.release()
    await broker.close()
    assert sorted(probe.ids) == ["0", "1", "2"]
    assert (counts.current, counts.lost, counts.abandoned, counts.fenced) == (0, 0, 0, 0)
    assert counts.revoked == counts.assigned
    assert counts.drained <= 3


async def what_a_drain_has_no_time_for_is_counted_as_abandoned(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.broker(grace=0.1)
    subscription = await broker.consume(queue, probe)
    await subscription.ready()
    probe.hold()
    await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=str(n)) for n in range(3)])
    await probe.until_entered(3)
    await broker.close()
    counts = broker.session_counts()
    assert (counts.current, counts.lost, counts.drained, counts.abandoned) == (0, 0, 0, 3)
    assert subscription.counts.fenced == 3
