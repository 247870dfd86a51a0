"""Signals: the first SIGTERM or SIGINT begins the drain, the second ends its grace.

A signal that has another handler already, such as that of a web server around the broker, keeps it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["until_told_to_stop"]

logger = logging.getLogger("msgbus")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def until_told_to_stop(
    stop: asyncio.Event, end_grace: Callable[[], None], close: Callable[[], Awaitable[None]]
) -> None:
    """Wait for a signal or for ``stop``, then ``close()``; a second signal calls ``end_grace()`` meanwhile.

    Where an event loop accepts no signal handlers (Windows, or not the main thread), Ctrl-C raises KeyboardInterrupt.
    A signal that has a handler already, or is ignored, does nothing here.
    """

    def received(name: str) -> None:
        if stop.is_set():
            logger.warning("%s again: cancelling the callbacks that still run", name)
            end_grace()
        else:
            logger.info("%s: finishing in-flight messages, then stopping; send it again to stop at once", name)
            stop.set()

    handlers = _handlers.setdefault(asyncio.get_running_loop(), _SignalHandlers())
    handlers.add(received)
    try:
        await stop.wait()
        await close()
    finally:
        handlers.remove(received)


class _SignalHandlers:
    """Signal handlers of one event loop, shared by all brokers that run in it: each is told of a signal."""

    def __init__(self) -> None:
        self._receivers: list[Callable[[str], None]] = []
        self._replaced: dict[signal.Signals, Any] = {}

    def add(self, receiver: Callable[[str], None]) -> None:
        """Call ``receiver`` with the name of each signal from now on."""
        self._receivers.append(receiver)
        if len(self._receivers) == 1:
            for number in _SIGNALS:
                self._install(number)

    def remove(self, receiver: Callable[[str], None]) -> None:
        """Do not call ``receiver`` any more. Without receivers, restore what was there before."""
        self._receivers.remove(receiver)
        if not self._receivers:
            for number, before in self._replaced.items():
                asyncio.get_running_loop().remove_signal_handler(number)
                signal.signal(number, before)
            self._replaced.clear()

    def _install(self, number: signal.Signals) -> None:
        before = signal.getsignal(number)
        if not _is_default(before):
            logger.info("%s is handled by others in this process: run() goes on until close()", number.name)
            return
        try:
            asyncio.get_running_loop().add_signal_handler(number, self._received, number.name)
        except (NotImplementedError, RuntimeError, ValueError):
            return
        self._replaced[number] = before

    def _received(self, name: str) -> None:
        for receiver in tuple(self._receivers):
            receiver(name)


_handlers: WeakKeyDictionary[asyncio.AbstractEventLoop, _SignalHandlers] = WeakKeyDictionary()


def _is_default(handler: Any) -> bool:
    """Return whether a signal has the handler of Python, or the one that ``asyncio.run()`` sets for SIGINT."""
    of_asyncio = getattr(asyncio.Runner, "_on_sigint", None)
    owner = getattr(getattr(handler, "func", None), "__func__", None)
    return handler in {signal.SIG_DFL, signal.default_int_handler} or (owner is not None and owner is of_asyncio)
