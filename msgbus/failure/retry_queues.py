"""A group's own queues beside a queue: the ladder of retry queues, and the dead-letter queue. Pure.

Every (queue, group) has the same ladder whatever its policy, so a policy that changes between two deploys strands
nothing. Each step holds messages for one constant delay: first in is first due, and none blocks one behind it. A
longer delay goes through several; no step is over 10 minutes, since RabbitMQ ends a consumer that holds a message
for 30.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from msgbus.adapter import QueueSpec
from msgbus.adapter.address import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DLQ_PART",
    "SHORTEST_TIER",
    "TIER_DELAY_SECONDS",
    "dead_letter_queue",
    "group_queues",
    "retry_tiers",
    "tier_for",
]

TIER_DELAY_SECONDS: Final[Mapping[str, float]] = MappingProxyType(
    {"retry.1s": 1.0, "retry.5s": 5.0, "retry.30s": 30.0, "retry.2m": 120.0, "retry.10m": 600.0}
)
"""Seconds of each step, by the part of its address."""
SHORTEST_TIER: Final = "retry.1s"
DLQ_PART: Final = "dlq"


def retry_tiers(queue: str, group: str) -> tuple[Address, ...]:
    """The retry queues of ``group``, shortest first."""
    return tuple(Address(queue, group, part) for part in TIER_DELAY_SECONDS)


def dead_letter_queue(queue: str, group: str) -> Address:
    """Where the messages lie that ``group`` gave up."""
    return Address(queue, group, DLQ_PART)


def tier_for(queue: str, group: str, delay: float) -> Address:
    """The retry queue of the longest step that is no longer than ``delay`` seconds; the shortest for less."""
    fitting = [part for part, seconds in TIER_DELAY_SECONDS.items() if seconds <= delay]
    return Address(queue, group, fitting[-1] if fitting else SHORTEST_TIER)


def group_queues(queue: str, group: str, partitions: int | None = None) -> list[QueueSpec]:
    """What ``group`` has beside ``queue``: its ladder, with as many partitions, and its dead-letter queue."""
    steps = [QueueSpec(address=one, groups=(group,), partitions=partitions) for one in retry_tiers(queue, group)]
    return [*steps, QueueSpec(address=dead_letter_queue(queue, group))]
