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
    """The harness cannot inject a fault; the text says which, and why."""


class ServerFaults:
    """Faults that a harness can inject; this base class offers none."""

    async def restart(self) -> None:
        """Stop the server, start it again with its data, and return when it answers. Clients are left as they are."""
        raise NotOffered("restarting the server")

    def unwritable(self, address: Address) -> AbstractAsyncContextManager[None]:
        """Refuse publishes to ``address`` while the block runs; the server may still accept one more message.

        ``address`` is a dead-letter queue or a retry queue of a group with members. Its messages can still be read
        and acknowledged, and every other queue can be written.
        """
        raise NotOffered(f"refusing what is published to {address.part or 'a queue'}")

    def unreadable(self, address: Address, group: str) -> AbstractAsyncContextManager[None]:
        """Refuse to let ``group`` consume ``address`` while the block runs.

        Everything may still be published to it, and every other queue can be consumed. A server that asks for rights
        only when a consumer begins lets those that consume already go on.
        """
        raise NotOffered(f"refusing to let group {group} consume {address}")

    async def inject(self, address: Address, body: bytes, headers: Mapping[str, bytes]) -> None:
        """Publish to a queue as a third-party client that knows the server but not msgbus."""
        del body, headers
        raise NotOffered(f"publishing to {address} by another client")
