"""Positions in a stream, reading its history, and moving a group.

Entry ids begin with the time, so a time is a position, too.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from msgbus.adapter import HistoryReader
from msgbus.adapter.envelope import Delivery
from msgbus.errors import ConfigurationError, GroupActive, queue_not_found
from msgbus_redis.codec import by_name, decode_message
from msgbus_redis.errors import is_missing_stream, translate
from msgbus_redis.lua import REWIND, script_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import Position
    from msgbus.adapter.address import Address
    from msgbus_redis.connection.pool import ConnectionPool

__all__ = ["RedisHistoryReader", "id_before", "lowest_id", "newest_id", "rewind"]

MAX_ID_PART: Final = 2**64 - 1
"""Greatest number of both parts of an entry id."""
_ID: Final = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,18}))?", re.ASCII)


def lowest_id(address: Address, position: Position) -> str:
    """Return the lowest entry id of ``position``. Raises ConfigurationError."""
    if isinstance(position, datetime):
        return f"{max(0, round(position.timestamp() * 1000))}-0"
    if position in {"oldest", "newest"}:
        return "0-0" if position == "oldest" else f"{MAX_ID_PART}-{MAX_ID_PART}"
    if (found := _ID.fullmatch(position)) is None:
        raise ConfigurationError(
            f"queue {address}: {position!r} is not a position in it: give oldest, newest or an entry id such as 1700-0"
        )
    return f"{found[1]}-{found[2] or 0}"


def id_before(identity: str) -> str:
    """Return the greatest id below ``identity``."""
    milliseconds, number = map(int, identity.split("-"))
    if number:
        return f"{milliseconds}-{number - 1}"
    return f"{milliseconds - 1}-{MAX_ID_PART}" if milliseconds else "0-0"


async def rewind(  # noqa: PLR0913, PLR0917 - the arguments of Adapter.rewind, and where it is done
    client: ConnectionPool, key: bytes, keeper: str, visibility: float, address: Address, group: str, to: Position
) -> None:
    """Move a group, as :meth:`Adapter.rewind`.

    Args:
        client: Where to send the script.
        key: Key of the stream.
        keeper: The consumer name of handovers, which is not a member.
        visibility: Seconds; a consumer that sent a command within them is a member.
        address: The queue, for error texts.
        group: The group.
        to: Where it goes on.
    """
    behind = "$" if to == "newest" else id_before(lowest_id(address, to))
    doing = f"queue {address}: rewinding group {group}"
    (reply,) = await client.run([script_command(REWIND, key, (group, behind, keeper, int(visibility * 1000)))], doing)
    raise_refusal(reply, client, address, doing)
    if reply:
        names = ", ".join(name.decode() for name in reply)
        raise GroupActive(
            f"{doing}: it has members ({names}); stop them first; a dead member counts for the visibility time"
        )


async def newest_id(client: ConnectionPool, key: bytes, address: Address) -> str:
    """Return the newest id that the stream ever had. Raises QueueNotFound."""
    doing = f"queue {address}: reading its history"
    (reply,) = await client.run([("XINFO", "STREAM", key)], doing)
    raise_refusal(reply, client, address, doing)
    return str(by_name(reply)[b"last-generated-id"].decode())


def raise_refusal(reply: Any, client: ConnectionPool, address: Address, doing: str) -> None:
    """Raise a BrokerError where ``reply`` is an error."""
    if isinstance(reply, ResponseError):
        if is_missing_stream(reply):
            raise queue_not_found(address)
        raise translate(reply, f"{client.address}: {doing}")


class RedisHistoryReader(HistoryReader):
    """Reads a stream between two entry ids, both inclusive."""

    def __init__(  # noqa: PLR0913, PLR0917 - where to read and for which group
        self, client: ConnectionPool, key: bytes, address: Address, group: str, begin: str, end: str
    ) -> None:
        self._client = client
        self._key = key
        self._address = address
        self._group = group
        self._from = begin
        self._end = end

    async def read(self, limit: int) -> Sequence[Delivery]:
        """Implement :meth:`HistoryReader.read`."""
        doing = f"queue {self._address}: reading its history"
        page = await self._client.run_one(("XRANGE", self._key, self._from, self._end, "COUNT", limit), doing)
        if page:
            self._from = "(" + page[-1][0].decode()
        return [self._delivery(identity, fields) for identity, fields in page]

    async def close(self) -> None:
        """Implement :meth:`HistoryReader.close`: there is nothing to release."""

    def _delivery(self, identity: bytes, fields: Sequence[bytes]) -> Delivery:
        made = decode_message(self._address, self._group, identity, fields, redelivered=False)
        return Delivery(made, self._address, self, identity)
