"""Listening to handover signals over a scripted connection."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as Lost
from redis.exceptions import NoPermissionError

from msgbus_redis.consumer.handover_signal import RETRY_INTERVAL_SECONDS, HandoverSignal

if TYPE_CHECKING:
    import pytest


class Connection:
    """Raises or returns each of its answers, then blocks."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.connected = 0
        self.idle = asyncio.Event()

    async def ready(self) -> bool:
        self.connected += 1
        return True

    async def run(self, commands: list[tuple[str, ...]], within: float) -> list[Any]:
        del commands, within
        if not self.answers:
            self.idle.set()
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Lost):
            raise answer
        return [answer]

    async def close(self) -> None:
        return


def signal(*answers: Any) -> tuple[HandoverSignal, Connection, list[bytes]]:
    heard = list[bytes]()
    client: Any = SimpleNamespace(address=SimpleNamespace(make_connection=lambda: None))
    one = HandoverSignal(client, b"signal", heard.append)
    one._connection = connection = Connection(*answers)  # type: ignore[assignment]  # what is used of it
    return one, connection, heard


async def test_after_a_lost_connection_it_listens_again_and_misses_nothing(slept: list[float]) -> None:
    entries = [[b"signal", [[b"1-1", [b"stream", b"q"]]]]]
    one, connection, heard = signal([[b"1-0", []]], Lost("gone"), Lost("gone"), entries, Lost("gone"))
    one.start()
    await asyncio.wait_for(connection.idle.wait(), 5)
    assert heard == [b"q"]
    assert slept == [RETRY_INTERVAL_SECONDS] * 3
    assert one._last == b"1-1"
    await one.close()


async def test_a_refusal_ends_it_with_one_warning(slept: list[float], caplog: pytest.LogCaptureFixture) -> None:
    one, connection, _ = signal(Lost("gone"), NoPermissionError("no access to key"))
    one.start()
    assert one._task is not None
    await asyncio.wait_for(one._task, 5)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "grant the user this key" in caplog.text
    assert (connection.connected, slept) == (2, [RETRY_INTERVAL_SECONDS])
