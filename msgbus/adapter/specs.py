"""Value types of the adapter interface: queues, positions, capabilities, lag, and pages of dead letters."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery

__all__ = ["Capabilities", "DeadLetterCount", "Lag", "Page", "Position", "QueueSpec", "Start"]


Start = Literal["oldest", "newest"]
"""Where a new group begins: at the oldest message that the broker keeps, or with what is published from then on."""


Position = str | datetime
"""A place in a queue. One of:

- a ``Start``;
- the ``origin`` of a message: that message and those behind it; where it names a partition, in that partition only;
- a time: messages that were published then or later.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a broker can do beyond the common promise.

    Tests choose their expectations by it and the documentation shows it; no code of the core reads it.
    """

    durable: bool = True
    """Messages outlive the process that publishes them, so members can be processes of their own."""
    history: bool = True
    """Messages are kept for groups that come later. Without it, publishing to a queue without groups is NoRoute."""
    partitions: bool = False
    """``create_queue(partitions=n)`` is honoured."""
    relies_on: str = ""
    """The settings of the server that "no confirmed publish is lost" depends on, for the documentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """A queue to create. An adapter raises Unsupported for a setting that it cannot honour, and ignores none."""

    address: Address
    """A queue, or one of a group's own: a retry queue, which only that group consumes, or its dead-letter queue."""
    groups: Sequence[str] = ()
    """Groups that exist when ``create_queues()`` returns: they get everything that is published from then on."""
    partitions: int | None = None
    """Number of partitions, with order across members; None promises no order across members."""
    retention: float | None = None
    """Seconds for which messages are kept at least; None is the broker's default."""
    compact: bool = False
    """Whether only the newest message of each key is kept."""
    native: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Settings in the broker's own words."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Messages of a queue that were not yet delivered to any member of a group."""

    total: int
    """Messages in all partitions."""
    partitions: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    """Messages in each partition; empty where the queue has no partitions."""


class DeadLetterCount(NamedTuple):
    """Number of dead letters in a dead-letter queue."""

    number: int
    """Dead letters in the queue."""
    exact: bool
    """Whether ``number`` is exact; False where the broker can only estimate it."""


class Page(NamedTuple):
    """Some dead letters in a row, and where the next ones begin."""

    dead_letters: Sequence[Delivery]
    """At most as many as were asked for, oldest first; may be empty before the end."""
    cursor: Hashable | None
    """Where the next page begins, for the same store; None at the end of the queue."""
