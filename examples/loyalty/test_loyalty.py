"""The loyalty service's own tests: they need no server and take some milliseconds each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examples.loyalty.ledger import Ledger
from examples.loyalty.service import AWARDS, GROUP, PURCHASES, Loyalty

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from msgbus import Broker, Message
    from msgbus.testing.plugin import DeadLettersOf, Handled, Published


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as ledger:
        yield ledger


@pytest.fixture(autouse=True)
async def queues(broker: Broker) -> None:
    await broker.create_queue(PURCHASES, groups=[GROUP])
    await broker.create_queue(AWARDS, groups=["notification"])


async def test_a_purchase_is_awarded_and_told(
    broker: Broker, ledger: Ledger, published: Published, handled: Handled
) -> None:
    await Loyalty(broker, ledger, "").start()
    await broker.publish(PURCHASES, {"cents": 2933}, message_id="7", key="customer-4")
    await handled(PURCHASES, group=GROUP)
    assert ledger.totals() == {"customer-4": 29}
    (award,) = published(AWARDS, {"customer": "customer-4", "points": 29})
    assert (award.id, award.key) == ("award-7", "customer-4")


async def test_a_purchase_that_comes_twice_counts_once(
    broker: Broker, ledger: Ledger, published: Published, handled: Handled
) -> None:
    await Loyalty(broker, ledger, "").start()
    for _ in range(2):
        await broker.publish(PURCHASES, {"cents": 100}, message_id="7", key="customer-4")
    await handled(PURCHASES, group=GROUP)
    assert ledger.totals() == {"customer-4": 1}
    assert [award.id for award in published(AWARDS)] == ["award-7", "award-7"]


@pytest.mark.usefixtures("virtual_time")
async def test_a_purchase_that_the_till_refuses_for_13_minutes_is_given_up_and_says_why(
    broker: Broker, ledger: Ledger, dead_letters: DeadLettersOf, handled: Handled
) -> None:
    async def refuse(message: Message) -> None:
        raise ConnectionError(f"the till does not know purchase {message.id}")

    await Loyalty(broker, ledger, "", till=refuse).start()
    await broker.publish(PURCHASES, {"cents": 100}, message_id="7", key="customer-4")
    await handled(PURCHASES, group=GROUP)
    (letter,) = await dead_letters(PURCHASES, group=GROUP)
    assert (letter.message.id, letter.attempts) == ("7", 7)
    assert letter.error_message == "the till does not know purchase 7"
    assert ledger.totals() == {}
