"""Signals: the first SIGTERM or SIGINT begins the drain, the second ends its grace."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

__all__ = ["until_told_to_stop"]

logger = logging.getLogger("msgbus")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def until_told_to_stop(
    stop: asyncio.Event, end_grace: Callable[[], None], close: Callable[[], Awaitable[None]]
) -> None:
    """Wait for a signal or for ``stop``, then ``close()``; a second signal calls ``end_grace()`` meanwhile.

    Where an event loop accepts no signal handlers (Windows, or not the main thread), Ctrl-C raises KeyboardInterrupt.
    """

    def received(name: str) -> None:
        if stop.is_set():
            logger.warning("%s again: cancelling the callbacks that still run", name)
            end_grace()
        else:
            logger.info("%s: finishing in-flight messages, then stopping; send it again to stop at once", name)
            stop.set()

    installed = list(_install(received))
    try:
        await stop.wait()
        await close()
    finally:
        for number in installed:
            asyncio.get_running_loop().remove_signal_handler(number)


def _install(received: Callable[[str], None]) -> Iterator[signal.Signals]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        try:
            loop.add_signal_handler(number, received, number.name)
        except (NotImplementedError, RuntimeError, ValueError):
            continue
        yield number
