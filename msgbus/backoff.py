"""Backoff: the seconds before the next try, as wait strategies of tenacity. Pure: no clock and no I/O.

A wait strategy is called with the state of the tries so far and returns seconds. :class:`Backoff` is the strategy of
msgbus; a :class:`~msgbus.retry.RetryPolicy` takes any other. The stock strategies of tenacity draw from the global
random numbers. ``Backoff`` takes its chance from the caller, so that a seed replays a simulation byte for byte.
"""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from tenacity import AsyncRetrying, RetryCallState
from tenacity.wait import wait_base

from msgbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

__all__ = ["Backoff", "FailedTry", "SeededBackoff", "WaitStrategy", "check_strategy"]

WaitStrategy = Callable[[RetryCallState], float]
"""A strategy of tenacity, or a function that gets the same state and returns seconds: what tenacity itself takes. Not
``wait_base`` by name: pydantic knows no schema for it, and policies may be part of a service's settings."""

_BOUNDS: Final = ("wait_fixed", "wait_random_min", "wait_random_max")
"""Attributes of tenacity's strategies that may not be negative or infinite; tenacity itself does not check them."""
_PARTS: Final = ("strategies", "wait_funcs")
"""Attributes of ``wait_chain`` and ``wait_combine`` that hold further strategies."""


class FailedTry(RetryCallState):
    """State of the tries of one message, for a wait strategy."""

    def __init__(
        self, strategy: WaitStrategy, failures: int, chance: float, error: BaseException, failing_for: float = 0.0
    ) -> None:
        """Describe a try that has just failed.

        Args:
            strategy: The strategy that is to be called.
            failures: Failures in a row, from 1: the state's ``attempt_number``.
            chance: A random number, uniform in [0, 1), for a ``Backoff``.
            error: What the try raised: ``outcome.exception()``.
            failing_for: Seconds since the first failure: ``seconds_since_start``.
        """
        super().__init__(AsyncRetrying(wait=strategy), None, (), {})
        self.chance = chance
        self.attempt_number = failures
        self.set_exception((type(error), error, error.__traceback__))
        self.start_time, self.outcome_timestamp = 0.0, max(failing_for, 0.0)  # a clock may have been set back


@dataclass(frozen=True)
class Backoff(wait_base):
    """Exponential backoff with jitter: ``first`` seconds, then twice that, up to ``most``.

    Each wait is between a half and the whole of that, at random. It is a wait strategy of tenacity: it may be part of
    ``wait_chain`` and ``wait_combine``, and serve as ``wait=`` of tenacity's own decorators.
    """

    first: float
    most: float

    def __post_init__(self) -> None:
        if not (0 <= self.first < math.inf and 0 <= self.most < math.inf):
            raise ConfigurationError(f"{self!r}: first and most must be numbers of seconds from 0")

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to wait after a failure.

        Args:
            retry_state: The state of the tries; its attempt number counts the failures from 1.
        """
        chance = retry_state.chance if isinstance(retry_state, FailedTry) else random.random()  # noqa: S311 - jitter
        return self.wait(retry_state.attempt_number, chance)

    def wait(self, failures: int, chance: float) -> float:
        """Return the seconds to wait before the next try.

        Args:
            failures: Failures in a row, from 1.
            chance: A random number, uniform in [0, 1).
        """
        return self.longest(failures) * (0.5 + chance / 2)

    def longest(self, failures: int) -> float:
        """Return the seconds before the next try without jitter: the longest that ``wait()`` returns.

        Args:
            failures: Failures in a row, from 1.
        """
        # 2.0 ** 60 is above any `most`; without a bound a long outage would overflow.
        return min(self.first * 2.0 ** min(failures - 1, 60), self.most)


@dataclass(frozen=True)
class SeededBackoff(wait_base):
    """``backoff`` with the chance of each wait drawn from ``random``: for loops of tenacity."""

    backoff: Backoff
    random: Random

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to wait after a failure.

        Args:
            retry_state: The state of the tries; its attempt number counts the failures from 1.
        """
        return self.backoff.wait(retry_state.attempt_number, self.random.random())


def check_strategy(strategy: object, where: str) -> None:
    """Check what can be known of a wait strategy before it is called. It is not called: it may depend on the error.

    Raises:
        ConfigurationError: ``strategy``, or a part of it, is no wait strategy; the text begins with ``where``.
    """
    for one in _with_parts(strategy):
        if problem := _problem(one):
            raise ConfigurationError(
                f"{where} must be a Backoff, a wait strategy of tenacity, or a function that is given the state of the "
                f"tries and returns seconds; {problem}"
            )


def _with_parts(strategy: object) -> Iterator[object]:
    todo, seen = [strategy], set[int]()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, wait_base):
            for name in _PARTS:
                parts = getattr(one, name, ())
                todo += cast("tuple[object, ...]", parts) if isinstance(parts, tuple) else ()


def _problem(strategy: object) -> str:
    if isinstance(strategy, type):
        return f"{strategy.__name__} is a class: pass an instance of it"
    if not callable(strategy):
        return f"{strategy!r} cannot be called"
    if inspect.iscoroutinefunction(strategy) or inspect.iscoroutinefunction(getattr(strategy, "__call__", None)):  # noqa: B004 - the method itself is looked at
        return f"{strategy!r} is async"
    if not _takes_state(strategy):
        return f"{strategy!r} does not take one argument"
    wrong = {name: getattr(strategy, name) for name in _BOUNDS if isinstance(getattr(strategy, name, None), float)}
    wrong = {name: seconds for name, seconds in wrong.items() if not 0 <= seconds < math.inf}
    return f"it waits {', '.join(f'{seconds:g}' for seconds in wrong.values())} s" if wrong else ""


def _takes_state(strategy: Callable[..., object]) -> bool:
    try:
        inspect.signature(strategy).bind(None)
    except TypeError:
        return False
    except ValueError:
        return True  # a function of an extension module without a signature
    return True
