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

__all__ = ["broker_url", "reach"]

_T = TypeVar("_T")


def broker_url(url: str) -> str:
    """Return the broker's URL: that of ``--url``, else MSGBUS_URL. Raise ConfigurationError where there is none."""
    try:
        return url or configured_url()
    except ConfigurationError:
        raise ConfigurationError(
            "which broker? say --url, or set MSGBUS_URL, for example to redis://localhost"
        ) from None


def reach(
    url: str, group: str | None, work: Callable[[Broker], Coroutine[Any, Any, _T]], *, memory: bool = False
) -> _T:
    """Run ``work`` with a broker, and return its result.

    Args:
        url: The broker's URL; empty: MSGBUS_URL.
        group: Default group of the broker; None where the command is about no group.
        work: What to do.
        memory: Whether ``memory://`` is allowed, which is a server in this process only.

    Raises:
        ConfigurationError: There is no URL, or an empty group.
    """

    async def inside() -> _T:
        if group is not None and not group:
            raise ConfigurationError("which group? say --group, or set MSGBUS_GROUP")
        where = broker_url(url)
        if where.startswith("memory:") and not memory:
            raise ConfigurationError("memory:// exists only in the process that uses it: look at it there, by the API")
        broker = connect(where, group=group)
        try:
            return await work(broker)
        finally:
            await broker.close()

    return asyncio.run(inside())
