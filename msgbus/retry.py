"""Retry policy, and the outcome of a message whose callback raised. Pure: no clock, no I/O, no random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from msgbus.arguments import check_listed
from msgbus.backoff import Backoff, WaitStrategy, check_strategy
from msgbus.errors import ConfigurationError, InvalidPayload
from msgbus.outage_errors import OutageErrors, matches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgbus.message import Message

__all__ = [
    "DEFAULT_BACKOFF",
    "DEFAULT_PROBE_BACKOFF",
    "Backoff",
    "Done",
    "GiveUp",
    "Outcome",
    "Reject",
    "RetryImmediately",
    "RetryLater",
    "RetryPolicy",
    "decide",
]

DEFAULT_BACKOFF: Final = Backoff(first=0.1, most=30.0)
DEFAULT_PROBE_BACKOFF: Final = Backoff(first=4.0, most=25.0)


class Reject(Exception):
    """Raised by a callback to dead-letter its message at once, for ``reason``: no further try would succeed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(unsafe_hash=True)
class RetryLater(Exception):
    """Delayed retry: the message waits ``after`` seconds in a retry queue.

    A callback may raise it to choose the delay itself; that counts as an attempt.
    """

    after: float

    def __str__(self) -> str:
        return f"retry after {self.after:g} s"


@dataclass(frozen=True, slots=True)
class Done:
    """Outcome of a callback that returned: acknowledge the message."""


@dataclass(frozen=True, slots=True)
class RetryImmediately:
    """Immediate retry: call the callback again in this process, after the policy's ``backoff``. Only the key waits."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Give the message up: it goes to the dead-letter queue, for ``reason``."""

    reason: str


Outcome = Done | RetryImmediately | RetryLater | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed message is tried again, and when it is given up.

    The default makes 7 attempts within 13 minutes. Two immediate retries are for a deadlock or a dropped connection,
    four delayed retries for a restart or a short outage.
    """

    immediate: int = 2
    """Immediate retries: tries in the same process after the first, while the message's key waits."""
    backoff: Backoff | WaitStrategy = DEFAULT_BACKOFF
    """Seconds between immediate retries: a ``Backoff``, a wait strategy of tenacity (``wait_exponential_jitter(…)``,
    ``wait_chain(…)`` …), or a function that gets the same state and returns seconds. It is called in the event loop
    with the number of failures, the error and the seconds since the first failure. A wait is at most 600 s; a negative
    number counts as 0. Where the strategy raises or returns no number, msgbus logs a warning and waits as by
    default."""
    delays: tuple[float, ...] = (5.0, 30.0, 120.0, 600.0)
    """Delayed retries: seconds before each further try. The message waits in a retry queue and blocks no other, but
    loses its place in the order of its key. Empty: order is kept, and the message is dead-lettered after the immediate
    retries."""
    max_age: float | None = None
    """Seconds after it was published from which on a failed message is not tried again. None: no limit."""
    no_retry_for: tuple[type[BaseException], ...] = ()
    """Errors after which a message is dead-lettered at once. Causes and members of exception groups count as well."""
    outage: OutageErrors | None = None
    """Errors of an outage: something that the callback needs is down. Types of errors, or a function that gets an error
    and returns whether it is one. None: those of networks and of common clients (:func:`network_failure`). Causes and
    members of exception groups count as well. Other errors are the message's own and never pause a subscription."""
    pause_after: int | None = 10
    """Different messages in a row that fail with an outage error before the circuit breaker pauses the subscription.
    While it is paused, probes try a few messages, and messages that fail keep their attempts. None: never pause."""
    probe_backoff: Backoff | WaitStrategy = DEFAULT_PROBE_BACKOFF
    """Seconds between two probes of a paused subscription, after a first minute with one probe every second. Strategies
    are those of ``backoff``; they count the probes since that minute, and get the outage error that was seen last. A
    wait is between 0.2 s and an hour, and ends when ``patience`` is over."""
    patience: float | None = None
    """Seconds after the first failure since a success from which on failures count as attempts although the
    subscription is paused. None: ten times the sum of ``delays``, at least 60."""
    traceback: bool = True
    """Whether dead letters carry the traceback (4 KiB at most), which may contain data that should not be kept."""

    def __post_init__(self) -> None:
        check_strategy(self.backoff, "RetryPolicy: backoff")
        check_strategy(self.probe_backoff, "RetryPolicy: probe_backoff")
        if self.immediate < 0:
            raise ConfigurationError(f"RetryPolicy: immediate must be 0 or more, not {self.immediate}")
        check_listed("RetryPolicy", "delays", self.delays, "(5.0, 30.0)")
        if not _are_errors(self.no_retry_for):
            raise ConfigurationError("RetryPolicy: no_retry_for must be a tuple of exception types")
        if not all(map(_is_delay, self.delays)):
            raise ConfigurationError(f"RetryPolicy: each of delays must be a number of seconds above 0: {self.delays}")
        if self.pause_after is not None and self.pause_after < 1:
            raise ConfigurationError("RetryPolicy: pause_after must be at least 1; None for never")
        if self.patience is not None and not self.patience >= 0:
            raise ConfigurationError(f"RetryPolicy: patience must be a number of seconds from 0, not {self.patience}")
        if not (self.outage is None or _is_function(self.outage) or _are_errors(self.outage)):
            raise ConfigurationError(
                "RetryPolicy: outage must be a tuple of exception types, or a function that is given an exception"
            )

    @property
    def patience_seconds(self) -> float:
        """``patience``, or its default, in seconds."""
        return max(10 * sum(self.delays), 60.0) if self.patience is None else self.patience


def decide(error: BaseException, message: Message, policy: RetryPolicy, now: float) -> Outcome:
    """Decide what to do after a callback raised.

    Args:
        error: What the callback raised.
        message: The message; ``message.attempt`` is the attempt that failed.
        policy: The subscription's policy.
        now: The time of day, in seconds since 1970.

    Returns:
        The outcome: an immediate retry, a delayed retry, or giving the message up. The policy's ``backoff`` is not
        called: it may be code of the service.
    """
    errors = list(_error_chain(error))
    if (final := _final(errors, policy)) is not None:
        return final
    if is_too_old(message, policy, now):
        return GiveUp(f"older than {policy.max_age:g} s")
    asked = [one for one in errors if isinstance(one, RetryLater)]
    if asked:
        return max(asked, key=lambda one: one.after)
    return _next(message.attempt, policy)


def is_outage(error: BaseException, policy: RetryPolicy) -> bool:
    """Return whether ``error`` shows an outage, and not a fault of the message or a decision of the callback.

    Raises what ``policy.outage`` raises, if that is a function.
    """
    errors = list(_error_chain(error))
    if any(isinstance(one, (Reject, RetryLater, InvalidPayload, *policy.no_retry_for)) for one in errors):
        return False
    return any(matches(one, policy.outage) for one in errors)


def is_too_old(message: Message, policy: RetryPolicy, now: float) -> bool:
    """Return whether ``message`` is older than ``policy.max_age``."""
    return policy.max_age is not None and now - message.time / 1000 > policy.max_age


def _is_delay(delay: object) -> bool:
    return isinstance(delay, int | float) and 0 < delay < float("inf")


def _is_function(outage: object) -> bool:
    return callable(outage) and not isinstance(outage, type)  # a type without its tuple can be called too


def _are_errors(outage: object) -> bool:
    kinds = cast("tuple[object, ...]", outage) if isinstance(outage, tuple) else (None,)
    return all(isinstance(one, type) and issubclass(one, BaseException) for one in kinds)


def _final(errors: list[BaseException], policy: RetryPolicy) -> GiveUp | None:
    for one in errors:
        if isinstance(one, Reject):
            return GiveUp(f"rejected: {one.reason}")
        if isinstance(one, InvalidPayload):
            return GiveUp(f"invalid payload: {one}")
        if isinstance(one, policy.no_retry_for):
            return GiveUp(f"never retried: {type(one).__name__}")
    return None


def _next(attempt: int, policy: RetryPolicy) -> Outcome:
    if attempt <= policy.immediate:
        return RetryImmediately()
    if attempt - policy.immediate <= len(policy.delays):
        return RetryLater(policy.delays[attempt - policy.immediate - 1])
    return GiveUp(f"failed {attempt} times")


def _error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error``, its causes, and the members of exception groups, each once."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        one = todo.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            todo += cast("BaseExceptionGroup[BaseException]", one).exceptions
        if one.__cause__ is not None:
            todo.append(one.__cause__)
