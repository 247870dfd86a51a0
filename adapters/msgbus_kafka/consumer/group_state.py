"""What one process knows of the places of one group; it outlives the group's consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgbus_kafka.consumer.initial_offsets import Births
from msgbus_kafka.consumer.start_offsets import Starts

if TYPE_CHECKING:
    from msgbus_kafka.admin.client import Cluster
    from msgbus_kafka.admin.topics import Topics

__all__ = ["Places"]


class Places:
    """A group's name, where it is born, and where it should begin."""

    def __init__(self, cluster: Cluster, topics: Topics, group: str) -> None:
        self.group: Final = group
        self.cluster: Final = cluster
        self.topics: Final = topics
        self.births: Final = Births(cluster, topics, group)
        self.starts: Final = Starts(cluster, topics, group)
