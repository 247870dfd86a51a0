"""Queue provisioner: creates a group's retry queues and dead-letter queue before the group consumes a queue."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from msgbus.consuming.retry_intake import RetryIntake
from msgbus.errors import BrokerError, BrokerUnavailable, QueueConflict
from msgbus.failure.retry_queues import group_queues, retry_tiers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import Adapter, QueueSpec
    from msgbus.adapter.address import Address
    from msgbus.consuming.worker_pool import WorkerPool

__all__ = ["QueueProvisioner"]

logger = logging.getLogger("msgbus")

Outcome = dict["Address", RetryIntake] | BrokerError
"""The retry intakes of a pool, or why its queue cannot be consumed."""


class QueueProvisioner:
    """Creates the queues of one group beside each queue that it consumes, once."""

    def __init__(self, adapter: Adapter, group: str) -> None:
        self._adapter = adapter
        self._group = group
        self._conflicts: set[Address] = set()
        """Queues that exist with other settings, which the log has reported."""

    async def provision(self, fresh: Sequence[WorkerPool]) -> dict[WorkerPool, Outcome]:
        """Create the group's queues beside the queues of ``fresh`` that exist, so that failures have a place to go.

        Returns:
            For each pool its retry intakes, or the error of its queue: QueueNotFound, or what the server refuses. One
            queue's error concerns no other.

        Raises:
            BrokerUnavailable: There is no connection, or it broke.
            AccessRefused: The server refuses the login.
        """
        checks = await asyncio.gather(*map(self._check, fresh))
        refused = {pool: error for pool, error in zip(fresh, checks, strict=True) if error is not None}
        if there := [pool for pool in fresh if pool not in refused]:
            refused |= await self._create_for(there)
        if any(isinstance(error, BrokerUnavailable) for error in refused.values()):
            await self._adapter.ping()  # it raises where the error is the connection's and no queue's
        return {
            pool: refused.get(pool)
            or {address: RetryIntake(address, pool) for address in retry_tiers(pool.subscription.queue, self._group)}
            for pool in fresh
        }

    async def _check(self, pool: WorkerPool) -> BrokerError | None:
        """Return why the queue of ``pool`` cannot be consumed, as far as its lag tells."""
        try:
            await self._adapter.lag(pool.subscription.address, self._group)
        except BrokerError as error:
            return error
        return None

    async def _create_for(self, pools: Sequence[WorkerPool]) -> dict[WorkerPool, BrokerError]:
        """Create the queues of all ``pools`` together; those of each pool alone if that is refused.

        Returns:
            The pools whose queues cannot be created, each with its error.
        """
        try:
            await self._create([spec for pool in pools for spec in group_queues(pool.subscription.queue, self._group)])
        except BrokerError as error:
            if len(pools) == 1:
                return {pools[0]: error}
            if isinstance(error, BrokerUnavailable):
                await self._adapter.ping()
            alone = await asyncio.gather(*(self._create_for([pool]) for pool in pools))
            return {pool: error for refused in alone for pool, error in refused.items()}
        return {}

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
