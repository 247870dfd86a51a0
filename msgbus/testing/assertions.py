"""Recorded traffic of one broker, and the assertions that tests of a service make on it.

AssertionError is raised and not asserted: pytest adds words of its own to each ``assert`` of an installed plugin.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from msgbus.adapter.envelope import build_message
from msgbus.publishing.codec import encode_body
from msgbus.testing.intercepting_adapter import Point

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.message import Message
    from msgbus.testing.intercepting_adapter import Passing

__all__ = ["RecordedTraffic"]


class RecordedTraffic:
    """Messages that one broker published and acknowledged: a watch of :class:`WatchedAdapter`."""

    def __init__(self) -> None:
        self._published: dict[Address, list[Message]] = {}
        self._acknowledged: Counter[tuple[Address, str]] = Counter()
        self._groups: dict[str, set[str]] = {}
        """Queue that exists -> its groups, as far as this broker has created or consumed them."""
        self._changed = asyncio.Event()

    def passing(self, passing: Passing) -> None:
        """Record what passes the adapter's boundary."""
        if passing.point is Point.CREATED:
            for spec in passing.specs:
                self._groups.setdefault(spec.address.queue, set()).update(spec.groups)
        elif passing.point is Point.SUBSCRIBED:
            for address in passing.addresses:
                self._groups.setdefault(address.queue, set()).add(passing.group)
        elif passing.point is Point.PUBLISHED:
            for outgoing, verdict in zip(passing.messages, passing.verdicts, strict=True):
                if verdict is None:
                    self._published.setdefault(outgoing.address, []).append(_read(outgoing))
        elif passing.point is Point.ACKNOWLEDGED:
            self._acknowledged.update((delivery.address, passing.group) for delivery in passing.deliveries)
        else:
            return
        self._changed.set()

    def published(self, queue: str, *bodies: Any) -> list[Message]:
        """Return the messages published to ``queue``, in order; with ``bodies``, assert that they are among them."""
        found = [
            one
            for address, some in self._published.items()
            if str(address) == queue and not address.part
            for one in some
        ]
        if not bodies:
            return found
        wanted = [encode_body(queue, body)[0] for body in bodies]
        missing = [body.decode(errors="replace") for body in wanted if body not in [one.body for one in found]]
        if missing:
            raise AssertionError(f"{queue}: {', '.join(missing)} was not published; {self._told(queue, found)}")
        return [next(one for one in found if one.body == body) for body in wanted]

    async def handled(self, queue: str, group: str, within: float) -> None:
        """Wait until a group has settled all messages published to a queue, their retries included.

        Args:
            queue: The name of the queue.
            group: The group that consumes it.
            within: Seconds to wait at most.

        Raises:
            AssertionError: There is no such queue (at once), or no such group, or messages were left after ``within``.
        """
        known = {*self._groups, *(address.queue for address in self._published)}
        if queue not in known:
            raise AssertionError(f"{queue}: there is no queue of this name; {_names('there are', known)}")
        try:
            async with asyncio.timeout(within):
                while group not in self._groups.get(queue, ()) or self._open(queue, group):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            groups = self._groups.get(queue, set())
            if group not in groups:
                raise AssertionError(
                    f"{queue}: no group {group} has consumed it; {_names('its groups are', groups)}"
                ) from None
            left = ", ".join(f"{count} in {place}" for place, count in self._open(queue, group).items())
            raise AssertionError(
                f"{queue}, group {group}: not handled within {within:g} s: {left}; "
                f"{self._told(queue, self.published(queue))}"
            ) from None

    def _open(self, queue: str, group: str) -> dict[Address, int]:
        """Count the messages that were published and that the group has not acknowledged, by place."""
        left = {
            address: len(some) - self._acknowledged[address, group]
            for address, some in self._published.items()
            if address.queue == queue and address.group in {"", group} and address.part != "dlq"
        }
        return {address: count for address, count in left.items() if count}

    def _told(self, queue: str, found: list[Message]) -> str:
        elsewhere = sorted({str(address) for address in self._published if str(address) != queue})
        bodies = ", ".join(f"{one.id}: {one.body.decode(errors='replace')}" for one in found[:20]) or "nothing"
        return f"published to it: {bodies}; to others: {', '.join(elsewhere) or 'nothing'}"


def _names(what: str, names: Iterable[str]) -> str:
    return f"{what}: {', '.join(sorted(names)) or 'none'}"


def _read(outgoing: Outgoing) -> Message:
    """Return the message as a callback of any group will get it."""
    address = outgoing.address
    return build_message(
        address,
        address.group,
        outgoing.body,
        outgoing.headers,
        id=outgoing.id,
        time=outgoing.time,
        key=outgoing.key,
    )
