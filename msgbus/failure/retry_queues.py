"""Retry queues and the dead-letter queue of a group, beside a queue. Pure.

- Every (queue, group) has the same retry tiers whatever its policy, so that a policy that changes between two deploys
  leaves no message in a queue that is not consumed.
- A tier holds messages for one constant delay: first in is first due, and no message blocks the one behind it.
- A longer delay passes several tiers. No tier is longer than 10 minutes: RabbitMQ ends a consumer that holds a message
  for 30.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from msgbus.adapter import QueueSpec
from msgbus.adapter.address import DLQ_PART, Address

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
"""Delay of each tier in seconds, by the part of its address."""
SHORTEST_TIER: Final = "retry.1s"


def retry_tiers(queue: str, group: str) -> tuple[Address, ...]:
    """Return the retry queues of ``group``, shortest delay first."""
    return tuple(Address(queue, group, part) for part in TIER_DELAY_SECONDS)


def dead_letter_queue(queue: str, group: str) -> Address:
    """Return the address of the dead-letter queue of ``group``."""
    return Address(queue, group, DLQ_PART)


def tier_for(queue: str, group: str, delay: float) -> Address:
    """Return the retry queue of the longest tier that is no longer than ``delay`` seconds; the shortest for less."""
    fitting = [part for part, seconds in TIER_DELAY_SECONDS.items() if seconds <= delay]
    return Address(queue, group, fitting[-1] if fitting else SHORTEST_TIER)


def group_queues(queue: str, group: str, partitions: int | None = None) -> list[QueueSpec]:
    """Return the retry queues of ``group``, with as many partitions as ``queue``, and its dead-letter queue."""
    tiers = [QueueSpec(address=one, groups=(group,), partitions=partitions) for one in retry_tiers(queue, group)]
    return [*tiers, QueueSpec(address=dead_letter_queue(queue, group))]
