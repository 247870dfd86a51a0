"""Errors of msgbus, in one tree.

MsgbusError
├── ConfigurationError          wrong before any I/O: a URL, a name, an option, a missing group
│   ├── AdapterNotFound         no adapter for this URL scheme, or its client library is not installed
│   ├── InvalidName             a queue, group or exchange outside the grammar
│   ├── InvalidMessage          a header, key, id or body that cannot be published as it is
│   ├── DuplicateSubscription   this broker object already consumes that queue in that group
│   └── Unsupported             this broker cannot honour an option
├── BrokerClosed                the broker object is closed; enter it again
├── InvalidPayload              a body does not fit the callback: dead-lettered at once
├── WouldDeadlock               a callback awaits a call that waits for that callback
└── BrokerError                 the server refused, or did not answer
    ├── BrokerUnavailable       no connection, or it broke: transient; the core repeats the call
    ├── AccessRefused           wrong credentials or missing permissions
    ├── QueueConflict           the queue exists with other settings
    ├── GroupActive             the group has members; the call needs a group without members
    ├── DeadLettersLocked       another lock holder has the dead letters
    ├── DeadLetterLockLost      the lock on dead letters was lost before they were removed
    └── PublishError            about one message
        ├── QueueNotFound       the queue does not exist
        ├── NoRoute             the queue has no group, on a server that keeps no history
        ├── MessageTooLarge     over the limit of msgbus or of the server
        └── PublishUnknown      the deadline passed and the message may have arrived

A callback may raise any error: it counts as a failure of the message and never reaches a caller.
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
    """Base class of all errors of msgbus."""


class ConfigurationError(MsgbusError):
    """A URL, name, option or argument is wrong. Raised before any I/O."""


class AdapterNotFound(ConfigurationError):
    """No adapter has the URL's scheme, or the adapter's client library is not installed."""


class InvalidName(ConfigurationError):
    """A queue, group or exchange is outside the grammar (see ``msgbus.adapter.address``)."""


class InvalidMessage(ConfigurationError):
    """A header, key, id or body cannot be published as it is; nothing was sent."""


class DuplicateSubscription(ConfigurationError):
    """This broker object already consumes the queue in the group."""


class Unsupported(ConfigurationError):
    """The broker of this URL cannot honour the option; nothing was done."""


class BrokerClosed(MsgbusError):
    """The broker object is closed; enter it again with ``async with``."""


class InvalidPayload(MsgbusError, ValueError):
    """The body of a message does not fit what its callback expects; the text names each field."""


class WouldDeadlock(MsgbusError):
    """The call waits for the callback that makes it; call it from another task."""


class BrokerError(MsgbusError):
    """The server refused the call, or did not answer."""


class BrokerUnavailable(BrokerError):
    """There is no connection to the server, or it broke. Transient: the core repeats the call until its deadline.

    ``uncertain`` says that the attempt may have reached the server. The attempt has ended in any case: nothing of it
    can arrive later.
    """

    def __init__(self, message: str, *, uncertain: bool = False) -> None:
        super().__init__(message)
        self.uncertain = uncertain


class AccessRefused(BrokerError):
    """The user, password or certificate is wrong, or a permission is missing."""


class QueueConflict(BrokerError):
    """The queue exists with other settings, which the text names. It was left as it is."""


class GroupActive(BrokerError):
    """The group has members, which the text names; stop them first. Nothing was changed."""


class DeadLettersLocked(BrokerError):
    """Another lock holder has the dead letters of this queue and group; try again when it has finished."""


class DeadLetterLockLost(BrokerError):
    """The lock on dead letters was lost, and another lock holder may have them. Nothing was removed."""


class PublishError(BrokerError):
    """A message was not published; other messages of the same call are not affected."""


class QueueNotFound(PublishError):
    """The queue does not exist; create_queue() makes it."""


class NoRoute(PublishError):
    """The queue exists but has no group, on a broker that keeps no history for later groups."""


class MessageTooLarge(PublishError):
    """The message is over the limit; nothing was sent."""


class PublishUnknown(PublishError):
    """The deadline passed and the publish result is unknown: the message may have arrived.

    Publishing it again with the same id is safe for callbacks that recognise ids.
    """


def queue_not_found(address: object) -> QueueNotFound:
    """Return the error for ``address``, a queue or the name of one, which does not exist."""
    return QueueNotFound(f"queue {address} does not exist; create_queue() makes it")


@contextmanager
def translate_errors(table: Mapping[type[BaseException], type[MsgbusError]], doing: str) -> Generator[None]:
    """Translate errors of a client library into errors of msgbus inside a ``with`` block.

    The original error stays ``__cause__``. Errors of msgbus pass unchanged.

    Args:
        table: The client library's errors and their translations; the first that matches wins.
        doing: Begins the text of the error. It names the queue, and never a password.
    """
    try:
        yield
    except MsgbusError:
        raise
    except tuple(table) as error:
        ours = next(to for theirs, to in table.items() if isinstance(error, theirs))
        raise ours(f"{doing}: {str(error) or type(error).__name__}") from error
