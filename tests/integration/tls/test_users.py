"""The secured servers themselves: logins and rights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msgbus import AccessRefused, connect
from tests.support.servers import server_version

if TYPE_CHECKING:
    from tests.support.servers import NativeServer


async def test_a_secured_server_tells_its_version_over_tls(secured: NativeServer) -> None:
    assert await server_version(secured.url)


@pytest.mark.parametrize("tls", [True, False])
async def test_rights_are_given_and_taken_while_the_server_runs(secured: NativeServer, *, tls: bool) -> None:
    async def create(queue: str) -> None:
        async with connect(secured.recipe.url_as("app", tls=tls), group="g", deadline=10) as broker:
            await broker.create_queue(queue, groups=["g"])

    await create(f"contract-before-{tls}")
    secured.recipe.forbid("app")
    with pytest.raises(AccessRefused):
        await create(f"contract-without-{tls}")
    secured.recipe.allow("app", *secured.recipe.LEAST)
    await create(f"contract-after-{tls}")
