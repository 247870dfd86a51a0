"""OffsetFetch guard: an error of the group coordinator is not taken for a group that has no commits.

aiokafka 0.14 negotiates OffsetFetch v3. Its error for the whole group is a field of the response, with an empty list of
topics; aiokafka never reads that field. After a broker's restart a partition started at 0 instead of its committed
offset (10 of 10 with assign(), 1 of 8 with subscribe() when the restart fell between SyncGroup and OffsetFetch). An
unexpected error of one partition (15, 7) is raised from every getmany() indefinitely.

Test: test_client_defects.py, "commits that cannot be told yet are never taken for none". Remove when aiokafka
checks the error code of OffsetFetch v2 and later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.errors import for_code
from aiokafka.protocol.commit import OffsetFetchRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from collections.abc import Set as AbstractSet

    from msgbus_kafka.client_types.consumer import ConsumerClient, Coordinator
    from msgbus_kafka.client_types.network import Response

__all__ = ["install_offset_fetch_guard", "offset_fetch_error"]

RETRY_INTERVAL_SECONDS: Final = 0.1
_MOVED: Final = frozenset({15, 16})  # the coordinator is another one, or not known yet
_LOADING: Final = 14
_LATER: Final = frozenset({7, 14, 15, 16})


def offset_fetch_error(response: Response) -> int:
    """Return the error code of an OffsetFetch response without offsets; 0 if it has offsets."""
    code: int = getattr(response, "error_code", 0)
    if code:
        return code
    codes = {partition[3] for _, partitions in response.topics for partition in partitions}
    return next(iter(codes & _LATER), 0)


def install_offset_fetch_guard(
    consumer: ConsumerClient,
    pending: Callable[[Coordinator, AbstractSet[str]], Awaitable[bool]],
    on_response: Callable[[Response], None],
) -> None:
    """Install the guard, after start() and before subscribe().

    Args:
        consumer: An AIOKafkaConsumer.
        pending: Called with topics that have partitions without a commit; returns whether to ask again later.
        on_response: Called with every response that aiokafka gets.
    """
    coordinator = consumer._coordinator
    send = coordinator._send_req

    async def guarded(request: object) -> Response:
        response = await send(request)
        if not isinstance(request, OffsetFetchRequest):
            return response
        code = offset_fetch_error(response)
        if not code and (unknown := _without_commit(response)) and await pending(coordinator, unknown):
            code = _LOADING
        if not code:
            on_response(response)
            return response
        if code in _MOVED:
            coordinator.coordinator_dead()
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)
        # aiokafka asks again after a retriable error. RequestTimedOut (7) is one; as an error of a partition it is not.
        raise for_code(code)

    coordinator._send_req = guarded
    _observe_commits(coordinator)


def _without_commit(response: Response) -> set[str]:
    return {topic for topic, rows in response.topics if any(offset < 0 for _, offset, *_ in rows)}


def _observe_commits(coordinator: Coordinator) -> None:
    """Retrieve the exception of commits that were given up: they continue behind aiokafka's shield."""
    commit = coordinator._do_commit_offsets

    def looked_at(assignment: object, offsets: object) -> asyncio.Future[object]:
        task = asyncio.ensure_future(commit(assignment, offsets))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    coordinator._do_commit_offsets = looked_at
