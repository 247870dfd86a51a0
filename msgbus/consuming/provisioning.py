"""A group's own queues beside each that it consumes: those for retries and for dead letters, made before it begins."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from msgbus.consuming.retry_intake import RetryIntake
from msgbus.errors import QueueConflict, QueueNotFound
from msgbus.failure.retry_queues import group_queues, retry_tiers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import Adapter, QueueSpec
    from msgbus.adapter.address import Address
    from msgbus.consuming.worker_pool import WorkerPool

__all__ = ["QueueProvisioner"]

logger = logging.getLogger("msgbus")


class QueueProvisioner:
    """Makes them, once for each queue."""

    def __init__(self, adapter: Adapter, group: str) -> None:
        self._adapter = adapter
        self._group = group
        self._conflicts: set[Address] = set()
        """Those that exist in another shape, which was told."""

    async def provision(self, fresh: Sequence[WorkerPool]) -> dict[WorkerPool, dict[Address, RetryIntake]]:
        """Those of every queue of ``fresh`` that exists, and the heads of each: nothing fails before they do.

        Raises what the adapter raises, but no QueueConflict.
        """
        there = [
            workers
            for workers, exists in zip(fresh, await asyncio.gather(*map(self._exists, fresh)), strict=True)
            if exists
        ]
        specs = [spec for workers in there for spec in group_queues(workers.subscription.queue, self._group)]
        if specs:
            await self._create(specs)
        return {
            workers: {
                address: RetryIntake(address, workers)
                for address in retry_tiers(workers.subscription.queue, self._group)
            }
            for workers in there
        }

    async def _create(self, specs: Sequence[QueueSpec]) -> None:
        """Together; where one exists in another shape one by one: that one is told of, once, and used as it is."""
        try:
            await self._adapter.create_queues(specs)
        except QueueConflict as conflict:
            if len(specs) > 1:
                for spec in specs:
                    await self._create([spec])
            elif specs[0].address not in self._conflicts:
                self._conflicts.add(specs[0].address)
                logger.warning("group %s: %s; it is used as it is", self._group, conflict)

    async def _exists(self, workers: WorkerPool) -> bool:
        try:
            await self._adapter.lag(workers.subscription.address, self._group)
        except QueueNotFound:
            return False
        return True
