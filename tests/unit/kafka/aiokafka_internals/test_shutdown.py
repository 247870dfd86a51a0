"""Closing of a client that hangs, or that connects while it is closed."""

from __future__ import annotations

from types import SimpleNamespace

from msgbus_kafka.aiokafka_internals.shutdown import stop_client


async def test_a_client_that_hangs_while_closing_is_left_after_a_bound() -> None:
    import asyncio

    async def close() -> None:
        await asyncio.Event().wait()

    client = SimpleNamespace(
        close=close, _sync_task=None, _md_update_fut=None, _get_conn_lock=asyncio.Lock(), _conns={}
    )
    async with asyncio.timeout(5):
        await stop_client(client)


async def test_a_connection_that_is_made_while_its_client_closes_is_closed_too_and_no_other_is_made() -> None:
    import asyncio

    closed: list[str] = []

    async def close() -> None:
        closed.append("client")

    lock = asyncio.Lock()
    client = SimpleNamespace(close=close, _sync_task=None, _md_update_fut=None, _get_conn_lock=lock, _conns={})
    await lock.acquire()
    stopping = asyncio.ensure_future(stop_client(client))
    while not closed:
        await asyncio.sleep(0)
    client._conns["late"] = SimpleNamespace(close=lambda: closed.append("late"))
    lock.release()
    await stopping
    assert closed == ["client", "late"]
    assert await client._get_conn("node") is None
