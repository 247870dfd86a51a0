"""Lag: the end of each partition, less what the group has committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus.adapter import Lag
from msgbus_kafka.groups import committed
from msgbus_kafka.offsets import log

if TYPE_CHECKING:
    from msgbus_kafka.cluster import Cluster
    from msgbus_kafka.topics import Topics

__all__ = ["lag"]


async def lag(cluster: Cluster, topics: Topics, name: str, group: str) -> Lag:
    """See Adapter.lag. What is acknowledged and not yet committed, 200 ms at most, still counts."""
    leaders = (await topics.state(name)).leaders
    bounds = await log(cluster, name, leaders)
    done = await committed(cluster, name, leaders, group)
    behind = {at: max(0, end - max(done.get(at, 0), kept)) for at, (kept, end) in bounds.items()}
    return Lag(sum(behind.values()), behind)
