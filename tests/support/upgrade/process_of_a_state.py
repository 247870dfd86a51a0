"""The program of both states: a member of the group, or an operator that does what it is told.

Run as ``python -I process_of_a_state.py member|operator NAME URL RECORDING DOWN`` by the interpreter of a state. It
imports msgbus only, and takes each name that was replaced by whichever of its names exists.

- A member consumes until SIGTERM. It prints ``ready`` when it does. When its standard input ends, so does it: the
  process that started it is dead.
- An operator reads commands from its standard input and prints their results, a JSON object a line; several are done
  at a time. It ends with its input.

What a message's callback does stands in the message's body: see ``load``.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

from msgbus import Backoff, Publication, Reject, RetryPolicy

GROUP = "g"
ORDERS = "orders"
PAYMENTS = "payments"
"""What the names of the two queues begin with."""


def _either(*places: str) -> Any:
    """Return the first of ``module:name`` that this state has."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"this state of msgbus has none of {', '.join(places)}")


recorded = _either("msgbus.testing.verification:recorded", "msgbus.testing.history:recorded")
Recorder = _either("msgbus.testing.verification:Recorder", "msgbus.testing.history:Recorder")
Address = _either("msgbus.adapter.address:Address", "msgbus.names:Address")
EventWriter = _either("msgbus.testing.verification:EventWriter", "msgbus.testing.history:Pen")


def _policy(immediate: int, **others: Any) -> RetryPolicy:
    names = {field.name for field in fields(RetryPolicy)}
    others["immediate" if "immediate" in names else "in_place"] = immediate
    return RetryPolicy(**others)


POLICIES = {
    # Four attempts within 8 s. The last wait is no tier: it passes the ones of 5 s and of 1 s.
    ORDERS: _policy(1, backoff=Backoff(first=0.01, most=0.02), delays=(1.0, 6.5), pause_after=None),
    # As many attempts as the longest-lived message takes, each in a retry queue; pauses when the downstream is off.
    PAYMENTS: _policy(0, delays=(1.0,) * 120, pause_after=3),
}


async def _member(broker: Any, queues: list[str], down: Path) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()

    async def callback(message: Any) -> None:
        await _handle(message, down)

    async def announce() -> None:
        for subscription in subscriptions:
            await subscription.ready()
        _print("ready")

    subscriptions = [await broker.consume(queue, callback, retry=POLICIES[queue.partition("-")[0]]) for queue in queues]
    announcing = asyncio.ensure_future(announce())
    await broker.run()
    await announcing


def _die_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock a thread must not hold when the interpreter ends
        pass
    os._exit(3)


async def _handle(message: Any, down: Path) -> None:
    plan = message.json()
    await asyncio.sleep(plan["seconds"])  # what a handler does
    if plan["downstream"] and down.exists():  # noqa: ASYNC240 - a look at a file
        raise ConnectionError("the downstream is off")
    if plan["dead"] and not int(message.system.get("msgbus-redrives", "0")):
        raise Reject("not yet") if plan["dead"] == "rejected" else LookupError(f"attempt {message.attempt}")
    if message.attempt <= plan["failures"]:
        raise LookupError(f"attempt {message.attempt}")


class Operator:
    """What an operator does, by its name."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker

    async def create(self, queue: str, partitions: int | None) -> None:
        await self._broker.create_queue(queue, groups=(GROUP,), partitions=partitions)

    async def publish(self, queue: str, messages: list[dict[str, Any]]) -> list[str | None]:
        results = await self._broker.publish_many(queue, [Publication(**one) for one in messages])
        return [None if one is None else f"{type(one).__name__}: {one}" for one in results]

    async def letters(self, queue: str) -> list[dict[str, Any]]:
        return [one.as_dict() async for one in self._broker.dead_letters(queue).look()]

    async def redrive(self, queue: str, rate: float | None, limit: int | None) -> list[int]:
        done = await self._broker.dead_letters(queue).redrive(rate=rate, limit=limit)
        return [done.taken, done.arrived]

    async def waiting(self, queues: list[str]) -> dict[str, int]:
        adapter = self._broker.watched.inner
        addresses = [address for queue in queues for address in (Address(queue), *_retry_queues(queue))]
        return {str(address): (await adapter.lag(address, GROUP)).total for address in addresses}


def _retry_queues(queue: str) -> list[Any]:
    return [Address(queue, GROUP, f"retry.{tier}") for tier in ("1s", "5s", "30s", "2m", "10m")]


async def _operate(broker: Any) -> None:
    operator = Operator(broker)

    async def command(number: int, what: str, arguments: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"number": number}
        try:
            answer["result"] = await getattr(operator, what)(**arguments)
        except Exception as error:  # noqa: BLE001 - the one that asked judges it
            answer |= {"error": type(error).__name__, "text": str(error)}
        _print(json.dumps(answer))

    async with broker, asyncio.TaskGroup() as running:
        _print("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            running.create_task(command(*json.loads(line)))


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _run(role: str, name: str, url: str, recording: str, down: str, *queues: str) -> None:
    broker = recorded(url, EventWriter(name, Recorder(Path(recording))), group=GROUP)
    if role == "member":
        await _member(broker, list(queues), Path(down))
    else:
        await _operate(broker)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    _print(str(Path(importlib.import_module("msgbus").__file__ or "").parent.parent))
    asyncio.run(_run(*sys.argv[1:]))
