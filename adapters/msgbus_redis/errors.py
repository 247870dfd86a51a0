"""Translation of redis-py's errors and a server's error replies into msgbus errors."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    BusyLoadingError,
    ClusterError,
    ConnectionError,  # noqa: A004 - always theirs in this file
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - always theirs in this file
)

from msgbus.errors import AccessRefused, BrokerError, BrokerUnavailable, QueueConflict

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CLIENT_ERRORS", "first_refusal", "is_missing_stream", "is_queues_own", "translate"]

_FULL: Final = "the server has no memory left (raise maxmemory, or let groups catch up)"

# Error of redis-py or the server, opening words -> msgbus error, meaning. The first row that matches wins.
_TABLE: Final[tuple[tuple[type[BaseException], str, type[BrokerError], str], ...]] = (
    (ssl.SSLCertVerificationError, "", AccessRefused, ""),
    (AuthenticationError, "", AccessRefused, ""),
    (AuthenticationWrongNumberOfArgsError, "", AccessRefused, ""),
    (AuthorizationError, "", AccessRefused, ""),
    (NoPermissionError, "", AccessRefused, ""),
    (ResponseError, "NOAUTH", AccessRefused, ""),
    (OutOfMemoryError, "", BrokerUnavailable, _FULL),
    (ReadOnlyError, "", BrokerUnavailable, "the server is a replica"),
    (BusyLoadingError, "", BrokerUnavailable, "the server is starting"),
    (ClusterError, "", BrokerUnavailable, ""),
    (ResponseError, "BUSY ", BrokerUnavailable, "a script blocks the server (SCRIPT KILL ends it)"),
    (ResponseError, "OOM", BrokerUnavailable, _FULL),
    (ResponseError, "MISCONF", BrokerUnavailable, ""),
    (ResponseError, "NOREPLICAS", BrokerUnavailable, ""),
    (ResponseError, "WRONGTYPE", QueueConflict, "its key holds something other than a stream"),
    (ResponseError, "", BrokerError, ""),
    (ConnectionError, "", BrokerUnavailable, ""),
    (TimeoutError, "", BrokerUnavailable, ""),
    (RedisError, "", BrokerUnavailable, ""),
    (OSError, "", BrokerUnavailable, ""),
)
CLIENT_ERRORS: Final = (RedisError, OSError)
"""All errors that redis-py raises."""


def translate(error: BaseException, doing: str) -> BrokerError:
    """Translate ``error`` into an msgbus error; a BrokerError is returned as it is.

    Args:
        error: What redis-py raised, or an error reply.
        doing: What failed, with the queue or the server; the text begins with it.
    """
    if isinstance(error, BrokerError):
        return error
    # redis-py raises a ConnectionError for a certificate that is not trusted; only its context has the cause.
    cause = error.__context__ if isinstance(error.__context__, ssl.SSLCertVerificationError) else error
    text = str(cause) or type(cause).__name__
    for theirs, opening, kind, meaning in _TABLE:
        if isinstance(cause, theirs) and text.startswith(opening):
            made = kind(f"{doing}: {meaning} ({text})" if meaning else f"{doing}: {text}")
            made.__cause__ = error
            return made
    return BrokerError(f"{doing}: {text}")


def first_refusal(replies: Iterable[Any]) -> ResponseError | None:
    """Return the first reply that is an error."""
    return next((reply for reply in replies if isinstance(reply, ResponseError)), None)


def is_queues_own(refused: ResponseError) -> bool:
    """Return whether an error reply concerns the key of its command alone: another key may be answered."""
    text = str(refused)
    return not text.startswith("NOAUTH") and not isinstance(translate(refused, ""), BrokerUnavailable)


def is_missing_stream(refused: ResponseError) -> bool:
    """Return whether XINFO, or a script of msgbus, found no stream under its key."""
    return "no such key" in str(refused)
