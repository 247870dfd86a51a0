"""Queue provisioner: creates a group's retry queues and dead-letter queue before the group consumes a queue."""

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
    """Creates the queues of one group beside each queue that it consumes, once."""

    def __init__(self, adapter: Adapter, group: str) -> None:
        self._adapter = adapter
        self._group = group
        self._conflicts: set[Address] = set()
        """Queues that exist with other settings, which the log has reported."""

    async def provision(self, fresh: Sequence[WorkerPool]) -> dict[WorkerPool, dict[Address, RetryIntake]]:
        """Create the group's queues beside the queues of ``fresh`` that exist, so that failures have a place to go.

        Raises what the adapter raises, except QueueConflict.

        Returns:
            The retry intakes of each pool whose queue exists.
        """
        there = [
            pool for pool, exists in zip(fresh, await asyncio.gather(*map(self._exists, fresh)), strict=True) if exists
        ]
        specs = [spec for pool in there for spec in group_queues(pool.subscription.queue, self._group)]
        if specs:
            await self._create(specs)
        return {
            pool: {address: RetryIntake(address, pool) for address in retry_tiers(pool.subscription.queue, self._group)}
            for pool in there
        }

    async def _create(self, specs: Sequence[QueueSpec]) -> None:
        """Create queues together; singly if one of them exists with other settings: log that one once, and use it."""
        try:
            await self._adapter.create_queues(specs)
        except QueueConflict as conflict:
            if len(specs) > 1:
                for spec in specs:
                    await self._create([spec])
            elif specs[0].address not in self._conflicts:
                self._conflicts.add(specs[0].address)
                logger.warning("group %s: %s; msgbus uses the queue as it is", self._group, conflict)

    async def _exists(self, pool: WorkerPool) -> bool:
        try:
            await self._adapter.lag(pool.subscription.address, self._group)
        except QueueNotFound:
            return False
        return True
