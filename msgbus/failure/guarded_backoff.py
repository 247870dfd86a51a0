"""Guarded backoff: evaluates the wait strategy of a policy, whatever it returns or raises.

A strategy is code of the service, and a message must not be lost by it. So there is always a number of seconds: the
strategy's own within bounds, or that of a fallback.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from typing import TYPE_CHECKING, Final, SupportsFloat

from msgbus.backoff import Backoff, FailedTry

if TYPE_CHECKING:
    from msgbus.backoff import WaitStrategy

__all__ = ["MAX_BACKOFF_SECONDS", "MAX_PROBE_INTERVAL_SECONDS", "GuardedBackoff"]

logger = logging.getLogger("msgbus")

MAX_BACKOFF_SECONDS: Final = 600.0
"""Seconds before an immediate retry, at most. Two of them end within RabbitMQ's ``consumer_timeout`` of 30 minutes,
which no message in flight may reach. Longer waits belong into ``delays``."""
MAX_PROBE_INTERVAL_SECONDS: Final = 3600.0
"""Seconds between two probes, at most: a downstream that works again is noticed within the hour."""


class GuardedBackoff:
    """The wait strategy of one subscription's policy, with bounds and a fallback. Never raises."""

    def __init__(self, strategy: Backoff | WaitStrategy, fallback: Backoff, most: float, where: str) -> None:
        """Guard ``strategy``.

        Args:
            strategy: The policy's strategy.
            fallback: Used where ``strategy`` raises or returns no number.
            most: Seconds that a wait is at most.
            where: The subscription and the argument of the policy; the warning begins with it.
        """
        self._strategy = strategy
        self._name = _name(strategy)
        self._fallback = fallback
        self._most = most
        self._where = where
        self._reported = False

    def seconds(self, failures: int, chance: float, error: BaseException, failing_for: float) -> float:
        """Return the seconds before the next try, from 0 to ``most``.

        Args:
            failures: Failures in a row, from 1.
            chance: A random number, uniform in [0, 1).
            error: What the last try raised.
            failing_for: Seconds since the first failure.
        """
        if isinstance(self._strategy, Backoff) and type(self._strategy) is Backoff:  # no subclass: the quick way
            return min(self._strategy.wait(failures, chance), self._most)
        try:
            seconds = _number(self._strategy(FailedTry(self._strategy, failures, chance, error, failing_for)))
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - the message needs a next try
            self._report(raised)
            seconds = self._fallback.wait(failures, chance)
        return min(max(seconds, 0.0), self._most)

    def _report(self, raised: BaseException) -> None:
        """Log ``raised``: the first time as a warning with its traceback, then for debugging."""
        logger.log(
            logging.DEBUG if self._reported else logging.WARNING,
            "%s: the wait strategy %s failed: %s: %s; msgbus waits by %r instead",
            self._where,
            self._name,
            type(raised).__name__,
            raised,
            self._fallback,
            exc_info=None if self._reported else raised,
        )
        self._reported = True


def _number(returned: object) -> float:
    """Return the seconds that a strategy returned. Raises TypeError or ValueError if that is no number of seconds."""
    if not isinstance(returned, SupportsFloat) or isinstance(returned, bool):
        if inspect.iscoroutine(returned):
            returned.close()  # nothing awaits it
        raise TypeError(f"it returned a {type(returned).__name__}, not a number of seconds")
    try:
        seconds = float(returned)
    except OverflowError:
        return math.inf  # an integer above 1.8e308, of an exponential without a maximum
    if math.isnan(seconds):
        raise ValueError("it returned nan, not a number of seconds")
    return seconds


def _name(strategy: WaitStrategy) -> str:
    """Return a name that is the same in each process: the repr of most strategies is an address."""
    if isinstance(strategy, Backoff):
        return repr(strategy)
    named = strategy if hasattr(strategy, "__qualname__") else type(strategy)
    return f"{named.__module__}.{named.__qualname__}"
