"""What redis-py raises and servers answer, as errors of ours."""

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

__all__ = ["CLIENT_ERRORS", "first_refusal", "translate"]

_FULL: Final = "the server has no memory left (raise maxmemory, or let groups catch up)"

# What the client raises or the server answers -> ours. The first row whose type and opening words match wins.
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
    (ResponseError, "BUSY ", BrokerUnavailable, "a script holds the server up (SCRIPT KILL ends it)"),
    (ResponseError, "OOM", BrokerUnavailable, _FULL),
    (ResponseError, "MISCONF", BrokerUnavailable, ""),
    (ResponseError, "NOREPLICAS", BrokerUnavailable, ""),
    (ResponseError, "WRONGTYPE", QueueConflict, "its key holds something that is no stream"),
    (ResponseError, "", BrokerError, ""),
    (ConnectionError, "", BrokerUnavailable, ""),
    (TimeoutError, "", BrokerUnavailable, ""),
    (RedisError, "", BrokerUnavailable, ""),
    (OSError, "", BrokerUnavailable, ""),
)
CLIENT_ERRORS: Final = (RedisError, OSError)
"""Everything that the client library raises."""


def translate(error: BaseException, doing: str) -> BrokerError:
    """The client's or server's ``error`` in our words; ``doing`` opens the text and names the queue or the host."""
    if isinstance(error, BrokerError):
        return error
    # redis-py makes a ConnectionError of a certificate that it does not trust; only the context still says so.
    cause = error.__context__ if isinstance(error.__context__, ssl.SSLCertVerificationError) else error
    text = str(cause) or type(cause).__name__
    for theirs, opening, kind, meaning in _TABLE:
        if isinstance(cause, theirs) and text.startswith(opening):
            made = kind(f"{doing}: {meaning} ({text})" if meaning else f"{doing}: {text}")
            made.__cause__ = error
            return made
    return BrokerError(f"{doing}: {text}")


def first_refusal(replies: Iterable[Any]) -> ResponseError | None:
    """The first reply that is an error."""
    return next((reply for reply in replies if isinstance(reply, ResponseError)), None)
