"""Positions in a stream, a stretch of it, and moving a group: entry ids begin with the time, so a time is one too."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from msgbus.adapter import HistoryReader
from msgbus.adapter.envelope import Delivery
from msgbus.errors import ConfigurationError, GroupActive, QueueNotFound
from msgbus_redis.codec import decode_message
from msgbus_redis.errors import translate
from msgbus_redis.lua import REWIND, script_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import Position
    from msgbus.adapter.address import Address
    from msgbus_redis.connection.pool import ConnectionPool

__all__ = ["RedisHistoryReader", "id_before", "lowest_id", "newest_id", "rewind"]

MAX_ID_PART: Final = 2**64 - 1
"""Of both halves of an entry id."""
_ID: Final = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,18}))?", re.ASCII)


def lowest_id(address: Address, position: Position) -> str:
    """The lowest id that ``position`` takes in. Raises ConfigurationError."""
    if isinstance(position, datetime):
        return f"{max(0, round(position.timestamp() * 1000))}-0"
    if position in {"oldest", "newest"}:
        return "0-0" if position == "oldest" else f"{MAX_ID_PART}-{MAX_ID_PART}"
    if (found := _ID.fullmatch(position)) is None:
        raise ConfigurationError(f"queue {address}: {position!r} is no position in it: say oldest, newest or 1700-0")
    return f"{found[1]}-{found[2] or 0}"


def id_before(identity: str) -> str:
    """The id just below ``identity``."""
    milliseconds, number = map(int, identity.split("-"))
    if number:
        return f"{milliseconds}-{number - 1}"
    return f"{milliseconds - 1}-{MAX_ID_PART}" if milliseconds else "0-0"


async def rewind(  # noqa: PLR0913, PLR0917 - see Adapter.rewind
    client: ConnectionPool, key: bytes, keeper: str, heard: float, address: Address, group: str, to: Position
) -> None:
    """See Adapter.rewind. A consumer that was heard of within ``heard`` seconds is a member."""
    behind = "$" if to == "newest" else id_before(lowest_id(address, to))
    doing = f"queue {address}: rewinding group {group}"
    (reply,) = await client.run([script_command(REWIND, key, (group, behind, keeper, int(heard * 1000)))], doing)
    raise_refusal(reply, client, address, doing)
    if reply:
        names = ", ".join(name.decode() for name in reply)
        raise GroupActive(f"{doing}: it has members ({names}); stop them first, or wait until they are given up")


async def newest_id(client: ConnectionPool, key: bytes, address: Address) -> str:
    """The newest id that the stream ever had. Raises QueueNotFound."""
    doing = f"queue {address}: looking at its history"
    (reply,) = await client.run([("XINFO", "STREAM", key)], doing)
    raise_refusal(reply, client, address, doing)
    return str(dict(zip(reply[::2], reply[1::2], strict=True))[b"last-generated-id"].decode())


def raise_refusal(reply: Any, client: ConnectionPool, address: Address, doing: str) -> None:
    """Raise ours where ``reply`` is an error."""
    if isinstance(reply, ResponseError):
        if "no such key" in str(reply):
            raise QueueNotFound(f"queue {address} does not exist: create_queue() makes it")
        raise translate(reply, f"{client.address}: {doing}")


class RedisHistoryReader(HistoryReader):
    """The stream between two ids, both inclusive."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it is made of
        self, client: ConnectionPool, key: bytes, address: Address, group: str, begin: str, end: str
    ) -> None:
        self._client = client
        self._key = key
        self._address = address
        self._group = group
        self._from = begin
        self._end = end

    async def read(self, limit: int) -> Sequence[Delivery]:
        """See HistoryReader."""
        doing = f"queue {self._address}: reading its history"
        page = await self._client.run_one(("XRANGE", self._key, self._from, self._end, "COUNT", limit), doing)
        if page:
            self._from = "(" + page[-1][0].decode()
        return [self._delivery(identity, fields) for identity, fields in page]

    async def close(self) -> None:
        """See HistoryReader: nothing is held."""

    def _delivery(self, identity: bytes, fields: Sequence[bytes]) -> Delivery:
        made = decode_message(self._address, self._group, identity, fields, redelivered=False)
        return Delivery(made, self._address, self, identity)
