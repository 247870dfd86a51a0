"""Sentinels: who is the primary of a service now, asked before every connection."""

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
"""Seconds for one sentinel's answer: the next may know."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Some of the sentinels that watch ``service``; one that answers is enough."""

    service: str
    addresses: Sequence[ServerAddress]

    def __str__(self) -> str:
        return f"service {self.service} by sentinels {','.join(f'{one.host}:{one.port}' for one in self.addresses)}"

    async def primary(self) -> tuple[str, int]:
        """Where the primary is. Raises redis-py's errors: a refusal, or ConnectionError where no sentinel says so."""
        said: list[str] = []
        refused: Exception | None = None
        for place in self.addresses:
            try:
                async with asyncio.timeout(SENTINEL_TIMEOUT_SECONDS):
                    answer = await self._ask(place)
            except CLIENT_ERRORS as error:
                if isinstance(translate(error, ""), AccessRefused):
                    refused = error
                said.append(f"{place.host}:{place.port}: {str(error) or 'no answer'}")
                continue
            if answer is not None:
                return answer[0].decode(), int(answer[1])
            said.append(f"{place.host}:{place.port} does not know it")
        if refused is not None:
            raise refused
        raise Unreachable(f"no sentinel knows the primary of service {self.service} ({'; '.join(said)})")

    async def _ask(self, place: ServerAddress) -> Any:
        connection = place.make_connection()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
            return await connection.read_response()
        finally:
            await disconnect(connection)
