"""What lies on the server: names, the arguments that never change, and their declaration."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from pamqp.common import FieldValue

from msgbus.errors import QueueConflict, QueueNotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiormq.abc import AbstractChannel

    from msgbus.adapter import QueueSpec
    from msgbus.adapter.address import Address
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

# Arguments can never change: another value is 406 for everyone who declares the old one. The limits are set because
# 4.x has 20 by default and then drops; -1 makes 3.10 destroy a message at its first give-back.
_KEPT: Final[Arguments] = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}
_GROUP: Final[Arguments] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": 1000,
    "x-dead-letter-exchange": "",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",  # what at-least-once asks for; nothing limits the length
}


def server_queue(address: Address, group: str) -> str:
    """The quorum queue that members of ``group`` read for ``address``."""
    return str(address) if address.part else f"{address.queue}.{group}"


def dead_letter_queue(address: Address, group: str) -> str:
    """Where the group's own dead letters lie, and those that the server makes."""
    return f"{address.queue}.{group}.dlq"


def check_spec(spec: QueueSpec) -> None:
    """Raise Unsupported for what RabbitMQ cannot honour."""
    refused = {
        "partitions": spec.partitions is not None,
        "retention": spec.retention is not None,
        "compact": spec.compact,
        "native": bool(spec.native),
    }
    if wrong := [f"{name}=" for name, given in refused.items() if given]:
        raise Unsupported(f"queue {str(spec.address)!r}: RabbitMQ cannot honour {' and '.join(wrong)}; leave it out")


async def create_queues(link: AmqpConnection, specs: Sequence[QueueSpec]) -> None:
    """Make these queues and their groups on one short-lived channel. Raises QueueConflict."""

    async def work(channel: AbstractChannel) -> None:
        for spec in specs:
            await _create(channel, spec)

    await link.on_temporary_channel(
        f"{link.where}: cannot create {', '.join(str(spec.address) for spec in specs)}", work
    )


async def _create(channel: AbstractChannel, spec: QueueSpec) -> None:
    if spec.address.part:
        await channel.queue_declare(str(spec.address), durable=True, arguments=dict(_KEPT))
        return
    await channel.exchange_declare(spec.address.queue, exchange_type="topic", durable=True)
    for group in spec.groups:
        await _group(channel, spec.address, group)


async def _group(channel: AbstractChannel, address: Address, group: str) -> None:
    letters = dead_letter_queue(address, group)
    # First the place for what the server gives up on, so that there is no moment without one.
    await channel.queue_declare(letters, durable=True, arguments=dict(_KEPT))
    name = server_queue(address, group)
    await channel.queue_declare(name, durable=True, arguments={**_GROUP, "x-dead-letter-routing-key": letters})
    await channel.queue_bind(name, address.queue, routing_key="#")


async def queue_exists(link: AmqpConnection, address: Address) -> bool:
    """There is something to publish to or to consume at ``address``; asked on a channel of its own."""

    async def work(channel: AbstractChannel) -> None:
        if address.part:
            await channel.queue_declare(str(address), passive=True)
        else:
            await channel.exchange_declare(address.queue, passive=True)

    try:
        await link.on_temporary_channel(f"{link.where}: cannot look for queue {str(address)!r}", work)
    except QueueNotFound:
        return False
    return True


async def declare_group(link: AmqpConnection, address: Address, group: str) -> list[QueueConflict]:
    """Make the group where it is missing. What exists in another shape is to be used as it is; the conflicts."""

    async def work(channel: AbstractChannel) -> None:
        await _group(channel, address, group)

    if address.part:
        return []
    try:
        await link.on_temporary_channel(f"{link.where}: group {group!r} of queue {address.queue!r}", work)
    except QueueConflict:
        return await _declare_separately(link, address, group)
    return []


async def _declare_separately(link: AmqpConnection, address: Address, group: str) -> list[QueueConflict]:
    """The same in pieces, each on a channel of its own, as a conflict closes it."""
    name, letters = server_queue(address, group), dead_letter_queue(address, group)
    declared = {letters: _KEPT, name: {**_GROUP, "x-dead-letter-routing-key": letters}}
    conflicts: list[QueueConflict] = []
    for queue, arguments in declared.items():
        try:
            await link.on_temporary_channel(
                f"{link.where}: queue {queue!r}", partial(_declare, queue=queue, arguments=arguments)
            )
        except QueueConflict as conflict:
            conflicts.append(conflict)
    doing = f"{link.where}: group {group!r} of queue {address.queue!r}"
    await link.on_temporary_channel(doing, lambda channel: channel.queue_bind(name, address.queue, routing_key="#"))
    return conflicts


async def _declare(channel: AbstractChannel, queue: str, arguments: Arguments) -> None:
    await channel.queue_declare(queue, durable=True, arguments=dict(arguments))


async def declare_passive(link: AmqpConnection, queue: str) -> tuple[int, int]:
    """Messages of the server's ``queue`` that nobody has, and its consumers. Raises QueueNotFound."""
    declared = await link.on_temporary_channel(
        f"{link.where}: cannot count queue {queue!r}",
        lambda channel: channel.queue_declare(queue, passive=True),
    )
    return declared.message_count or 0, declared.consumer_count or 0


async def ready_messages(link: AmqpConnection, address: Address, group: str) -> int:
    """Messages that no member of the group has; 0 where the group is not there yet. Raises QueueNotFound."""
    if not await queue_exists(link, address):
        raise QueueNotFound(f"queue {str(address)!r} does not exist: create_queue() makes it")
    try:
        return (await declare_passive(link, server_queue(address, group)))[0]
    except QueueNotFound:
        return 0
