"""RabbitMQ's publisher on a server that accepts nothing: the result of each caller."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.errors import BrokerUnavailable
from msgbus_rabbitmq.aio_pika_internals import Support
from msgbus_rabbitmq.publisher import Publisher

if TYPE_CHECKING:
    from msgbus_rabbitmq.connection.connection import AmqpConnection


class Blocked:
    """A link whose server is short of memory: its connection is never ready."""

    where = "RabbitMQ at nowhere"
    is_up = True

    def __init__(self, *, batch_publish: bool = True) -> None:
        self.support = Support(batch_publish=batch_publish)
        self.confirmations: dict[int, Any] = {}
        self.connection = self.underlay = self
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_closed = False
        self.entered = asyncio.Event()

    async def channel(self, **_: Any) -> Blocked:
        return self

    async def ready(self) -> None:
        self.entered.set()
        await asyncio.Event().wait()


async def verdict(publisher: Publisher, timeout: float) -> Any:
    outgoing = Outgoing(Address("orders", "g", "dlq"), id="1", time=0, body=b"x", key=None, headers={})
    (said,) = await publisher.publish([outgoing], timeout)
    return said


@pytest.mark.parametrize("batch_publish", [True, False])
async def test_whoever_waits_for_a_server_short_of_memory_is_told_why_whichever_timer_is_first(
    batch_publish: bool,
) -> None:
    publisher = Publisher(cast("AmqpConnection", Blocked(batch_publish=batch_publish)))
    loop = asyncio.get_running_loop()
    for earlier in range(8):
        # The loop keeps timers in a heap: which of two equal ones is first depends on the others.
        for n in range(earlier):
            loop.call_later(0.001 * (n + 1), str)
        said = await verdict(publisher, 0.02)
        assert isinstance(said, BrokerUnavailable)
        assert "short of memory" in str(said)
    await publisher.close()


@pytest.mark.parametrize("batch_publish", [True, False])
async def test_whoever_waits_when_the_channel_is_lost_is_told_that_at_once(batch_publish: bool) -> None:
    link = Blocked(batch_publish=batch_publish)
    publisher = Publisher(cast("AmqpConnection", link))
    waiting = asyncio.ensure_future(verdict(publisher, 60))
    await link.entered.wait()
    link.closing.set_exception(ConnectionResetError("cut"))
    async with asyncio.timeout(10):
        assert "the connection broke" in str(await waiting)
    await publisher.close()
