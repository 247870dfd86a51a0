"""Value types of the adapter interface: queues, positions, capabilities and lag."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgbus.adapter.address import Address

__all__ = ["Capabilities", "Lag", "Position", "QueueSpec", "Start"]


Start = Literal["oldest", "newest"]
"""Where a group begins: at the oldest message that the broker keeps, or with what is published from then on."""


Position = str | datetime
"""A place in a queue: a Start, a message's ``origin`` (that message and what comes after it), or a time (what was
published then or later). An origin that names a partition is a place in that partition only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a broker can do beyond the promise: chooses what tests expect and fills the docs; no code path asks it."""

    durable: bool = True
    """Messages outlive the process that holds them, so members can be processes of their own."""
    history: bool = True
    """Messages are kept for groups that come later; without it publishing to a queue without groups is NoRoute."""
    partitions: bool = False
    """create_queue(partitions=n) is honoured."""
    relies_on: str = ""
    """The settings of the server that 'no confirmed publish is lost' rests on, for the docs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """A queue as create_queue() wants it. What an adapter cannot honour is Unsupported, never ignored."""

    address: Address
    """A queue; or, with a part, one of a group's own: a retry queue (consumed by that group only) or its DLQ."""
    groups: Sequence[str] = ()
    """Groups that must exist when create_queues() returns: they get everything published from then on."""
    partitions: int | None = None
    """None promises no order across members; n promises it, by n partitions."""
    retention: float | None = None
    """Seconds that messages are kept at least; None is the broker's default."""
    compact: bool = False
    """Keep only the newest message of each key."""
    native: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Settings in the broker's own words."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Messages of a queue not yet handed to any member of a group, per partition where there are any."""

    total: int
    partitions: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
