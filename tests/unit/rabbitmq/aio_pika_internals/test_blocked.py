"""The reason why RabbitMQ has blocked a connection."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import aiormq

from msgbus_rabbitmq.aio_pika_internals.blocked import why_blocked


async def test_a_blocked_rabbitmq_connection_is_known_without_its_reason_too() -> None:
    """Where the client's handler, in which the reason is heard, has another name."""
    unblocked = asyncio.Event()
    connection = cast("Any", SimpleNamespace(ready=unblocked.wait))
    assert await why_blocked(connection) == "it does not say why"
    connection.blocked_by = "low on disk"
    assert await why_blocked(connection) == "low on disk"
    unblocked.set()
    assert not await why_blocked(connection)
    assert "_Connection__handle_connection_blocked" in vars(aiormq.Connection), "the reason is heard there"
