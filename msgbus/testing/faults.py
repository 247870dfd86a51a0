"""What a server can be made to suffer, by means of its own: each harness offers what it can.

Members are killed, frozen and cut off by the suite itself. The rest takes somebody who knows the server: derive from
ServerFaults, override what you can do, and give it to the harness. What is not overridden is NotOffered: the case that
needs it ends there, and the report counts it as "not offered", neither as passed nor as skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from msgbus.adapter.address import Address

__all__ = ["NotOffered", "ServerFaults"]


class NotOffered(Exception):
    """This harness has no means for a fault; its text says which, and why."""


class ServerFaults:
    """This class offers nothing."""

    async def restart(self) -> None:
        """Stop the server and start it again with its data; return when it answers. Its clients stay as they are."""
        raise NotOffered("restarting the server")

    def unwritable(self, address: Address) -> AbstractAsyncContextManager[None]:
        """While the block runs, what is published to ``address`` is refused; one message more may still be taken.

        It is a dead-letter queue or a retry queue of a group with members. What lies there can be read and
        acknowledged, and everything else can be written, by everybody.
        """
        raise NotOffered(f"refusing what is published to {address.part or 'a queue'}")

    async def inject(self, address: Address, body: bytes, headers: Mapping[str, bytes]) -> None:
        """Publish to a queue as a client would that knows the server and has never heard of msgbus."""
        del body, headers
        raise NotOffered(f"publishing to {address} by another client")
