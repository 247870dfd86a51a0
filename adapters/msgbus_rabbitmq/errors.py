"""Translation of aio-pika's errors into those of msgbus."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from aio_pika.exceptions import (
    AuthenticationError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource  # aio-pika has no names for these two

from msgbus.errors import (
    AccessRefused,
    BrokerUnavailable,
    DeadLettersLocked,
    QueueConflict,
    QueueNotFound,
    translate_errors,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgbus.errors import MsgbusError

__all__ = ["translate_client_errors"]

_TABLE: Final[dict[type[BaseException], type[MsgbusError]]] = {
    ProbableAuthenticationError: AccessRefused,
    AuthenticationError: AccessRefused,
    ssl.SSLCertVerificationError: AccessRefused,
    ChannelAccessRefused: AccessRefused,
    ChannelNotFoundEntity: QueueNotFound,
    ChannelLockedResource: DeadLettersLocked,
    ChannelPreconditionFailed: QueueConflict,
    # Only calls of the client are made inside translate_client_errors(), and it raises bare Exception and RuntimeError.
    Exception: BrokerUnavailable,
}


@contextmanager
def translate_client_errors(doing: str) -> Iterator[None]:
    """Raise the errors of aio-pika as errors of msgbus; ``doing`` opens the message.

    aio-pika raises CancelledError in its callers when it gives up a connection. If the current task was not cancelled,
    that becomes BrokerUnavailable.
    """
    try:
        with translate_errors(_TABLE, doing):
            yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BrokerUnavailable(f"{doing}: aio-pika gave up the connection") from error
