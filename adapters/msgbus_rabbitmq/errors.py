"""What aiormq raises, as errors of ours."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from aiormq.exceptions import (
    AuthenticationError,
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
)

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
    # Only the client's own calls stand inside guarded(), and it raises a bare Exception or RuntimeError too.
    Exception: BrokerUnavailable,
}


@contextmanager
def translate_client_errors(doing: str) -> Iterator[None]:
    """The client's errors as ours; also its CancelledError, when it gave up a connection and nobody cancelled us."""
    try:
        with translate_errors(_TABLE, doing):
            yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BrokerUnavailable(f"{doing}: the connection was given up") from error
