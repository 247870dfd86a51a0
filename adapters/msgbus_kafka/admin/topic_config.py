"""Topic settings for a QueueSpec, and the differences from an existing topic. Pure."""

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
    """A topic to be created.

    ``requested`` are the settings that were asked for, ``settings`` those it is created with.
    """

    name: str
    partitions: int
    asked_partitions: int | None
    requested: Mapping[str, str]
    defaults: Mapping[str, str] = MappingProxyType({})

    @property
    def settings(self) -> dict[str, str]:
        """The settings that the topic is created with."""
        return {_SIZE: str(MAX_BATCH_BYTES), **self.defaults, **self.requested}

    @property
    def max_batch_bytes(self) -> int:
        """The largest batch that the topic accepts, in bytes."""
        return int(self.settings[_SIZE])


def new_topic(spec: QueueSpec) -> NewTopic:
    """Return the topic that ``spec`` asks for. Native settings override those that msgbus derives."""
    given: dict[str, str] = {}
    if spec.retention is not None:
        given[_RETENTION] = str(round(spec.retention * 1000))
    if spec.compact:
        given[_CLEANUP] = "compact"
    given.update(spec.native)
    partitions = spec.partitions if spec.partitions is not None else (1 if spec.address.part else DEFAULT_PARTITIONS)
    return NewTopic(str(spec.address), partitions, spec.partitions, given, _defaults(spec.address.part))


def _defaults(part: str) -> Mapping[str, str]:
    """Return the settings of a retry queue or a dead-letter queue, independent of the cluster's defaults."""
    if part == "dlq":
        # Kafka never compacts the segment that it writes to. Without small segments nothing would be compacted.
        return {
            _CLEANUP: "compact",
            _RETENTION: "-1",
            "segment.bytes": str(16 * 1024 * 1024),
            "segment.ms": str(3600 * 1000),
            "min.cleanable.dirty.ratio": "0.1",
            "delete.retention.ms": str(24 * 3600 * 1000),
        }
    # Longer than any retry tier: messages that wait while a whole service is down must be kept.
    return {_RETENTION: str(7 * 24 * 3600 * 1000)} if part else {}


def replication_factor(default: int, brokers: int) -> int:
    """Return the replicas of a new topic.

    The cluster's default if an operator has set one, at most the live brokers.
    """
    wanted = default if default > 1 or brokers < SAFE_REPLICATION_FACTOR else SAFE_REPLICATION_FACTOR
    return max(1, min(wanted, brokers))


def differences(topic: NewTopic, partitions: int, settings: Mapping[str, str]) -> list[str]:
    """Describe each requested setting that the existing topic does not have.

    Settings that may not be read are skipped.
    """
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
