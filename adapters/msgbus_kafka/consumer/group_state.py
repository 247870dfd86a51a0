"""State of one group in this process that outlives the group's consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgbus_kafka.consumer.initial_offsets import InitialOffsets
from msgbus_kafka.consumer.start_offsets import StartOffsets

if TYPE_CHECKING:
    from msgbus_kafka.admin.client import AdminClient
    from msgbus_kafka.admin.topics import Topics

__all__ = ["GroupState"]


class GroupState:
    """A group's name, its initial offsets, and the check of its start offsets."""

    def __init__(self, cluster: AdminClient, topics: Topics, group: str) -> None:
        self.group: Final = group
        self.cluster: Final = cluster
        self.topics: Final = topics
        self.initial_offsets: Final = InitialOffsets(cluster, topics, group)
        self.start_offsets: Final = StartOffsets(cluster, topics, group)
