"""Faults of the four brokers' servers. Only servers that these tests started are restarted or get access rules."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.url import BrokerURL
from msgbus.errors import AccessRefused
from msgbus.testing import NotOffered, ServerFaults
from msgbus_memory.server import server as memory
from msgbus_rabbitmq.topology import server_queue
from tests.support.servers import NativeServer, kafka_acls
from tests.support.servers.rabbitmq_native import RabbitmqRecipe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from msgbus.adapter.address import Address
    from msgbus.errors import BrokerError
    from tests.support.servers.server import Server

__all__ = ["KafkaFaults", "MemoryFaults", "RabbitmqFaults", "RedisFaults"]


class MemoryFaults(ServerFaults):
    """A server in this process."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def restart(self) -> None:
        """Implement :meth:`ServerFaults.restart`."""
        raise NotOffered("restarting memory, which lives and ends with its process")

    @asynccontextmanager
    async def unwritable(self, address: Address) -> AsyncGenerator[None]:
        """Implement :meth:`ServerFaults.unwritable`.

        Its verdict.
        """
        there = memory(self._name)
        publish = there.publish

        def refusing(messages: Sequence[Outgoing]) -> list[BrokerError | None]:
            told = [AccessRefused("told to") if one.address == address else None for one in messages]
            verdicts = iter(publish([one for one, refusal in zip(messages, told, strict=True) if refusal is None]))
            return [refusal or next(verdicts) for refusal in told]

        with patch.object(there, "publish", refusing):
            yield

    @asynccontextmanager
    async def unreadable(self, address: Address, group: str) -> AsyncGenerator[None]:
        """Implement :meth:`ServerFaults.unreadable`."""
        there = memory(self._name)
        there.refuse(address, AccessRefused(f"queue {address}, group {group}: told to refuse it"))
        try:
            yield
        finally:
            there.refuse(address, None)

    async def inject(self, address: Address, body: bytes, headers: Mapping[str, bytes]) -> None:
        """Implement :meth:`ServerFaults.inject`."""
        now = int(time.time() * 1000)
        memory(self._name).publish([Outgoing(address, secrets.token_hex(4), now, body, None, _text(headers))])


class _Ours(ServerFaults):
    """A real server's."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def native(self) -> NativeServer:
        """The server, if it is ours; else NotOffered."""
        if not isinstance(self._server, NativeServer):
            raise NotOffered(f"restarting or administering a server of the {self._server.origin}")
        return self._server

    async def restart(self) -> None:
        """Implement :meth:`ServerFaults.restart`.

        In good order; tests/integration has it killed.
        """
        await asyncio.to_thread(self.native().restart)


class RedisFaults(_Ours):
    """What everybody may do, by its ACL, and its own client."""

    @asynccontextmanager
    async def unwritable(self, address: Address) -> AsyncGenerator[None]:
        """Implement :meth:`ServerFaults.unwritable`.

        XADD is allowed for every key but this.
        """
        async with self._denied("xadd", address):
            yield

    @asynccontextmanager
    async def unreadable(self, address: Address, group: str) -> AsyncGenerator[None]:
        """Implement :meth:`ServerFaults.unreadable`.

        XREADGROUP is allowed for every key but this.
        """
        del group
        async with self._denied("xreadgroup", address):
            yield

    @asynccontextmanager
    async def _denied(self, command: str, address: Address) -> AsyncGenerator[None]:
        self.native()
        allowed = " ".join(f"~{pattern}" for pattern in _all_but(f"msgbus:{{{address}}}"))
        await self._user(f"-{command}", f"(+{command} {allowed})")
        try:
            yield
        finally:
            await self._user("clearselectors", f"+{command}")

    async def inject(self, address: Address, body: bytes, headers: Mapping[str, bytes]) -> None:
        """Implement :meth:`ServerFaults.inject`."""
        named = json.dumps(_text(headers))
        await self._ask("XADD", f"msgbus:{{{address}}}", "*", "body", body, "headers", named)

    async def _user(self, *rules: str) -> None:
        await self._ask("ACL", "SETUSER", "default", *rules)

    async def _ask(self, *words: str | bytes) -> None:
        from redis.asyncio import Redis

        async with Redis.from_url(self._server.url) as redis:
            command: Any = redis.execute_command
            await command(*words)


class RabbitmqFaults(_Ours):
    """Its policies, and a channel without anything of ours."""

    @asynccontextmanager
    async def unwritable(self, address: Address) -> AsyncGenerator[None]:
        """Implement :meth:`ServerFaults.unwritable`.

        The queue is full, and says so after the first. Channels may cache permissions.
        """
        if address.part != "dlq":
            raise NotOffered(
                "a full retry queue: it is empty as long as its group consumes, so no limit makes it full, and rights "
                "are those of an exchange, which it shares with all"
            )
        full = json.dumps({"max-length": 0, "overflow": "reject-publish"})
        await self._ctl("set_policy", "--apply-to", "queues", "full", f"^{re.escape(str(address))}$", full)
        try:
            yield
        finally:
            await self._ctl("clear_policy", "full")

    @asynccontextmanager
    async def unreadable(self, address: Address, group: str) -> AsyncGenerator[None]:
        """Implement :meth:`ServerFaults.unreadable`.

        The right to read every queue but the group's.
        """
        others = f"^(?!{re.escape(server_queue(address, group))}$)"
        await self._ctl("set_permissions", "guest", ".*", ".*", others)
        try:
            yield
        finally:
            await self._ctl("set_permissions", "guest", ".*", ".*", ".*")

    async def inject(self, address: Address, body: bytes, headers: Mapping[str, bytes]) -> None:
        """Implement :meth:`ServerFaults.inject`."""
        import aiormq

        table: Any = {name: bytearray(value) for name, value in headers.items() if name != "content-type"}
        kind = headers.get("content-type", b"").decode()
        connection = await aiormq.connect(self._server.url.replace("rabbitmq://", "amqp://"))
        try:
            channel = await connection.channel()
            properties = aiormq.spec.Basic.Properties(headers=table, content_type=kind or None)
            await channel.basic_publish(body, exchange=str(address), routing_key="any.key", properties=properties)
        finally:
            await connection.close()

    async def _ctl(self, word: str, *words: str) -> None:
        recipe = self.native().recipe
        assert isinstance(recipe, RabbitmqRecipe)
        await asyncio.to_thread(recipe.ctl, word, "--vhost", "/", *words)


class KafkaFaults(_Ours):
    """Rights of everybody, who has no name here, and its own client."""

    _USER = "ANONYMOUS"

    @asynccontextmanager
    async def unwritable(self, address: Address) -> AsyncGenerator[None]:
        """Implement :meth:`ServerFaults.unwritable`.

        A right that is denied, and all others allowed, since one rule ends what nobody forbade.
        """
        async with self._denied("write", address):
            yield

    @asynccontextmanager
    async def unreadable(self, address: Address, group: str) -> AsyncGenerator[None]:
        """Implement :meth:`ServerFaults.unreadable`."""
        del group
        async with self._denied("read", address):
            yield

    @asynccontextmanager
    async def _denied(self, operation: str, address: Address) -> AsyncGenerator[None]:
        place = ("127.0.0.1", self.native().recipe.port)
        await asyncio.to_thread(kafka_acls.create, place, self._USER, [f"all topic {address}"])
        await asyncio.to_thread(kafka_acls.create, place, self._USER, [f"{operation} topic {address}"], deny=True)
        try:
            yield
        finally:
            await asyncio.to_thread(kafka_acls.delete, place, self._USER)

    async def inject(self, address: Address, body: bytes, headers: Mapping[str, bytes]) -> None:
        """Implement :meth:`ServerFaults.inject`."""
        from aiokafka import AIOKafkaProducer

        hosts = BrokerURL.parse(self._server.url).hosts
        async with AIOKafkaProducer(bootstrap_servers=[f"{host}:{port or 9092}" for host, port in hosts]) as producer:
            await producer.send_and_wait(str(address), body, headers=list(headers.items()))


def _all_but(key: str) -> list[str]:
    """Patterns that together match every key but this one."""
    letters = [re.sub(r"([\\*?\[\]])", r"\\\1", letter) for letter in key]
    before = ["".join(letters[:end]) for end in range(len(letters))]
    others = [f"{head}[^{letter}]*" for head, letter in zip(before, letters, strict=True)]
    return [*others, *(head for head in before if head), f"{key}?*"]


def _text(headers: Mapping[str, bytes]) -> dict[str, str]:
    return {name: value.decode("utf-8", "surrogateescape") for name, value in headers.items()}
