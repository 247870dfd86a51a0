"""From a QueueSpec to a topic, and where an existing one differs from it. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from msgbus.adapter.diagnostics import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgbus.adapter import QueueSpec

__all__ = [
    "MAX_BATCH_BYTES",
    "MIN_INSYNC_FINDING",
    "SAFE_REPLICATION_FACTOR",
    "NewTopic",
    "differences",
    "new_topic",
    "replication_factor",
]

DEFAULT_PARTITIONS: Final = 8
"""Of a queue that promises no order across members: so many of them can share it."""
MAX_BATCH_BYTES: Final = 1_179_648
"""Bytes of a batch: a body of 1 MiB, and 128 KiB for key, headers and what Kafka adds."""
SAFE_REPLICATION_FACTOR: Final = 3
"""Replicas on a cluster that has the brokers for it, and whose default of 1 was only never changed."""

MIN_INSYNC_FINDING: Final = Finding(
    "warning",
    "min.insync.replicas is 1: a message may be confirmed that only one node has",
    "set it to 2",
)

_SIZE: Final = "max.message.bytes"
_RETENTION: Final = "retention.ms"
_CLEANUP: Final = "cleanup.policy"


class NewTopic(NamedTuple):
    """A topic to be made: ``given`` are the settings that were asked for, ``settings`` those it is made with."""

    name: str
    partitions: int
    asked_partitions: int | None
    requested: Mapping[str, str]
    defaults: Mapping[str, str] = MappingProxyType({})

    @property
    def settings(self) -> dict[str, str]:
        """What the topic is made with."""
        return {_SIZE: str(MAX_BATCH_BYTES), **self.defaults, **self.requested}

    @property
    def max_batch_bytes(self) -> int:
        """Bytes of a batch that it takes."""
        return int(self.settings[_SIZE])


def new_topic(spec: QueueSpec) -> NewTopic:
    """The topic that ``spec`` asks for. Native settings win over what the others make of it."""
    given: dict[str, str] = {}
    if spec.retention is not None:
        given[_RETENTION] = str(round(spec.retention * 1000))
    if spec.compact:
        given[_CLEANUP] = "compact"
    given.update(spec.native)
    partitions = spec.partitions if spec.partitions is not None else (1 if spec.address.part else DEFAULT_PARTITIONS)
    return NewTopic(str(spec.address), partitions, spec.partitions, given, _defaults(spec.address.part))


def _defaults(part: str) -> Mapping[str, str]:
    """What a retry queue or a dead-letter queue is made with, whatever the cluster's defaults."""
    if part == "dlq":
        # Without small segments nothing is ever cleaned: the one that is written to never is.
        return {
            _CLEANUP: "compact",
            _RETENTION: "-1",
            "segment.bytes": str(16 * 1024 * 1024),
            "segment.ms": str(3600 * 1000),
            "min.cleanable.dirty.ratio": "0.1",
            "delete.retention.ms": str(24 * 3600 * 1000),
        }
    # Longer than any step, so that what waits while a whole service is down is still there.
    return {_RETENTION: str(7 * 24 * 3600 * 1000)} if part else {}


def replication_factor(default: int, brokers: int) -> int:
    """Replicas of a new topic: the cluster's default where somebody has chosen one, never more than brokers live."""
    wanted = default if default > 1 or brokers < SAFE_REPLICATION_FACTOR else SAFE_REPLICATION_FACTOR
    return max(1, min(wanted, brokers))


def differences(topic: NewTopic, partitions: int, settings: Mapping[str, str]) -> list[str]:
    """What was asked for and the existing topic has not, in words; settings we may not look at are not compared."""
    found: list[str] = []
    if topic.asked_partitions is not None and topic.asked_partitions != partitions:
        found.append(f"partitions is {partitions}, not {topic.asked_partitions}")
    for name, wanted in topic.requested.items():
        there = settings.get(name, wanted)
        if _values(there) != _values(wanted):
            found.append(f"{name} is {there}, not {wanted}")
    return found


def _values(text: str) -> set[str]:
    return {part.strip() for part in text.split(",")}  # lists such as "compact,delete" have no order
