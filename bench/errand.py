"""Work that a case gives to another process: `python -m bench.errand KIND ORDER PLACE` prints its result as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

from bench.contender import Place
from bench.contenders import named
from bench.figure import Order
from bench.work import WorkError, items

if TYPE_CHECKING:
    from bench.contender import Contender

BATCH = 10_000


async def send(kind: str, order: Order, place: Place) -> dict[str, float]:
    """Run the work in another process, within the order's patience, and return its result. Raises WorkError."""
    command = [sys.executable, "-m", "bench.errand", kind, json.dumps(asdict(order)), json.dumps(asdict(place))]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(order.patience):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise WorkError(f"{kind}: {err.decode().strip().splitlines()[-1]}")
    result: dict[str, float] = json.loads(out)
    return result


async def _fill(contender: Contender, order: Order) -> dict[str, float]:
    """Publish all messages."""
    await contender.open()
    left = items(order.messages)
    while batch := list(islice(left, BATCH)):
        await contender.publish_many(batch)
    await contender.close()
    return {}


async def _first(contender: Contender, order: Order) -> dict[str, float]:
    """Consume until the first callback. Return its time by the machine's clock, and the CPU seconds until then."""
    del order
    called: asyncio.Future[dict[str, float]] = asyncio.get_running_loop().create_future()

    async def handle(body: dict[str, object]) -> None:
        del body
        called.set_result({"at": time.monotonic(), "cpu": time.process_time()})

    await contender.consume(handle)
    result = await called
    await contender.stop()
    return result


async def _run(kind: str, order: Order, place: Place) -> dict[str, float]:
    contender = named(order.broker, order.contender)(place)
    return await {"fill": _fill, "first": _first}[kind](contender, order)


if __name__ == "__main__":
    _, name, what, where = sys.argv
    sys.stdout.write(json.dumps(asyncio.run(_run(name, Order(**json.loads(what)), Place(**json.loads(where))))))
