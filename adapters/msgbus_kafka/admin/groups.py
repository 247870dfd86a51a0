"""Groups as their coordinator sees them: committed offsets, members, and commits from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from tenacity import retry_if_exception_type, stop_after_attempt, wait_fixed

from msgbus.adapter import Lag
from msgbus.adapter.retrying import call_repeatedly
from msgbus.errors import GroupActive
from msgbus_kafka.admin.offsets import log_bounds
from msgbus_kafka.aiokafka_internals.offset_fetch import offset_fetch_error
from msgbus_kafka.errors import error_for_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from msgbus_kafka.admin.client import AdminClient
    from msgbus_kafka.admin.topics import Topics
    from msgbus_kafka.client_types.network import Response
    from msgbus_kafka.client_types.records import Row

__all__ = ["commit_offsets", "committed_offsets", "group_members", "lag"]

COORDINATOR_ATTEMPTS: Final = 50
COORDINATOR_RETRY_SECONDS: Final = 0.1
"""Seconds between tries: a new coordinator loads its offsets first (14, 15, 16)."""
_LATER: Final = frozenset({7, 14, 15, 16})
_OCCUPIED: Final = frozenset({22, 25, 27})
"""Errors of a commit from outside in a group with members: Kafka takes it for a stale commit of a member."""


class CoordinatorNotReady(Exception):
    """The group's coordinator is loading its offsets, or another broker becomes the coordinator."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def committed_offsets(cluster: AdminClient, name: str, partitions: Iterable[int], group: str) -> dict[int, int]:
    """Return the committed offsets of ``group`` in topic ``name``; a partition without a commit is absent."""
    # aiokafka's own list_consumer_group_offsets() does not look at the error, and says {} while the coordinator loads.
    request = OffsetFetchRequest(group, [(name, sorted(partitions))])
    answer = await _ask(cluster, group, request, offset_fetch_error, f"queue {name}, group {group}")
    return {partition: offset for _, rows in answer.topics for partition, offset, *_ in rows if offset >= 0}


async def commit_offsets(cluster: AdminClient, name: str, group: str, offsets: Mapping[int, int]) -> None:
    """Commit from outside, in one step. The coordinator accepts it only for a group without members.

    Raises GroupActive, naming the members.
    """
    rows = [(partition, offset, "") for partition, offset in sorted(offsets.items())]
    request = OffsetCommitRequest(group, -1, "", -1, [(name, rows)])
    doing = f"queue {name}, group {group}"
    answer = await _ask(cluster, group, request, _commit_error, doing, known=_OCCUPIED)
    if _commit_error(answer):
        raise GroupActive(
            f"{doing}: it has members ({', '.join(await group_members(cluster, group))}); stop them first"
        )


async def group_members(cluster: AdminClient, group: str) -> Sequence[str]:
    """Return client id and host of each member of ``group``."""
    answer = await _ask(cluster, group, DescribeGroupsRequest([group]), lambda it: it.groups[0][0], f"group {group}")
    return [f"{member[0]} at {_host(member)}" for member in answer.groups[0][5]]


def _host(member: Row) -> str:
    # Version 4 puts the static member's name between the two.
    return next(str(text) for text in member[1:4] if str(text).startswith("/"))


def _commit_error(answer: Response) -> int:
    return next((code for _, rows in answer.topics for _, code in rows if code), 0)


async def _ask(  # noqa: PLR0913, PLR0917 - one question and all that can be said about its answer
    cluster: AdminClient,
    group: str,
    request: object,
    error: Callable[[Any], int],
    doing: str,
    known: frozenset[int] = frozenset(),
) -> Any:
    """Return the coordinator's answer, without an error or with one of ``known``; retry while it is loading."""

    async def ask() -> Any:
        coordinator = await cluster.send(FindCoordinatorRequest(group, 0))
        code = coordinator.error_code
        if not code:
            answer = await cluster.send(request, coordinator.coordinator_id)
            code = error(answer)
            if not code or code in known:
                return answer
        raise CoordinatorNotReady(code) if code in _LATER else error_for_code(code, None, doing)

    try:
        return await call_repeatedly(
            ask,
            wait=wait_fixed(COORDINATOR_RETRY_SECONDS),
            retry=retry_if_exception_type(CoordinatorNotReady),
            stop=stop_after_attempt(COORDINATOR_ATTEMPTS),
        )
    except CoordinatorNotReady as not_ready:
        raise error_for_code(not_ready.code, None, doing) from None


async def lag(cluster: AdminClient, topics: Topics, name: str, group: str) -> Lag:
    """Implement :meth:`Adapter.lag`.

    Messages that are acknowledged but not committed yet (200 ms at most) still count.
    """
    leaders = (await topics.state(name)).leaders
    bounds = await log_bounds(cluster, name, leaders)
    done = await committed_offsets(cluster, name, leaders, group)
    behind = {at: max(0, end - max(done.get(at, 0), kept)) for at, (kept, end) in bounds.items()}
    return Lag(sum(behind.values()), behind)
