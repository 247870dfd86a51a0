"""Discovery of a service's primary: the sentinels are asked before every connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ConnectionError as Unreachable

from msgbus.errors import AccessRefused
from msgbus_redis.connection.server import disconnect
from msgbus_redis.errors import CLIENT_ERRORS, translate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus_redis.connection.server import ServerAddress

__all__ = ["Sentinels"]

SENTINEL_TIMEOUT_SECONDS: Final = 1.0
"""Seconds that one sentinel may take to answer, before the next is asked."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Sentinels that watch ``service``. One that answers is enough."""

    service: str
    addresses: Sequence[ServerAddress]

    def __str__(self) -> str:
        return f"service {self.service} by sentinels {','.join(f'{one.host}:{one.port}' for one in self.addresses)}"

    async def primary(self) -> tuple[str, int]:
        """Return the primary's host and port, from the first sentinel that knows them.

        Raises:
            RedisError: ConnectionError where no sentinel knows the primary, or the error of one that refuses the login.
        """
        said: list[str] = []
        refused: Exception | None = None
        for sentinel in self.addresses:
            try:
                async with asyncio.timeout(SENTINEL_TIMEOUT_SECONDS):
                    answer = await self._ask(sentinel)
            except CLIENT_ERRORS as error:
                if isinstance(translate(error, ""), AccessRefused):
                    refused = error
                said.append(f"{sentinel.host}:{sentinel.port}: {str(error) or 'no answer'}")
                continue
            if answer is not None:
                return answer[0].decode(), int(answer[1])
            said.append(f"{sentinel.host}:{sentinel.port} does not know it")
        if refused is not None:
            raise refused
        raise Unreachable(f"no sentinel knows the primary of service {self.service} ({'; '.join(said)})")

    async def _ask(self, sentinel: ServerAddress) -> Any:
        connection = sentinel.make_connection()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
            return await connection.read_response()
        finally:
            await disconnect(connection)
