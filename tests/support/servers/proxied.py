"""A network that can break, in front of a native server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgbus.testing import Proxy

from .native import NativeServer
from .ports import LOOPBACK


@asynccontextmanager
async def proxied(server: NativeServer) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of `server`, and its msgbus URL through that proxy. Not for a secured Kafka; one at a time."""
    behind, front = server.recipe.behind_proxy
    async with Proxy(LOOPBACK, behind, listen=front) as proxy:
        yield proxy, server.url.replace(f"{LOOPBACK}:{server.recipe.port}", f"{LOOPBACK}:{proxy.port}")
