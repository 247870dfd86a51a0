"""Concurrent callbacks, for libraries that leave them to their user."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

T = TypeVar("T")


class Crowd:
    """Runs at most ``at_once`` callbacks at a time; 1 is a plain loop without tasks."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once

    async def each(self, work: Callable[[T], Awaitable[None]], things: Iterable[T]) -> None:
        """Run ``work`` for each thing; return when all is done. Raises the first error."""
        if self._at_once == 1:
            for thing in things:
                await work(thing)
        else:
            left = iter(things)
            async with asyncio.TaskGroup() as group:
                for _ in range(self._at_once):
                    group.create_task(_worker(work, left))


async def _worker(work: Callable[[T], Awaitable[None]], left: Iterable[T]) -> None:
    for thing in left:
        await work(thing)
