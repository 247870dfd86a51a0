"""Errors in responses to OffsetFetch that aiokafka 0.14 ignores."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from msgbus_kafka.aiokafka_internals.offset_fetch import install_offset_fetch_guard, offset_fetch_error


def offsets(*codes: int, error: int = 0) -> Any:
    rows = [(number, 50, "", code) for number, code in enumerate(codes)]
    return SimpleNamespace(error_code=error, topics=[("t", rows)] if rows else [])


@pytest.mark.parametrize(
    ("response", "code"), [(offsets(0, 0), 0), (offsets(error=16), 16), (offsets(0, 14), 14), (offsets(3, 0), 0)]
)
def test_an_offset_fetch_that_says_nothing_is_recognised(response: Any, code: int) -> None:
    assert offset_fetch_error(response) == code


async def nothing_pending(_: object, topics: object) -> bool:
    del topics
    return False


async def test_the_guard_lets_other_requests_pass() -> None:
    async def send(request: object) -> object:
        return request

    coordinator = SimpleNamespace(_send_req=send, _do_commit_offsets=send)
    install_offset_fetch_guard(SimpleNamespace(_coordinator=coordinator), nothing_pending, lambda _: None)
    assert await coordinator._send_req("heartbeat") == "heartbeat"


async def test_the_guard_makes_aiokafka_ask_again() -> None:
    from aiokafka.errors import NotCoordinatorForGroupError
    from aiokafka.protocol.commit import OffsetFetchRequest

    dead: list[bool] = []

    async def send(_: object) -> object:
        return offsets(error=16)

    coordinator = SimpleNamespace(_send_req=send, _do_commit_offsets=send, coordinator_dead=lambda: dead.append(True))
    install_offset_fetch_guard(SimpleNamespace(_coordinator=coordinator), nothing_pending, lambda _: None)
    with pytest.raises(NotCoordinatorForGroupError) as caught:
        await coordinator._send_req(OffsetFetchRequest("g", []))
    assert caught.value.retriable
    assert dead == [True]
