"""A command's way to its broker."""

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
    """What ``work`` returns of the broker behind ``url``, or MSGBUS_URL; with ``memory`` it may be this process."""

    async def inside() -> _T:
        where = url or configured_url()
        if where.startswith("memory:") and not memory:
            raise ConfigurationError("memory:// lives in the process that uses it: look from there, by the API")
        broker = connect(where, group=group)
        try:
            return await work(broker)
        finally:
            await broker.close()

    return asyncio.run(inside())
