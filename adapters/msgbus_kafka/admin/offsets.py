"""Offsets of a topic's partitions: where the log begins and ends, and which offset a time has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.protocol.offset import OffsetRequest

from msgbus.errors import BrokerUnavailable
from msgbus_kafka.errors import error_for_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgbus_kafka.admin.client import AdminClient

__all__ = ["EARLIEST_TIMESTAMP", "LATEST_TIMESTAMP", "LogBounds", "log_bounds", "offsets_at"]

LATEST_TIMESTAMP: Final = -1
EARLIEST_TIMESTAMP: Final = -2
"""Kafka's own numbers for the end of a log, and the oldest record that is kept."""
_COMMITTED: Final = 1  # read_committed: up to the first open transaction

LogBounds = dict[int, tuple[int, int]]
"""Of each partition the oldest offset that is kept, and the one that the next record gets."""


async def log_bounds(cluster: AdminClient, name: str, leaders: Mapping[int, int]) -> LogBounds:
    """Return the bounds of a topic's partitions. Raises BrokerUnavailable if one has no leader."""
    ends, kept = await asyncio.gather(
        offsets_at(cluster, name, leaders, LATEST_TIMESTAMP), offsets_at(cluster, name, leaders, EARLIEST_TIMESTAMP)
    )
    return {partition: (kept[partition], ends[partition]) for partition in leaders}


async def offsets_at(cluster: AdminClient, name: str, leaders: Mapping[int, int], when: int) -> dict[int, int]:
    """Return the first offset of each partition with a time (ms since 1970) of ``when`` or later; -1: none.

    Raises as log_bounds().
    """
    found: dict[int, int] = {}
    for node in set(leaders.values()):
        of_node = [(partition, when) for partition, leader in leaders.items() if leader == node]
        if node < 0:
            raise BrokerUnavailable(f"queue {name}: partition {of_node[0][0]} has no leader; start its nodes")
        answer = await cluster.send(OffsetRequest(-1, _COMMITTED, [(name, of_node)]), node)
        for partition, code, _, offset, *_ in answer.topics[0][1]:
            if code:
                raise error_for_code(code, None, f"queue {name}, partition {partition}")
            found[partition] = offset
    return found
