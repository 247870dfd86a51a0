"""Sentinels: who is the primary of a service now, asked before every connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Sentinels"]

PATIENCE: Final = 1.0
"""Seconds for one sentinel's answer: the next may know."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Some of the sentinels that watch ``service``; one that answers is enough."""

    service: str
    hosts: Sequence[tuple[str, int]]

    def __str__(self) -> str:
        return f"service {self.service} by sentinels {','.join(f'{host}:{port}' for host, port in self.hosts)}"

    async def primary(self) -> tuple[str, int]:
        """Where the primary is. Raises redis-py's ConnectionError when no sentinel says so."""
        said: list[str] = []
        for host, port in self.hosts:
            try:
                async with asyncio.timeout(PATIENCE):
                    answer = await self._ask(host, port)
            except (RedisError, OSError) as error:
                said.append(f"{host}:{port}: {str(error) or 'no answer'}")
                continue
            if answer is not None:
                return answer[0].decode(), int(answer[1])
            said.append(f"{host}:{port} does not know it")
        raise Unreachable(f"no sentinel knows the primary of service {self.service} ({'; '.join(said)})")

    async def _ask(self, host: str, port: int) -> Any:
        connection = Connection(host=host, port=port, protocol=2, driver_info=None)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
            return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
