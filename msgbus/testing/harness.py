"""What a case is given: brokers of its own on fresh queues, members that can be killed, and fences."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from msgbus.broker import Publication
from msgbus.registry import adapter_type, connect
from msgbus.testing.members import ProcessMember, SeveredMember
from msgbus.url import BrokerURL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from msgbus.adapter import Capabilities
    from msgbus.broker import Broker
    from msgbus.testing.members import KillableMember
    from msgbus.testing.probe import Probe

__all__ = ["Harness"]

FENCES = 64
"""Fence messages with keys of their own: with 8 partitions one stays without a fence once in 600 times."""


class Harness:
    """One server, by its URL; every case gets a harness of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.scheme = BrokerURL.parse(url).scheme
        self._run = secrets.token_hex(4)
        self._names = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def capabilities(self) -> Capabilities:
        """What the adapter says of itself."""
        return adapter_type(self.scheme).capabilities

    def name(self, word: str = "queue") -> str:
        """A fresh name for a queue, on a server that others use as well."""
        self._names += 1
        return f"contract-{self._run}.{word}{self._names}"

    async def queue(self, *groups: str, word: str = "queue", **settings: Any) -> str:
        """A fresh queue with ``groups``."""
        name = self.name(word)
        async with connect(self.url) as broker:
            await broker.create_queue(name, groups=groups, **settings)
        return name

    def make(self, group: str = "g", **settings: Any) -> Broker:
        """A broker that is not started."""
        return connect(self.url, group=group, **settings)

    async def broker(self, group: str = "g", **settings: Any) -> Broker:
        """A started broker, closed at the end of the case."""
        return await self._stack.enter_async_context(self.make(group, **settings))

    async def member(self, queue: str, probe: Probe, group: str = "g", concurrency: int = 10) -> Broker:
        """A started broker that consumes ``queue`` with ``probe`` and is ready."""
        broker = await self.broker(group)
        subscription = await broker.consume(queue, probe, concurrency=concurrency)
        await subscription.ready()
        return broker

    async def killable(self, queue: str, group: str = "g") -> KillableMember:
        """A member that enters its callbacks, never returns from them, and can be killed."""
        kind = ProcessMember if self.capabilities.durable else SeveredMember
        member = kind(self.url, queue, group)
        self._stack.push_async_callback(member.end)
        await member.start()
        return member

    async def fence(self, broker: Broker, queue: str, *probes: Probe) -> None:
        """Publish fences and wait until ``probes`` together have handled them all: what was before them has come."""
        mark = f"fence-{secrets.token_hex(4)}"
        ids = [f"{mark}-{n}" for n in range(FENCES)]
        await publish_all(broker, queue, [Publication(b"fence", message_id=one, key=one) for one in ids])
        # Each probe looks at the condition only when it is called itself: the one that is called last sees it hold.
        waiting = {asyncio.ensure_future(probe.until(lambda: _passed(ids, probes), "the fences")) for probe in probes}
        done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for one in done:
            one.result()


def _passed(ids: Sequence[str], probes: Sequence[Probe]) -> bool:
    return set(ids) <= {one.id for probe in probes for one in probe.handled}


async def publish_all(broker: Broker, queue: str, messages: Sequence[Publication]) -> list[str]:
    """Publish and assert that each was confirmed; the ids."""
    verdicts = await broker.publish_many(queue, messages)
    assert verdicts == [None] * len(messages), f"not all confirmed: {[v for v in verdicts if v][:3]}"
    return [str(one.message_id) for one in messages]
