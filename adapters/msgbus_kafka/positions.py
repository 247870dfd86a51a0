"""From a position, in anybody's words, to an offset in each partition it speaks of."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgbus.errors import ConfigurationError
from msgbus_kafka.offsets import log, offsets_at

if TYPE_CHECKING:
    from msgbus.adapter import Position
    from msgbus_kafka.cluster import Cluster
    from msgbus_kafka.offsets import Log
    from msgbus_kafka.topics import Topics

__all__ = ["named", "offsets_of"]

_ORIGIN: Final = re.compile(r"(?:(?P<topic>.+)-(?P<partition>[0-9]{1,9})@)?(?P<offset>[0-9]{1,18})", re.ASCII)


async def offsets_of(cluster: Cluster, topics: Topics, name: str, position: Position) -> dict[int, int]:
    """An offset that is kept, or the end, in each partition that ``position`` speaks of.

    Raises QueueNotFound, ConfigurationError for what is no position here, BrokerUnavailable.
    """
    leaders = (await topics.state(name)).leaders
    bounds = await log(cluster, name, leaders)
    if isinstance(position, datetime):
        found = await offsets_at(cluster, name, leaders, max(0, round(position.timestamp() * 1000)))
        return {one: offset if offset >= 0 else bounds[one][1] for one, offset in found.items()}
    if position in {"oldest", "newest"}:
        return {one: kept if position == "oldest" else end for one, (kept, end) in bounds.items()}
    return named(name, position, bounds)


def named(name: str, position: str, bounds: Log) -> dict[int, int]:
    """The offsets of ``topic-partition@offset``, or of a bare offset, which means every partition."""
    found = _ORIGIN.fullmatch(position)
    if found is None or found["topic"] not in {None, name}:
        raise ConfigurationError(
            f"queue {name}: {position!r} is no position in it: say oldest, newest, an offset, or {name}-0@17"
        )
    if found["partition"] is not None and int(found["partition"]) not in bounds:
        raise ConfigurationError(f"queue {name}: {position!r}: it has {len(bounds)} partitions, counted from 0")
    meant = bounds if found["partition"] is None else [int(found["partition"])]
    return {one: min(max(int(found["offset"]), bounds[one][0]), bounds[one][1]) for one in meant}
