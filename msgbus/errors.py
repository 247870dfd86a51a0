"""Every error msgbus raises, in one tree.

MsgbusError
├── ConfigurationError          wrong before any I/O: a URL, a name, an option, a missing group
│   ├── AdapterNotFound         no adapter for this URL scheme, or its client library is not installed
│   ├── InvalidName             a queue, group or exchange outside the grammar
│   ├── InvalidMessage          a header, key, id or body that cannot be published as it is
│   ├── DuplicateSubscription   this broker object already consumes that queue in that group
│   └── Unsupported             this broker cannot honour what was asked for
├── BrokerClosed                the broker was closed; nothing can be done with it until it is entered again
├── InvalidPayload              a body that is not what the callback expects: dead-lettered at once
├── WouldDeadlock               awaited inside a callback that it would wait for
└── BrokerError                 the server's answer, or none
    ├── BrokerUnavailable       no connection, or it broke: the only transient one, repeated by the core
    ├── AccessRefused           wrong credentials or missing permissions
    ├── QueueConflict           the queue exists in another shape
    ├── GroupActive             the group has members, and this can be done only while it has none
    ├── DeadLettersLocked             somebody else has the dead letters in hand
    ├── DeadLetterLockLost             the hold on dead letters was lost while they were in hand
    └── PublishError            about one message
        ├── QueueNotFound       the queue does not exist
        ├── NoRoute             the queue exists, but nobody would get the message
        ├── MessageTooLarge     over the limit of msgbus or of the server
        └── PublishUnknown      the deadline passed and the message may have arrived

A callback may raise anything: what it raises is a failure of the message and never reaches a caller.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

__all__ = [
    "AccessRefused",
    "AdapterNotFound",
    "BrokerClosed",
    "BrokerError",
    "BrokerUnavailable",
    "ConfigurationError",
    "DeadLetterLockLost",
    "DeadLettersLocked",
    "DuplicateSubscription",
    "GroupActive",
    "InvalidMessage",
    "InvalidName",
    "InvalidPayload",
    "MessageTooLarge",
    "MsgbusError",
    "NoRoute",
    "PublishError",
    "PublishUnknown",
    "QueueConflict",
    "QueueNotFound",
    "Unsupported",
    "WouldDeadlock",
    "queue_not_found",
    "translate_errors",
]


class MsgbusError(Exception):
    """What every error of msgbus is."""


class ConfigurationError(MsgbusError):
    """Something is wrong before any I/O; correct it and start again."""


class AdapterNotFound(ConfigurationError):
    """No adapter answers to the URL's scheme, or the adapter's client library is not installed."""


class InvalidName(ConfigurationError):
    """A queue, group or exchange is outside the grammar (see ``msgbus.adapter.address``)."""


class InvalidMessage(ConfigurationError):
    """A header, key, id or body that cannot be published as it is; nothing was sent."""


class DuplicateSubscription(ConfigurationError):
    """One broker object consumes one queue in one group once."""


class Unsupported(ConfigurationError):
    """The broker behind this URL cannot honour the option; nothing was done."""


class BrokerClosed(MsgbusError):
    """The broker object is closed."""


class InvalidPayload(MsgbusError, ValueError):
    """The body of a message is not what its callback expects; the text names each field."""


class WouldDeadlock(MsgbusError):
    """The call waits for the very callback it is made from."""


class BrokerError(MsgbusError):
    """What a server answered, or that it did not answer."""


class BrokerUnavailable(BrokerError):
    """No connection to the server, or it broke. Transient: the core repeats until its deadline.

    ``uncertain`` says that the attempt may have reached the server all the same. It has ended either way:
    nothing of it can arrive later.
    """

    def __init__(self, message: str, *, uncertain: bool = False) -> None:
        super().__init__(message)
        self.uncertain = uncertain


class AccessRefused(BrokerError):
    """Wrong user, password or certificate, or a permission is missing."""


class QueueConflict(BrokerError):
    """The queue exists in another shape; the message names each setting that differs. It was left as it is."""


class GroupActive(BrokerError):
    """The group has members, which the message names; stop them first. Nothing was changed."""


class DeadLettersLocked(BrokerError):
    """Somebody else has the dead letters of this queue and group in hand; try again when they have finished."""


class DeadLetterLockLost(BrokerError):
    """The hold on dead letters was lost while they were in hand: somebody else may have them. Nothing was removed."""


class PublishError(BrokerError):
    """This message was not published; other messages of the same call are not affected."""


class QueueNotFound(PublishError):
    """The queue does not exist; create_queue() makes it."""


class NoRoute(PublishError):
    """The queue exists but no group does, on a broker that keeps nothing for later groups."""


class MessageTooLarge(PublishError):
    """The message is over the limit; nothing was sent."""


class PublishUnknown(PublishError):
    """The deadline passed while the outcome was open: the message may have arrived.

    Publishing it again with the same id is safe for consumers that recognise ids.
    """


def queue_not_found(address: object) -> QueueNotFound:
    """Return the error for ``address``, a queue or the name of one, which does not exist."""
    return QueueNotFound(f"queue {address} does not exist; create_queue() makes it")


@contextmanager
def translate_errors(table: Mapping[type[BaseException], type[MsgbusError]], doing: str) -> Generator[None]:
    """Raise the client library's errors as ours: the first matching row of ``table`` wins.

    ``doing`` opens the message and must name the queue and never a password. The original stays ``__cause__``.
    """
    try:
        yield
    except MsgbusError:
        raise
    except tuple(table) as error:
        ours = next(to for theirs, to in table.items() if isinstance(error, theirs))
        raise ours(f"{doing}: {str(error) or type(error).__name__}") from error
