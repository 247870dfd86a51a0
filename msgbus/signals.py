"""SIGTERM and SIGINT: the first begins the drain, the second ends its grace."""

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
    stop: asyncio.Event, hurry: Callable[[], None], close: Callable[[], Awaitable[None]]
) -> None:
    """Wait for a signal or for ``stop``, then ``close()``; a second signal calls ``hurry()`` meanwhile.

    Where an event loop takes no signal handlers (Windows, or not the main thread), Ctrl-C is KeyboardInterrupt as ever.
    """

    def told(name: str) -> None:
        if stop.is_set():
            logger.warning("%s again: not waiting any longer", name)
            hurry()
        else:
            logger.info("%s: finishing what is in hand", name)
            stop.set()

    installed = list(_install(told))
    try:
        await stop.wait()
        await close()
    finally:
        for number in installed:
            asyncio.get_running_loop().remove_signal_handler(number)


def _install(told: Callable[[str], None]) -> Iterator[signal.Signals]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        try:
            loop.add_signal_handler(number, told, number.name)
        except (NotImplementedError, RuntimeError, ValueError):
            continue
        yield number
