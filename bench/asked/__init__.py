"""Questions to a server by its raw client: what is left, for every contender in the same way."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Sequence


class Asked(Protocol):
    """A module of this package. `lying` is the server's own name of a queue."""

    async def left(self, url: str, lying: str) -> int:
        """Count the messages that the group has not acknowledged, those in flight included."""

    async def sweep(self, url: str, queues: Sequence[str]) -> None:
        """Delete these queues and the queues that msgbus made for them; one that does not exist is ignored."""


GROUP = "g"
"""The group that consumes in every figure."""


def asked(broker: str) -> Asked:
    """Import and return the module for a broker."""
    return cast("Asked", import_module(f"bench.asked.{broker}_"))
