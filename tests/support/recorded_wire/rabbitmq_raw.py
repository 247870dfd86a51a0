"""RabbitMQ without msgbus: what rabbitmqctl lists, and messages by aiormq."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import aiormq
from aiormq import spec

from tests.support.recorded_wire.raw import Raw, bytes_of, noted, sorted_records, varied
from tests.support.servers.rabbitmq_native import RabbitmqRecipe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.recorded_wire.raw import Record

__all__ = ["RabbitmqRaw"]

EXCHANGES: Final = ("name", "type", "durable", "auto_delete", "internal", "arguments")
QUEUES: Final = ("name", "durable", "auto_delete", "exclusive", "arguments")
BINDINGS: Final = ("source_name", "destination_name", "destination_kind", "routing_key", "arguments")
PROPERTIES: Final = (
    *("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to", "expiration"),
    *("message_id", "message_type", "user_id", "app_id"),
)
SERVERS: Final = ("x-delivery-count", "x-acquired-count")
"""Headers that the server adds to what was given back to it."""


ATTEMPT: Final = r"[0-9a-f]{32}-[0-9a-f]+"
"""What a message_id of msgbus's own looks like: a name of the publisher's, and a number."""


class RabbitmqRaw(Raw):
    """Exchanges, queues and bindings; the messages of each queue, which dump() takes out of it."""

    async def dump(self) -> Record:
        exchanges, queues, bindings = [
            await self._list(f"list_{kind}", columns)
            for kind, columns in (("exchanges", EXCHANGES), ("queues", QUEUES), ("bindings", BINDINGS))
        ]
        async with self._channel() as channel:
            return {
                "exchanges": [one for one in exchanges if one["name"] and not one["name"].startswith("amq.")],
                "queues": queues,
                "bindings": [one for one in bindings if one["source_name"]],
                "messages": {one["name"]: await _taken(channel, one["name"]) for one in queues},
            }

    async def _list(self, command: str, columns: tuple[str, ...]) -> list[Record]:
        rows: list[Record] = json.loads(await self._ctl("--formatter=json", command, *columns))
        return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))

    async def restore(self, record: Record) -> None:
        async with self._channel() as channel:
            for one in record["exchanges"]:
                arguments = _arguments(one["arguments"])
                how: Any = {name: bool(one[name]) for name in ("durable", "auto_delete", "internal")}
                await channel.exchange_declare(one["name"], exchange_type=one["type"], arguments=arguments, **how)
            for one in record["queues"]:
                how = {name: bool(one[name]) for name in ("durable", "auto_delete", "exclusive")}
                await channel.queue_declare(one["name"], arguments=_arguments(one["arguments"]), **how)
            for one in record["bindings"]:
                await channel.queue_bind(one["destination_name"], one["source_name"], routing_key=one["routing_key"])
            for queue, messages in record["messages"].items():
                for message in messages:
                    properties = _properties(message)
                    await channel.basic_publish(bytes_of(message["body"]), routing_key=queue, properties=properties)

    async def held(self, queue: str) -> int:
        counts = {one["name"]: one["messages"] for one in await self._list("list_queues", ("name", "messages"))}
        return int(counts.get(queue, 0))

    @asynccontextmanager
    async def taking(self, dead_letter_queue: str) -> AsyncIterator[None]:
        async with self._channel() as channel:
            how: Any = {"x-queue-type": "classic"}
            await channel.queue_declare(f"{dead_letter_queue}.taker", exclusive=True, auto_delete=True, arguments=how)
            yield

    @staticmethod
    def comparable(record: Record) -> Record:
        return {
            **record,
            "messages": {
                queue: sorted_records(map(_comparable, messages)) for queue, messages in record["messages"].items()
            },
        }

    @staticmethod
    def headers(record: Record, queue: str) -> list[dict[str, str]]:
        return [{name: value for name, _, value in one["headers"]} for one in record["messages"][queue]]

    @staticmethod
    def unread(queue: str) -> str:
        return f"{queue}.audit"  # an exchange keeps nothing: the queue of a group that never consumed does

    async def _ctl(self, *words: str) -> str:
        recipe = self.server.recipe
        assert isinstance(recipe, RabbitmqRecipe)
        return await asyncio.to_thread(recipe.ctl, *words)

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[aiormq.abc.AbstractChannel]:
        connection = await aiormq.connect(self.server.url.replace("rabbitmq://", "amqp://"))
        try:
            yield await connection.channel()
        finally:
            await connection.close()


async def _taken(channel: aiormq.abc.AbstractChannel, queue: str) -> list[Record]:
    messages: list[Record] = []
    while True:
        got = await channel.basic_get(queue, no_ack=True)
        if not isinstance(got.delivery, spec.Basic.GetOk):
            return messages
        properties = got.header.properties
        stamp = properties.timestamp
        messages.append(
            {
                "exchange": got.delivery.exchange,
                "routing_key": got.delivery.routing_key,
                "properties": {
                    **{name: value for name in PROPERTIES if (value := getattr(properties, name)) is not None},
                    **({} if stamp is None else {"timestamp": int(stamp.timestamp())}),
                },
                "headers": [_header(name, value) for name, value in (properties.headers or {}).items()],
                "body": noted(got.body),
            }
        )


def _header(name: str, value: Any) -> tuple[str, str, Any]:
    """Its name, AMQP's kind of the value as the client tells it, and the value."""
    if isinstance(value, str):
        return name, "str", noted(value.encode())
    if isinstance(value, bytes | bytearray):
        return name, type(value).__name__, noted(value)
    return name, type(value).__name__, value


def _arguments(listed: Any) -> dict[str, Any]:
    """As rabbitmqctl lists them: an object, or a list of name, type and value."""
    if isinstance(listed, dict):
        return dict(listed)
    return {name: value for name, _, value in listed}


def _properties(message: Record) -> spec.Basic.Properties:
    """The same again, without what the server had added."""
    plain = dict(message["properties"])
    if "timestamp" in plain:
        plain["timestamp"] = datetime.fromtimestamp(plain["timestamp"], UTC)
    return spec.Basic.Properties(
        headers={name: _value(kind, value) for name, kind, value in message["headers"] if name not in SERVERS}, **plain
    )


def _value(kind: str, value: Any) -> Any:
    match kind:
        case "str":
            return bytes_of(value).decode()
        case "bytes" | "bytearray":
            return bytearray(bytes_of(value))
    return value


def _comparable(message: Record) -> Record:
    headers = [(name, kind, value) for name, kind, value in message["headers"] if name not in SERVERS]
    words = varied((name, value) for name, _, value in headers)
    return {
        **message,
        "properties": _of_server(message["properties"], {name: value for name, _, value in headers}),
        "headers": [(name, kind, word) for (name, kind, _), (_, word) in zip(headers, words, strict=True)],
    }


def _of_server(properties: Record, headers: dict[str, Any]) -> Record:
    told = dict(properties)
    if told.get("timestamp") == int(headers.get("msgbus-time", "0")) // 1000:
        told["timestamp"] = "<msgbus-time in whole seconds>"
    if re.fullmatch(ATTEMPT, told.get("message_id", "")):
        told["message_id"] = "<drawn for each try>"
    return told
