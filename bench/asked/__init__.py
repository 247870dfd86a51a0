"""What the server itself says, asked by its raw client: the same question for everybody who is measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Sequence


class Asked(Protocol):
    """A module of this package; `lying` is a queue as the server calls it."""

    async def left(self, url: str, lying: str) -> int:
        """Messages that the server does not know to be acknowledged by the group, handed out ones included."""

    async def sweep(self, url: str, queues: Sequence[str]) -> None:
        """Delete these queues of ours, raw or msgbus's with all that belongs to them; what is not there is no error."""


GROUP = "g"
"""The group of every figure."""


def asked(broker: str) -> Asked:
    """Who knows how to ask; imported only where it is needed."""
    return cast("Asked", import_module(f"bench.asked.{broker}_"))
