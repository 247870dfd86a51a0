"""Queues that cannot be made beside one queue concern that queue alone."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest

from msgbus.adapter.address import Address
from msgbus.consuming.outcome_sink import OutcomeSink
from msgbus.consuming.provisioning import QueueProvisioner
from msgbus.consuming.worker_pool import WorkerPool
from msgbus.errors import AccessRefused, BrokerError, BrokerUnavailable, QueueNotFound
from msgbus.subscription import Subscription
from tests.support.scripted_adapter import ScriptedAdapter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import Lag, QueueSpec


class Server(ScriptedAdapter):
    """Refuses what ``checking`` and ``creating`` have, by the name of the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.checking: dict[str, BrokerError] = {}
        self.creating: dict[str, BrokerError] = {}
        self.down: BrokerError | None = None
        self.batches = 0

    async def lag(self, address: Address, group: str) -> Lag:
        if (error := self.checking.get(address.queue)) is not None:
            raise error
        return await super().lag(address, group)

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        for spec in specs:
            if (error := self.creating.get(spec.address.queue)) is not None:
                raise error
        self.batches += 1
        await super().create_queues(specs)

    async def ping(self) -> str:
        if self.down is not None:
            raise self.down
        return ""


async def _callback(_: object) -> None:
    return


def pools(*names: str) -> list[WorkerPool]:
    owner, outcomes = cast("Any", None), OutcomeSink(ScriptedAdapter(), "g", Random(1))
    return [
        WorkerPool(Subscription(Address(name), "g", _callback, 1), owner, outcomes, Random(1), lambda: 0.0)
        for name in names
    ]


async def provisioned(server: Server, *names: str) -> dict[str, object]:
    outcome = await QueueProvisioner(server, "g").provision(pools(*names))
    return {pool.subscription.queue: one for pool, one in outcome.items()}


@pytest.mark.parametrize("error", [AccessRefused("no right"), QueueNotFound("missing"), BrokerUnavailable("no leader")])
async def test_a_queue_that_cannot_be_checked_is_refused_alone(error: BrokerError) -> None:
    server = Server()
    server.checking["ill"] = error
    found = await provisioned(server, "well", "ill", "other")
    assert found["ill"] is error
    assert isinstance(found["well"], dict)
    assert isinstance(found["other"], dict)
    assert not any("ill" in one for one in server.asked if one.startswith("create"))


@pytest.mark.parametrize(
    "error", [AccessRefused("no right"), BrokerError("the policy"), BrokerUnavailable("no leader")]
)
async def test_a_queue_whose_retry_queues_cannot_be_created_is_refused_alone(error: BrokerError) -> None:
    server = Server()
    server.creating["ill"] = error
    found = await provisioned(server, "well", "ill", "other")
    assert found["ill"] is error
    assert isinstance(found["well"], dict)
    assert isinstance(found["other"], dict)


@pytest.mark.parametrize("where", ["checking", "creating"])
async def test_a_connection_that_is_gone_is_no_queues_error(where: str) -> None:
    server = Server()
    getattr(server, where)["ill"] = BrokerUnavailable("gone")
    server.down = BrokerUnavailable("the connection is gone")
    with pytest.raises(BrokerUnavailable, match="the connection"):
        await provisioned(server, "well", "ill")


async def test_the_queues_of_all_that_are_well_are_created_together() -> None:
    server = Server()
    await provisioned(server, "a", "b", "c")
    assert server.batches == 1
