"""Detection of a refused virtual host while a connection is opened.

Client: aiormq 7.2.4. Symptom: the server answers ``Connection.Open`` with ``Connection.Close`` (530, the vhost does not
exist or the user has no access), and ``Connection._rpc()`` raises InvalidFrameError. The error names the frame, but it
carries no reply code, so the refusal has to be read from its text.

Test that fails without it: test_a_vhost_that_does_not_exist_is_refused. The text
is checked by `verification`; where it has changed, a refused vhost is reported as BrokerUnavailable.
Remove the text match when aiormq raises ConnectionClosed or ConnectionNotAllowed here.
"""

from __future__ import annotations

from typing import Any, Final

import aiormq
from aiormq.exceptions import ConnectionClosed, ConnectionNotAllowed, InvalidFrameError
from pamqp.commands import Connection as Methods

__all__ = ["is_vhost_refusal", "recognizes_vhost_refusal"]

NOT_ALLOWED: Final = 530
"""AMQP reply code of a refused virtual host."""


def is_vhost_refusal(error: BaseException | None) -> bool:
    """Tell whether ``error``, raised by aiormq's connect(), means that the server refused the virtual host."""
    if isinstance(error, InvalidFrameError):
        return "Close" in str(error)
    return isinstance(error, ConnectionNotAllowed) or (
        isinstance(error, ConnectionClosed) and NOT_ALLOWED in error.args
    )


def recognizes_vhost_refusal() -> bool:
    """Tell whether is_vhost_refusal() recognizes what the installed aiormq raises. Needs no event loop."""
    refusal = Methods.Close(reply_code=NOT_ALLOWED, reply_text="NOT_ALLOWED", class_id=10, method_id=40)
    try:
        call = aiormq.Connection._rpc(Methods.Open(virtual_host="/"), _Peer(refusal), _Peer(refusal))  # type: ignore[arg-type]
        call.send(None)  # nothing in it waits: it ends within this one step
    except StopIteration:
        return False
    except Exception as error:  # noqa: BLE001 - whatever it raises is what is asked about
        return is_vhost_refusal(error)
    call.close()
    return False


class _Peer:
    """Stands for the stream writer and for the frame receiver of a server that gives one answer."""

    def __init__(self, answer: Methods.Close) -> None:
        self._answer = answer

    def write(self, data: bytes) -> None:
        """Take the request."""

    async def drain(self) -> None:
        """Return at once."""

    async def get_frame(self) -> tuple[int, int, Any]:
        """Return the answer, as FrameReceiver.get_frame() does."""
        return 0, 0, self._answer
