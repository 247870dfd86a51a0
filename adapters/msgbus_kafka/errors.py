"""Translation of aiokafka's exceptions and of Kafka's error codes into errors of msgbus."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from aiokafka import errors as kafka

from msgbus.errors import (
    AccessRefused,
    BrokerUnavailable,
    ConfigurationError,
    InvalidName,
    MsgbusError,
    QueueConflict,
    Unsupported,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.structs import TopicPartition

__all__ = [
    "ACCESS_ERRORS",
    "ERROR_TABLE",
    "FetchRefused",
    "concerns_one_partition",
    "describe",
    "describe_unreadable",
    "error_for_code",
]

ACCESS_ERRORS: Final[tuple[type[BaseException], ...]] = (
    kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
    ssl.SSLCertVerificationError,
)

ERROR_TABLE: Final[Mapping[type[BaseException], type[MsgbusError]]] = {
    **dict.fromkeys(ACCESS_ERRORS, AccessRefused),
    kafka.KafkaError: BrokerUnavailable,
    OSError: BrokerUnavailable,  # TimeoutError is one
    KeyError: BrokerUnavailable,  # aiokafka's send() looks up a connection that its timeout has just dropped
    AssertionError: BrokerUnavailable,  # aiokafka's "Did we not perform bootstrap?"
}

_CODES: Final[Mapping[int, type[MsgbusError]]] = {
    17: InvalidName,
    29: AccessRefused,
    30: AccessRefused,
    31: AccessRefused,
    37: ConfigurationError,  # partitions
    38: ConfigurationError,  # replication factor
    40: ConfigurationError,  # a setting
    42: ConfigurationError,  # the request as a whole
    44: Unsupported,  # the cluster's policy
}


class FetchRefused(kafka.KafkaError):  # type: ignore[misc]  # aiokafka is untyped
    """The broker answered the fetch of one partition with this error."""

    def __init__(self, partition: TopicPartition, text: str) -> None:
        super().__init__(text)
        self.partition = partition


def concerns_one_partition(error: Exception) -> bool:
    """Return whether an error of getmany() may be about one partition, and not about connection, group or login."""
    if isinstance(error, (kafka.TopicAuthorizationFailedError, FetchRefused)):
        return True
    if isinstance(error, (*ACCESS_ERRORS, kafka.ConsumerStoppedError, kafka.IllegalStateError, OSError)):
        return False
    return not getattr(error, "retriable", False)


def describe_unreadable(error: BaseException) -> str:
    """Return in words why a record cannot be read, by the ``error`` that reading it raised."""
    if isinstance(error, kafka.UnsupportedCodecError):
        return f"is compressed with a codec that is not installed ({describe(error)})"
    if isinstance(error, kafka.CorruptRecordException):
        return f"is corrupt on the server ({describe(error)})"
    return f"cannot be read ({type(error).__name__}: {describe(error)})"


def error_for_code(code: int, message: str | None, doing: str) -> MsgbusError:
    """Return the broker's error ``code`` as an error of msgbus. ``doing`` opens the text and names the queue."""
    theirs = kafka.for_code(code)
    text = f"{doing}: {message or theirs.__name__}"
    if "collides" in (message or ""):  # Kafka takes "a.b" and "a_b" for one name
        return QueueConflict(text)
    if code in _CODES:
        return _CODES[code](text)
    return BrokerUnavailable(text)


def describe(error: BaseException) -> str:
    """Return the text of ``error``, or its name: many of aiokafka's errors have no text."""
    return str(error) or type(error).__name__
