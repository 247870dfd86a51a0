"""Diagnosis of a RabbitMQ server, as far as AMQP can tell."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from aio_pika import Message

from msgbus.adapter.diagnostics import Diagnosis, Finding
from msgbus.errors import AccessRefused, BrokerUnavailable
from msgbus_rabbitmq.aio_pika_internals.blocked import decode_reason, why_blocked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from msgbus_rabbitmq.connection.connection import AmqpConnection

__all__ = ["diagnose", "findings"]

MIN_VERSION: Final = (3, 10)
"""The first version whose quorum queues dead-letter at least once."""
CONFIRM_TIMEOUT_SECONDS: Final = 2.0
"""Seconds to wait for the confirmation of a message that is routed to no queue."""
PUBLISH_REFUSED_FINDING: Final = Finding(
    "error",
    "this user may not write to the default exchange, by which retries and dead letters are published",
    "let its write permission match amq.default: see docs/how-to/secure-the-connection.md",
)


async def diagnose(connection: AmqpConnection) -> Diagnosis:
    """Implement :meth:`Adapter.diagnose`.

    ``connection`` is used for nothing else, since a server short of memory stops reading from it.
    """
    client = await connection.ensure_connected()
    told = {name: decode_reason(value) for name, value in client.server_properties.items()}
    found = [*findings(told), *[one async for one in _find_alarms(connection)]]
    return Diagnosis(
        f"{told.get('product', 'RabbitMQ')} {told.get('version', '')} at {connection.servers}", tuple(found)
    )


def findings(told: Mapping[str, str]) -> Iterator[Finding]:
    """Find what endangers the guarantees in ``told``, the server's properties. Pure."""
    version = told.get("version", "")
    known = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    if known and tuple(known) < MIN_VERSION:
        yield Finding(
            "error", f"version {version} is too old: it loses what it dead-letters", "use RabbitMQ 3.10 or later"
        )


async def _find_alarms(connection: AmqpConnection) -> AsyncIterator[Finding]:
    """Find alarms by publishing: the server tells them only to a connection that publishes.

    The messages are routed to no queue and dropped.
    """
    channel = await connection.channel(confirms=True)
    name = f"msgbus.doctor.{secrets.token_hex(8)}"
    try:
        for _ in range(2):  # a blocking server may still confirm the first one
            publish = channel.default_exchange.publish(Message(b""), name, mandatory=False)
            await connection.bounded(publish, f"{connection.where}: publishing", CONFIRM_TIMEOUT_SECONDS)
    except AccessRefused:
        yield PUBLISH_REFUSED_FINDING
    except BrokerUnavailable:
        if not (reason := await why_blocked(await connection.ensure_connected())):
            raise
        yield Finding(
            "error",
            f"the server takes no publishes: {reason}",
            "give it memory or disk, or let groups catch up; rabbitmq-diagnostics alarms shows more",
        )
