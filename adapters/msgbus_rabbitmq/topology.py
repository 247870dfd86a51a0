"""Exchanges and queues on the server: their names, their arguments and their declaration.

A queue of msgbus is a topic exchange; a group is a quorum queue bound to it. Retry and dead-letter queues are quorum
queues without a binding.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from aio_pika import ExchangeType
from pamqp.common import FieldValue

from msgbus.errors import QueueConflict, QueueNotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import QueueSpec
    from msgbus.adapter.address import Address
    from msgbus_rabbitmq.aio_pika_internals import Channel
    from msgbus_rabbitmq.connection.connection import AmqpConnection

__all__ = [
    "check_spec",
    "create_queues",
    "dead_letter_queue",
    "declare_group",
    "declare_passive",
    "queue_exists",
    "ready_messages",
    "server_queue",
]

Arguments = dict[str, FieldValue]

# Arguments of an existing queue cannot change: declaring it with another value fails with 406 (PRECONDITION_FAILED).
# x-delivery-limit is set because RabbitMQ 4 drops a message after 20 deliveries by default. The value -1 makes 3.10
# destroy a message when it is given back for the first time.
_DURABLE_ARGUMENTS: Final[Arguments] = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}
_GROUP_ARGUMENTS: Final[Arguments] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": 1000,
    "x-dead-letter-exchange": "",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",  # required by at-least-once; the length is not limited
}
ANY_ROUTING_KEY: Final = "#"
"""Binding key by which a group gets every message of its queue."""


def server_queue(address: Address, group: str) -> str:
    """Return the name of the quorum queue that members of ``group`` consume for ``address``."""
    return str(address) if address.part else f"{address.queue}.{group}"


def dead_letter_queue(address: Address, group: str) -> str:
    """Return the name of the group's dead-letter queue, for dead letters of msgbus and of the server."""
    return f"{address.queue}.{group}.dlq"


def check_spec(spec: QueueSpec) -> None:
    """Raise Unsupported for settings that RabbitMQ does not have."""
    refused = {
        "partitions": spec.partitions is not None,
        "retention": spec.retention is not None,
        "compact": spec.compact,
        "native": bool(spec.native),
    }
    if wrong := [f"{name}=" for name, given in refused.items() if given]:
        raise Unsupported(f"queue {str(spec.address)!r}: RabbitMQ cannot honour {' and '.join(wrong)}; leave it out")


async def create_queues(connection: AmqpConnection, specs: Sequence[QueueSpec]) -> None:
    """Create queues and their groups on a temporary channel. Raises QueueConflict."""

    async def work(channel: Channel) -> None:
        for spec in specs:
            await _create(channel, spec)

    await connection.on_temporary_channel(
        f"{connection.where}: cannot create {', '.join(str(spec.address) for spec in specs)}", work
    )


async def _create(channel: Channel, spec: QueueSpec) -> None:
    if spec.address.part:
        await channel.declare_queue(str(spec.address), durable=True, arguments=dict(_DURABLE_ARGUMENTS))
        return
    await channel.declare_exchange(spec.address.queue, ExchangeType.TOPIC, durable=True)
    for group in spec.groups:
        await _declare_group(channel, spec.address, group)


async def _declare_group(channel: Channel, address: Address, group: str) -> None:
    dead_letters = dead_letter_queue(address, group)
    # The dead-letter queue comes first, so that it exists before the server can dead-letter a message.
    await channel.declare_queue(dead_letters, durable=True, arguments=dict(_DURABLE_ARGUMENTS))
    queue = await channel.declare_queue(
        server_queue(address, group),
        durable=True,
        arguments={**_GROUP_ARGUMENTS, "x-dead-letter-routing-key": dead_letters},
    )
    await queue.bind(address.queue, ANY_ROUTING_KEY)


async def queue_exists(connection: AmqpConnection, address: Address) -> bool:
    """Tell whether the exchange or queue of ``address`` exists, on a temporary channel."""

    async def work(channel: Channel) -> None:
        if address.part:
            await channel.get_queue(str(address))
        else:
            await channel.get_exchange(address.queue)

    try:
        await connection.on_temporary_channel(f"{connection.where}: cannot check queue {str(address)!r}", work)
    except QueueNotFound:
        return False
    return True


async def declare_group(connection: AmqpConnection, address: Address, group: str) -> list[QueueConflict]:
    """Create the group if it is missing; return the conflicts with what exists, which is used as it is."""

    async def work(channel: Channel) -> None:
        await _declare_group(channel, address, group)

    if address.part:
        return []
    try:
        await connection.on_temporary_channel(f"{connection.where}: group {group!r} of queue {address.queue!r}", work)
    except QueueConflict:
        return await _declare_separately(connection, address, group)
    return []


async def _declare_separately(connection: AmqpConnection, address: Address, group: str) -> list[QueueConflict]:
    """Do the same in steps, each on a channel of its own, since a conflict closes the channel."""
    name, dead_letters = server_queue(address, group), dead_letter_queue(address, group)
    declared = {dead_letters: _DURABLE_ARGUMENTS, name: {**_GROUP_ARGUMENTS, "x-dead-letter-routing-key": dead_letters}}
    conflicts: list[QueueConflict] = []
    for queue, arguments in declared.items():
        try:
            await connection.on_temporary_channel(
                f"{connection.where}: queue {queue!r}", partial(_declare, queue=queue, arguments=arguments)
            )
        except QueueConflict as conflict:
            conflicts.append(conflict)

    async def bind(channel: Channel) -> None:
        await (await channel.get_queue(name, ensure=False)).bind(address.queue, ANY_ROUTING_KEY)

    await connection.on_temporary_channel(f"{connection.where}: group {group!r} of queue {address.queue!r}", bind)
    return conflicts


async def _declare(channel: Channel, queue: str, arguments: Arguments) -> None:
    await channel.declare_queue(queue, durable=True, arguments=dict(arguments))


async def declare_passive(connection: AmqpConnection, queue: str) -> tuple[int, int]:
    """Return the number of ready messages of the server's ``queue`` and of its consumers. Raises QueueNotFound."""
    there = await connection.on_temporary_channel(
        f"{connection.where}: cannot count queue {queue!r}", lambda channel: channel.get_queue(queue)
    )
    counts = there.declaration_result
    return counts.message_count or 0, counts.consumer_count or 0


async def ready_messages(connection: AmqpConnection, address: Address, group: str) -> int:
    """Return the number of messages that no member of the group has; 0 if the group does not exist yet.

    Raises QueueNotFound.
    """
    if not await queue_exists(connection, address):
        raise QueueNotFound(f"queue {str(address)!r} does not exist: create_queue() makes it")
    try:
        return (await declare_passive(connection, server_queue(address, group)))[0]
    except QueueNotFound:
        return 0
