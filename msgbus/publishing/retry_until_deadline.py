"""Publishing until a deadline: the adapter tries once, this repeats what may be repeated, and every call ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgbus.adapter.timeouts import wait_for_event
from msgbus.errors import BrokerUnavailable, PublishUnknown
from msgbus.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from msgbus.adapter import Adapter
    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError

__all__ = ["publish_until_deadline"]

_RETRY_BACKOFF: Final = Backoff(first=0.05, most=2.0)


async def publish_until_deadline(  # noqa: PLR0913, PLR0917 - what Link has in hand
    adapter: Adapter,
    messages: Sequence[Outgoing],
    results: Sequence[BrokerError | None],
    end: float,
    random: Random,
    over: asyncio.Event,
) -> list[BrokerError | None]:
    """One verdict for each of ``messages``, in order, at ``end`` (in the event loop's time) at the latest.

    ``answers`` are those of the first try. BrokerUnavailable is repeated with the same id while time is left, and until
    ``over`` is set: another try would connect again. At the end it is PublishUnknown for a message that an earlier try
    may have brought to the server.
    """
    now = asyncio.get_running_loop().time
    verdicts = list(results)
    uncertain: set[int] = set()
    pending: Sequence[int] = range(len(messages))
    failures = 0
    while True:
        failed: list[int] = []
        for i, verdict in zip(pending, results, strict=True):
            verdicts[i] = verdict
            if isinstance(verdict, BrokerUnavailable):
                failed.append(i)
                if verdict.uncertain:
                    uncertain.add(i)
        if not failed:
            return verdicts
        failures += 1
        pause = _RETRY_BACKOFF.wait(failures, random.random())
        if now() + pause >= end or await wait_for_event(pause, over):
            return [_final(messages[i], verdict, i in uncertain) for i, verdict in enumerate(verdicts)]
        pending = failed
        results = await adapter.publish([messages[i] for i in pending], max(end - now(), 0.0))


def _final(message: Outgoing, verdict: BrokerError | None, uncertain: bool) -> BrokerError | None:
    if not isinstance(verdict, BrokerUnavailable):
        return verdict
    if not uncertain:
        return BrokerUnavailable(f"queue {message.address}: not published before the end: {verdict}")
    unknown = PublishUnknown(
        f"queue {message.address}: message {message.id} may have arrived; publishing it again with the same id is safe "
        f"for callbacks that recognise ids ({verdict})"
    )
    unknown.__cause__ = verdict
    return unknown
