"""What a RabbitMQ server is and suffers from, as far as AMQP can tell."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from msgbus.adapter.diagnostics import Diagnosis, Finding
from msgbus.errors import AccessRefused, BrokerUnavailable
from msgbus_rabbitmq.aiormq_internals.blocked import decode_reason, why_blocked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from msgbus_rabbitmq.connection.connection import AmqpConnection

__all__ = ["diagnose", "findings"]

MIN_VERSION: Final = (3, 10)
"""Quorum queues that dead-letter at least once."""
CONFIRM_TIMEOUT_SECONDS: Final = 2.0
"""Seconds for the confirmation of one message that goes nowhere."""
PUBLISH_REFUSED_FINDING: Final = Finding(
    "error",
    "this user may not write to the default exchange, by which retries and dead letters are published",
    "let its write permission match amq.default: see docs/security.md",
)


async def diagnose(link: AmqpConnection) -> Diagnosis:
    """See Adapter; ``link`` is one of its own, since a server short of memory stops reading from it."""
    connection = await link.ensure_connected()
    told = {name: decode_reason(value) for name, value in connection.server_properties.items()}
    found = [*findings(told), *[one async for one in _published(link)]]
    return Diagnosis(f"{told.get('product', 'RabbitMQ')} {told.get('version', '')} at {link.servers}", tuple(found))


def findings(told: Mapping[str, str]) -> Iterator[Finding]:
    """What endangers the promise, by what the server tells of itself. Pure."""
    version = told.get("version", "")
    known = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    if known and tuple(known) < MIN_VERSION:
        yield Finding(
            "error", f"version {version} is too old: it loses what it dead-letters", "use RabbitMQ 3.10 or later"
        )


async def _published(link: AmqpConnection) -> AsyncIterator[Finding]:
    """Who publishes is told of alarms. What is published is routed to no queue, and gone."""
    channel = await link.channel(confirms=True)
    name = f"msgbus.doctor.{secrets.token_hex(8)}"
    try:
        for _ in range(2):  # the first may be confirmed still, and the next is read no more
            publish = channel.basic_publish(b"", exchange="", routing_key=name, mandatory=False)
            await link.bounded(publish, f"{link.where}: publishing", CONFIRM_TIMEOUT_SECONDS)
    except AccessRefused:
        yield PUBLISH_REFUSED_FINDING
    except BrokerUnavailable:
        if not (reason := await why_blocked(await link.ensure_connected())):
            raise
        yield Finding(
            "error",
            f"the server takes no publishes: {reason}",
            "give it memory or disk, or let groups catch up; rabbitmq-diagnostics alarms shows more",
        )
