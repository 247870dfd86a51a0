"""Retries of a publish: the adapter tries once; this repeats what may be repeated, until the deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgbus.adapter.timeouts import wait_for_event
from msgbus.backoff import Backoff
from msgbus.errors import BrokerUnavailable, PublishUnknown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from msgbus.adapter import Adapter
    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError

__all__ = ["publish_until_deadline"]

_RETRY_BACKOFF: Final = Backoff(first=0.05, most=2.0)


async def publish_until_deadline(  # noqa: PLR0913, PLR0917 - the state of one publish call
    adapter: Adapter,
    messages: Sequence[Outgoing],
    results: Sequence[BrokerError | None],
    end: float,
    random: Random,
    over: asyncio.Event,
) -> list[BrokerError | None]:
    """Repeat a publish until every message has a final result, or until ``end``.

    A message with BrokerUnavailable is published again with the same id. At the end it becomes PublishUnknown if an
    earlier try may have reached the server.

    Args:
        adapter: Publishes.
        messages: The messages of the call.
        results: Their results of the first try.
        end: When to stop, in the event loop's time.
        random: Source of the chance in the backoff.
        over: Set when the broker is closed: another try would connect again.

    Returns:
        One publish result for each message, in order.
    """
    now = asyncio.get_running_loop().time
    final = list(results)
    uncertain: set[int] = set()
    pending: Sequence[int] = range(len(messages))
    failures = 0
    while True:
        failed: list[int] = []
        for i, result in zip(pending, results, strict=True):
            final[i] = result
            if isinstance(result, BrokerUnavailable):
                failed.append(i)
                if result.uncertain:
                    uncertain.add(i)
        if not failed:
            return final
        failures += 1
        pause = _RETRY_BACKOFF.wait(failures, random.random())
        if now() + pause >= end or await wait_for_event(pause, over):
            return [_final(messages[i], result, i in uncertain) for i, result in enumerate(final)]
        pending = failed
        results = await adapter.publish([messages[i] for i in pending], max(end - now(), 0.0))


def _final(message: Outgoing, result: BrokerError | None, uncertain: bool) -> BrokerError | None:
    if not isinstance(result, BrokerUnavailable):
        return result
    if not uncertain:
        return BrokerUnavailable(f"queue {message.address}: not published before the deadline: {result}")
    unknown = PublishUnknown(
        f"queue {message.address}: message {message.id} may have arrived; publishing it again with the same id is safe "
        f"for callbacks that recognise ids ({result})"
    )
    unknown.__cause__ = result
    return unknown
