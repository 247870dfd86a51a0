"""Whether this user may read topics: a broker tells it only when it is asked for records."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.protocol.fetch import FetchRequest

from msgbus.errors import AccessRefused
from msgbus_kafka.errors import error_for_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgbus_kafka.admin.client import AdminClient

__all__ = ["refused_reads"]

BEHIND_EVERYTHING: Final = 1 << 62
"""An offset that no log has: a broker checks the right first, and then has nothing to send."""


async def refused_reads(cluster: AdminClient, leaders: Mapping[str, Mapping[int, int]]) -> dict[str, AccessRefused]:
    """Return the topics that this user may not read, each with the error.

    Args:
        cluster: Where to ask.
        leaders: The leader of each partition, by topic. One partition of each topic that has a leader is asked for.

    Raises:
        BrokerUnavailable: A leader did not answer.
    """
    asked: dict[int, dict[str, int]] = {}
    for name, of_topic in leaders.items():
        for partition, node in of_topic.items():
            if node >= 0:
                asked.setdefault(node, {})[name] = partition
                break
    answers = await asyncio.gather(*(cluster.send(_request(topics), node) for node, topics in asked.items()))
    codes = {name: rows[0][1] for answer in answers for name, rows in answer.topics}
    errors = {name: error_for_code(code, None, f"queue {name}: reading it") for name, code in codes.items() if code}
    return {name: error for name, error in errors.items() if isinstance(error, AccessRefused)}


def _request(topics: Mapping[str, int]) -> FetchRequest:
    return FetchRequest(0, 0, 1, 0, [(name, [(partition, BEHIND_EVERYTHING, 1)]) for name, partition in topics.items()])
