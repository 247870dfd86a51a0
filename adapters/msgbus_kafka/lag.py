"""Lag: the end of each partition, less what the group has committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.offset import OffsetRequest

from msgbus.adapter import Lag
from msgbus.errors import BrokerUnavailable
from msgbus_kafka.failures import answered
from msgbus_kafka.guard import offset_fetch_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from msgbus_kafka.cluster import Cluster
    from msgbus_kafka.topics import Topics

__all__ = ["lag"]

TRIES: Final = 50
AGAIN: Final = 0.1
"""Seconds; a coordinator that has just begun loads its offsets first and says so (14, 15, 16)."""
_LATEST: Final = -1
_EARLIEST: Final = -2
_COMMITTED: Final = 1  # read_committed: up to the first open transaction
_LATER: Final = frozenset({7, 14, 15, 16})


async def lag(cluster: Cluster, topics: Topics, name: str, group: str) -> Lag:
    """See Adapter.lag. What is acknowledged and not yet committed, 200 ms at most, still counts."""
    leaders = (await topics.state(name)).leaders
    ends = await _offsets(cluster, name, leaders, _LATEST)
    starts = await _offsets(cluster, name, leaders, _EARLIEST)
    committed = await _committed(cluster, name, leaders, group)
    behind = {at: max(0, ends[at] - max(committed.get(at, 0), starts[at])) for at in leaders}
    return Lag(sum(behind.values()), behind)


async def _offsets(cluster: Cluster, name: str, leaders: Mapping[int, int], when: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for node in set(leaders.values()):
        of_node = [(partition, when) for partition, leader in leaders.items() if leader == node]
        if node < 0:
            raise BrokerUnavailable(f"queue {name}: partition {of_node[0][0]} has no leader")
        answer = await cluster.ask(OffsetRequest(-1, _COMMITTED, [(name, of_node)]), node)
        for partition, code, _, offset in answer.topics[0][1]:
            if code:
                raise answered(code, None, f"queue {name}, partition {partition}")
            found[partition] = offset
    return found


async def _committed(cluster: Cluster, name: str, partitions: Iterable[int], group: str) -> dict[int, int]:
    request = OffsetFetchRequest(group, [(name, sorted(partitions))])
    code = 0
    for _ in range(TRIES):
        coordinator = await cluster.ask(FindCoordinatorRequest(group, 0))
        code = coordinator.error_code
        if not code:
            answer = await cluster.ask(request, coordinator.coordinator_id)
            # aiokafka's own list_consumer_group_offsets() does not look, and says {} while the coordinator loads.
            code = offset_fetch_error(answer)
            if not code:
                return _known(answer)
        if code not in _LATER:
            break
        await asyncio.sleep(AGAIN)
    raise answered(code, None, f"queue {name}, group {group}")


def _known(answer: Any) -> dict[int, int]:
    return {partition: offset for _, rows in answer.topics for partition, offset, *_ in rows if offset >= 0}
