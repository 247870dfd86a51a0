"""Connection of a command to its broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from msgbus.errors import ConfigurationError
from msgbus.registry import connect
from msgbus.settings import configured_url

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from msgbus.broker import Broker

__all__ = ["reach"]

_T = TypeVar("_T")


def reach(url: str, group: str, work: Callable[[Broker], Coroutine[Any, Any, _T]], *, memory: bool = False) -> _T:
    """Run ``work`` with a broker, and return its result.

    Args:
        url: The broker's URL; empty: MSGBUS_URL.
        group: Default group of the broker.
        work: What to do.
        memory: Whether ``memory://`` is allowed, which is a server in this process only.
    """

    async def inside() -> _T:
        where = url or configured_url()
        if where.startswith("memory:") and not memory:
            raise ConfigurationError("memory:// exists only in the process that uses it: look at it there, by the API")
        broker = connect(where, group=group)
        try:
            return await work(broker)
        finally:
            await broker.close()

    return asyncio.run(inside())
