"""Case of the CPU that a message costs in the core's own code, when it is published and consumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.cases.case import drain, fill
from bench.sampler import Sampler
from bench.work import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.cases.case import Job


async def cpu_by_owner(job: Job) -> None:
    """Sample publish_many() of all messages, then the backlog with an empty callback, from beginning to end."""
    with Sampler() as publishing:
        await fill(job)
    with Sampler() as consuming:
        await drain(job, Tally(job.messages, job.meter))
    samplers = (publishing, consuming)
    published, consumed = (_each(one.spent(), job.messages) for one in samplers)
    for whose in sorted({"core", *published, *consumed}):
        job.extra[f"{whose} µs"] = published.get(whose, 0.0) + consumed.get(whose, 0.0)
    job.extra["samples"] = sum(publishing.samples.values()) + sum(consuming.samples.values())
    job.extra["core µs publishing"] = published.get("core", 0.0)
    for one in samplers:
        for function, each in _each(one.spent_in_core(), job.messages).items():
            job.profile[function] = job.profile.get(function, 0.0) + each
    job.tell(job.extra["core µs"], "core µs a message")


def _each(seconds: Mapping[str, float], messages: int) -> dict[str, float]:
    return {what: spent / messages * 1e6 for what, spent in seconds.items()}
