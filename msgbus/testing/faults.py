"""Faults of a server that a harness can inject.

The suite itself kills, freezes and severs members. Faults of the server need knowledge of the server: derive from
:class:`ServerFaults`, override what you can inject, and give an instance to the harness. A method that is not
overridden raises :class:`NotOffered`: the case that needs it ends there, and the report counts it as "not offered",
neither as passed nor as skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from msgbus.adapter.address import Address

__all__ = ["NotOffered", "ServerFaults"]


class NotOffered(Exception):
    """The harness cannot inject a fault; the text names the fault."""


class ServerFaults:
    """Faults that a harness can inject; this base class offers none."""

    async def restart(self) -> None:
        """Stop the server, start it again with its data, and return when it answers. Clients are left as they are.

        Raises:
            NotOffered: This harness cannot restart its server.
        """
        raise NotOffered("restarting the server")

    def unwritable(self, address: Address) -> AbstractAsyncContextManager[None]:
        """Refuse publishes to a queue while the block runs.

        The server may still accept one more message. The messages of the queue can still be read and acknowledged, and
        every other queue can be written.

        Args:
            address: A dead-letter queue or a retry queue of a group with members.

        Returns:
            The context manager for the block.

        Raises:
            NotOffered: This harness cannot make a queue refuse publishes.
        """
        raise NotOffered(f"refusing what is published to {address.part or 'a queue'}")

    def unreadable(self, address: Address, group: str) -> AbstractAsyncContextManager[None]:
        """Refuse to let a group consume a queue while the block runs.

        Messages may still be published to it, and every other queue can be consumed. A server that checks permissions
        only when a consumer begins lets the present consumers go on.

        Args:
            address: The queue.
            group: The group.

        Returns:
            An asynchronous context manager.

        Raises:
            NotOffered: This harness cannot inject the fault.
        """
        raise NotOffered(f"refusing to let group {group} consume {address}")

    async def inject(self, address: Address, body: bytes, headers: Mapping[str, bytes]) -> None:
        """Publish to a queue as a third-party client that knows the server but not msgbus.

        Args:
            address: The queue.
            body: The body of the message.
            headers: The headers of the message.

        Raises:
            NotOffered: This harness has no such client.
        """
        del body, headers
        raise NotOffered(f"publishing to {address} by another client")
