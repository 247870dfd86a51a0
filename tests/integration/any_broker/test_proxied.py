"""The proxy in front of each broker: all traffic passes it, and msgbus recovers from its faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msgbus import connect
from msgbus.testing import Probe
from tests.support.servers import proxied

if TYPE_CHECKING:
    from tests.support.servers import NativeServer


pytestmark = pytest.mark.usefixtures("quiet")


async def test_a_publish_whose_confirmation_is_lost_is_made_again_and_consuming_goes_on(server: NativeServer) -> None:
    probe = Probe()
    async with proxied(server) as (proxy, url), connect(url, group="g", deadline=60) as broker:
        await broker.create_queue("proxied", groups=["g"])
        subscription = await broker.consume("proxied", probe)
        await subscription.ready()
        lost = proxy.lose_reply(b"one of a kind")
        await broker.publish("proxied", b"one of a kind", message_id="a")
        assert lost.is_set()
        assert proxy.cut() > 1
        await broker.publish("proxied", b"x", message_id="b")
        await probe.until_handled(["a", "b"])
