"""Redis without msgbus: every key under the prefix, by redis-py."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis

from tests.support.recorded_wire.raw import Raw, bytes_of, noted, sorted_records, varied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.recorded_wire.raw import Header, Record

__all__ = ["RedisRaw"]

PREFIX: Final = "msgbus"
LONG_AGO: Final = 3_600_000
"""Milliseconds: longer than any visibility, so that what a member left behind is taken over at once."""


class RedisRaw(Raw):
    """Streams as their entries, groups and pending entries; hashes as their fields."""

    async def dump(self) -> Record:
        async with self._client() as redis:
            keys = sorted(await redis.keys("*"))
            return {"keys": {noted(key): await self._key(redis, key) for key in keys}}

    async def _key(self, redis: Any, key: bytes) -> Record:
        kind = (await redis.type(key)).decode()
        about: Record = {"type": kind, "expires": await redis.ttl(key) >= 0}
        if kind == "stream":
            about["entries"] = [
                {"entry": id.decode(), "fields": [(noted(name), noted(value)) for name, value in fields.items()]}
                for id, fields in await redis.xrange(key)
            ]
            about["groups"] = {
                noted(group["name"]): await self._group(redis, key, group) for group in await redis.xinfo_groups(key)
            }
        elif kind == "hash":
            about["fields"] = {noted(name): noted(value) for name, value in (await redis.hgetall(key)).items()}
        else:
            about["value"] = noted(await redis.get(key))
        return about

    @staticmethod
    async def _group(redis: Any, key: bytes, group: Any) -> Record:
        pending = await redis.xpending_range(key, group["name"], "-", "+", 1000) if group["pending"] else []
        return {
            "last": group["last-delivered-id"].decode(),
            "pending": [{"entry": one["message_id"].decode(), "consumer": one["consumer"].decode()} for one in pending],
        }

    async def restore(self, record: Record) -> None:
        async with self._client() as redis:
            for key, about in record["keys"].items():
                if about["type"] == "hash":
                    await redis.hset(key, mapping={name: bytes_of(text) for name, text in about["fields"].items()})
                elif about["type"] == "stream":
                    await _restore_stream(redis, key, about)
                if about["expires"]:
                    await redis.expire(key, 3600)

    async def held(self, queue: str) -> int:
        async with self._client() as redis:
            return int(await redis.xlen(_stream(queue)))

    @asynccontextmanager
    async def taking(self, dead_letter_queue: str) -> AsyncIterator[None]:
        async with self._client() as redis:
            lock = f"{PREFIX}:taker:{{{dead_letter_queue}}}"
            await redis.set(lock, "somebody else", px=60_000)
            yield
            await redis.delete(lock)

    @staticmethod
    def comparable(record: Record) -> Record:
        return {key: _comparable(about) for key, about in record["keys"].items()}

    @staticmethod
    def headers(record: Record, queue: str) -> list[dict[str, str]]:
        found = []
        for entry in record["keys"][_stream(queue)]["entries"]:
            fields = dict(entry["fields"])
            found.append({**json.loads(fields["headers"]), "msgbus-id": fields["id"], "msgbus-time": fields["time"]})
        return found

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Any]:
        client = Redis.from_url(self.server.url)
        try:
            yield client
        finally:
            await client.aclose()


def _stream(queue: str) -> str:
    return f"{PREFIX}:{{{queue}}}"


async def _restore_stream(redis: Any, key: str, about: Record) -> None:
    """With the ids it had; of each group what it has read, and what it has read and not acknowledged."""
    for entry in about["entries"]:
        words = [part for name, value in entry["fields"] for part in (bytes_of(name), bytes_of(value))]
        await redis.execute_command("XADD", key, entry["entry"], *words)
    for group, state in about["groups"].items():
        await redis.execute_command("XGROUP", "CREATE", key, group, state["last"], "MKSTREAM")
        for one in state["pending"]:
            await redis.xclaim(
                *(key, group, one["consumer"], 0, [one["entry"]]), idle=LONG_AGO, retrycount=1, force=True, justid=True
            )
    if not about["entries"] and not about["groups"]:
        await redis.execute_command("XGROUP", "CREATE", key, "somebody", "0", "MKSTREAM")
        await redis.execute_command("XGROUP", "DESTROY", key, "somebody")


def _comparable(about: Record) -> Record:
    if about["type"] != "stream":
        return about
    places = [entry["entry"] for entry in about["entries"]]
    return {
        "expires": about["expires"],
        "entries": sorted_records(_entry(entry["fields"]) for entry in about["entries"]),
        "groups": {
            name: {
                # Entry ids are times: how many entries come after what the group has read.
                "unread": sum(_place(one) > _place(state["last"]) for one in places),
                "pending": sorted(one["consumer"] for one in state["pending"]),
            }
            for name, state in about["groups"].items()
        },
    }


def _place(entry: str) -> tuple[int, int]:
    time, _, number = entry.partition("-")
    return int(time), int(number)


def _entry(fields: list[Header]) -> list[Any]:
    """Id, time and the headers, which are the text of a JSON object, with words for what varies."""
    pairs = varied((f"msgbus-{name}" if name in {"id", "time"} else name, value) for name, value in fields)
    told: list[Any] = [(name.removeprefix("msgbus-"), value) for name, value in pairs]
    time = dict(fields).get("time")
    return [(name, _headers(value, time) if name == "headers" else value) for name, value in told]


def _headers(text: str, time: Any) -> Any:
    headers = json.loads(text)
    if json.dumps(headers) != text:
        return text  # not written as it was
    return varied([*headers.items(), ("msgbus-time", time)])[:-1]
