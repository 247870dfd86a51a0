"""What a group's coordinator is asked, until it can answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.protocol.coordination import FindCoordinatorRequest

from msgbus.errors import AccessRefused, BrokerUnavailable
from msgbus_kafka.admin.groups import COORDINATOR_ATTEMPTS, COORDINATOR_RETRY_SECONDS, committed_offsets

LOADING, MOVED, REFUSED = 14, 16, 30


class Cluster:
    """Answers with some error codes, then with offset 7 of partition 0."""

    def __init__(self, *codes: int, finding: tuple[int, ...] = ()) -> None:
        self.codes, self.finding = list(codes), list(finding)
        self.asked = 0

    async def send(self, request: Any, node: int | None = None) -> Any:
        if isinstance(request, FindCoordinatorRequest):
            code = self.finding.pop(0) if self.finding else 0
            return SimpleNamespace(error_code=code, coordinator_id=3)
        assert node == 3
        self.asked += 1
        code = self.codes.pop(0) if self.codes else 0
        return SimpleNamespace(error_code=code, topics=[("q", [(0, 7, "", 0)])])


async def ask(cluster: Cluster) -> dict[int, int]:
    return await committed_offsets(cluster, "q", [0], "g")  # type: ignore[arg-type]  # what is used of it


async def test_a_coordinator_that_is_loading_is_asked_again(slept: list[float]) -> None:
    cluster = Cluster(LOADING, MOVED, finding=(15,))
    assert await ask(cluster) == {0: 7}
    assert slept == [COORDINATOR_RETRY_SECONDS] * 3
    assert cluster.asked == 3


async def test_one_that_never_has_loaded_is_unavailable_in_the_end(slept: list[float]) -> None:
    cluster = Cluster(*[LOADING] * 1000)
    with pytest.raises(BrokerUnavailable, match="queue q, group g"):
        await ask(cluster)
    assert cluster.asked == COORDINATOR_ATTEMPTS
    assert len(slept) == COORDINATOR_ATTEMPTS - 1


async def test_a_refusal_is_an_answer(slept: list[float]) -> None:
    cluster = Cluster(LOADING, REFUSED)
    with pytest.raises(AccessRefused):
        await ask(cluster)
    assert (cluster.asked, len(slept)) == (2, 1)


async def test_an_error_of_the_connection_is_not_repeated_here(slept: list[float]) -> None:
    gone = BrokerUnavailable("gone")

    class Gone(Cluster):
        async def send(self, request: Any, node: int | None = None) -> Any:
            del request, node
            raise gone

    cluster = Gone()
    with pytest.raises(BrokerUnavailable) as raised:
        await ask(cluster)
    assert raised.value is gone
    assert slept == []
