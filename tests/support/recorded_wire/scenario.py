"""The scenario that is recorded: it uses every feature of msgbus that writes to a server.

Names, ids, keys, bodies and headers are fixed. The id of a message decides what the callback does with it. Copies that
are compared at the end wait in a retry queue of two minutes, or in one that no member consumes any more.

Of the modules that make, read and compare records only this one uses msgbus, and only its public names.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgbus import Backoff, DeadLetterFilter, DeadLettersLocked, Publication, Reject, RetryLater, RetryPolicy, connect
from tests.support.recorded_wire.raw import GROUP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from msgbus import Broker, DeadLetter, Message
    from tests.support.recorded_wire.raw import Raw

__all__ = [
    "AUDIT",
    "BILLING",
    "FEATURES",
    "IN_ORDERS",
    "IN_PLAIN",
    "ORDERS",
    "OWN",
    "PLAIN",
    "Expected",
    "Features",
    "Reader",
    "go_on",
    "letters_busy",
    "listed",
    "play",
    "read_unread",
    "redrive",
    "until",
]

EXCHANGE: Final = "shop"
ORDERS: Final = "orders"
PLAIN: Final = "plain"
KEPT: Final = "kept"
AUDIT: Final = "audit"
"""A group that never consumes: all messages stay unread for it."""
BILLING: Final = "billing"
"""A group that never consumes: it is rewound to the end, and then the queue is replayed to it."""
RETENTION: Final = 7200.0
DEADLINE: Final = 60.0
"""Seconds that each wait may take."""
DUE: Final = 240.0
"""The same for copies in the retry queue of two minutes: records that are older than that are due at once."""

POLICY: Final = RetryPolicy(immediate=1, backoff=Backoff(first=0.01, most=0.01), delays=(1.0, 120.0), pause_after=None)
NO_DELAYS: Final = RetryPolicy(
    immediate=1, backoff=Backoff(first=0.01, most=0.01), delays=(), pause_after=None, traceback=False
)


@dataclass(frozen=True)
class Features:
    """Options of create_queue() that a broker supports, and whether it keeps history."""

    partitions: int | None = None
    retention: bool = False
    compact: bool = False
    history: bool = False


FEATURES: Final[Mapping[str, Features]] = {
    "redis": Features(retention=True, history=True),
    "rabbitmq": Features(),
    "kafka": Features(partitions=3, retention=True, compact=True, history=True),
}


@dataclass(frozen=True)
class Expected:
    """A message as it is given to publish(), and what a callback has to get: ``data`` and ``kind``."""

    id: str | None
    body: Any
    data: bytes
    kind: str = "application/octet-stream"
    key: str | None = None
    headers: Mapping[str, str] | None = None
    delay: float | None = None

    def seen(self) -> tuple[str | None, bytes, str | None, dict[str, str], str]:
        """What Reader.seen() gives for it, but for the attempt."""
        headers = {name: text for name, text in (self.headers or {}).items() if name != "content-type"}
        return self.id, self.data, self.key, dict(sorted(headers.items())), self.kind


_TEXT: Final = "text/plain; charset=utf-8"
IN_ORDERS: Final = (
    Expected("bytes", b"\x00\xff raw", b"\x00\xff raw", key="k1", headers={"colour": "grün", "X-Trace": "1"}),
    Expected("text", "Grüße", "Grüße".encode(), _TEXT, key="schlüssel"),
    Expected(
        "json",
        {"order": 17, "lines": ["ä", None]},
        '{"order":17,"lines":["ä",null]}'.encode(),
        "application/json",
        "k3",
    ),
    Expected("typed", b"<a/>", b"<a/>", "application/xml", "k1", {"content-type": "application/xml"}),
    Expected("empty", b"", b"", key="k2", headers={"nothing": ""}),
    Expected("retried", b"retried", b"retried", key="k2", headers={"colour": "grün"}),
    Expected("later", "later", b"later", _TEXT, key="k3"),
    Expected("rejected", b"rejected \xfe", b"rejected \xfe", key="k1", headers={"colour": "rot"}),
    Expected("looped", b"looped", b"looped", key="k4"),
    Expected("redriven", b"redriven", b"redriven", key="k5", headers={"colour": "blau"}),
    Expected("delayed", b"delayed", b"delayed", key="k6", delay=180.0),
)
IN_PLAIN: Final = (
    Expected(None, b"anonymous", b"anonymous"),
    Expected("exhausted", b"exhausted", b"exhausted"),
    Expected("unmarked", [1, 2], b"[1,2]", "application/json", headers={"colour": "grau"}),
    Expected("many-1", b"1", b"1"),
    Expected("many-2", "2", b"2", _TEXT, key="k1"),
)
OWN: Final = f"{EXCHANGE}.{ORDERS}.{GROUP}"
"""The prefix of the names of the consuming group's retry queues and dead-letter queue."""


class Reader:
    """A callback that keeps every message; with ``failing`` it raises what the scenario needs."""

    def __init__(self, *, failing: bool = False) -> None:
        self.got: list[Message] = []
        self._failing = failing

    async def __call__(self, message: Message) -> None:
        self.got.append(message)
        if not self._failing:
            return
        match message.id:
            case "retried" | "exhausted":
                raise LookupError(f"attempt {message.attempt}")
            case "later":
                raise RetryLater(121.0)  # two minutes in one retry queue, and one second in another
            case "rejected" | "looped" | "redriven" | "unmarked":
                raise Reject(f"no customer {message.key}")

    def seen(self) -> list[tuple[str, bytes, str | None, dict[str, str], str, int]]:
        """Return id, body, key, headers, content type and attempt of each message."""
        return [
            (one.id, one.body, one.key, dict(sorted(one.headers.items())), one.content_type, one.attempt)
            for one in self.got
        ]

    def times(self) -> dict[str, int]:
        """Return the time of publishing of each message, in ms."""
        return {one.id: one.time for one in self.got}


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = DEADLINE) -> None:
    """Ask until the condition holds. Raise AssertionError after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds:g} s") from None


# Writing.


async def play(url: str, features: Features, raw: Raw) -> None:
    """Run the writing part. At the end no broker object is open."""
    async with connect(url, group=GROUP) as broker:
        await create(broker, features)
        await _handle(broker, raw)
    async with connect(url, group=GROUP) as broker:
        await _operate(broker, features)


async def create(broker: Broker, features: Features) -> None:
    """Create the queues. Where they exist it changes nothing, and raises QueueConflict if their settings differ."""
    await broker.create_queue(ORDERS, exchange=EXCHANGE, groups=(GROUP, AUDIT), partitions=features.partitions)
    await broker.create_queue(PLAIN, groups=(GROUP, AUDIT, BILLING))
    await broker.create_queue(KEPT, retention=RETENTION if features.retention else None)
    if features.compact:
        await broker.create_queue("newest", groups=(GROUP,), compact=True, native={"segment.bytes": "1048576"})


async def _handle(broker: Broker, raw: Raw) -> None:
    orders, plain = Reader(failing=True), Reader(failing=True)
    await (await broker.consume(ORDERS, orders, exchange=EXCHANGE, retry=POLICY)).ready()
    await (await broker.consume(PLAIN, plain, retry=NO_DELAYS)).ready()
    for one in IN_ORDERS:
        await broker.publish(
            ORDERS, one.body, exchange=EXCHANGE, message_id=one.id, key=one.key, headers=one.headers, delay=one.delay
        )
    alone, together = IN_PLAIN[:-2], IN_PLAIN[-2:]
    for one in alone:
        await broker.publish(PLAIN, one.body, message_id=one.id, key=one.key, headers=one.headers, delay=one.delay)
    many = [Publication(one.body, message_id=one.id, key=one.key) for one in together]
    assert await broker.publish_many(PLAIN, many) == [None, None]

    of_orders = broker.dead_letters(ORDERS, exchange=EXCHANGE)
    await _until_letters(broker, ORDERS, 3, exchange=EXCHANGE)
    await _until_letters(broker, PLAIN, 2)
    looped = [one.letter_id async for one in of_orders.look() if one.message.id == "looped"]
    await _redrive(broker, ORDERS, looped[0], EXCHANGE)

    async def came_back() -> bool:
        return [one.id for one in orders.got].count("looped") == 2

    await until(came_back, "the redriven letter")
    await _until_letters(broker, ORDERS, 3, exchange=EXCHANGE)

    async def waiting() -> bool:
        return await raw.held(f"{OWN}.retry.2m") == 3 and len(plain.got) >= len(IN_PLAIN) + 1

    await until(waiting, "three copies in the retry queue of two minutes")
    await raw.while_consumed()


async def _until_letters(broker: Broker, queue: str, count: int, exchange: str = "") -> None:
    letters = broker.dead_letters(queue, exchange=exchange)

    async def there() -> bool:
        with suppress(DeadLettersLocked):
            return await letters.count() == count
        return False

    await until(there, f"{count} dead letters of {queue}")


async def _redrive(broker: Broker, queue: str, letter: str, exchange: str = "") -> None:
    account = await broker.dead_letters(queue, exchange=exchange).redrive(DeadLetterFilter(id=letter))
    assert (account.taken, account.arrived, account.refused) == (1, 1, [])


async def _operate(broker: Broker, features: Features) -> None:
    """Redrive, rewind and replay. No member runs, so the copies stay in the first retry queue."""
    await _redrive(broker, ORDERS, "redriven", EXCHANGE)
    if features.history:
        history = broker.history(PLAIN, group=BILLING)
        await history.rewind("newest")
        replay = await history.replay("oldest")
        assert (replay.taken, replay.arrived) == (len(IN_PLAIN), len(IN_PLAIN))


# Reading.


async def listed(url: str) -> dict[str, list[DeadLetter]]:
    """Return the dead letters of the consuming group, by queue."""
    async with connect(url, group=GROUP) as broker:
        return {
            f"{EXCHANGE}.{ORDERS}": [one async for one in broker.dead_letters(ORDERS, exchange=EXCHANGE).look()],
            PLAIN: [one async for one in broker.dead_letters(PLAIN).look()],
        }


async def letters_busy(url: str) -> bool:
    """Tell whether a redrive is refused because another process holds the dead letters."""
    async with connect(url, group=GROUP) as broker:
        try:
            await broker.dead_letters(ORDERS, exchange=EXCHANGE).redrive(limit=0)
        except DeadLettersLocked:
            return True
        return False


async def read_unread(url: str) -> dict[tuple[str, str], Reader]:
    """Consume as the groups that have consumed nothing; return what they get, by queue and group."""
    readers = {key: Reader() for key in ((ORDERS, AUDIT), (PLAIN, AUDIT), (PLAIN, BILLING))}
    counts = {ORDERS: len(IN_ORDERS), PLAIN: len(IN_PLAIN)}
    async with connect(url) as broker:
        for (queue, group), reader in readers.items():
            exchange = EXCHANGE if queue == ORDERS else ""
            await (await broker.consume(queue, reader, group=group, exchange=exchange)).ready()

        async def all_read() -> bool:
            return all(len(reader.got) >= counts[queue] for (queue, _), reader in readers.items())

        await until(all_read, "what was unread", DUE)
    return readers


async def go_on(url: str, features: Features, raw: Raw) -> Reader:
    """Consume as the group that has consumed; publish one more message. Return what it gets.

    It gets the copies in its retry queues; the delayed one moves to the next retry queue.
    """
    reader = Reader()
    async with connect(url, group=GROUP) as broker:
        await create(broker, features)
        await (await broker.consume(ORDERS, reader, exchange=EXCHANGE, retry=POLICY)).ready()
        await broker.publish(ORDERS, b"beside", exchange=EXCHANGE, message_id="beside", key="k1")

        async def all_read() -> bool:
            return len(reader.got) >= 4 and await raw.held(f"{OWN}.retry.30s") >= 1

        await until(all_read, "what waited in retry queues", DUE)
    return reader


async def redrive(url: str) -> dict[str, Reader]:
    """Redrive all dead letters; return what the consuming group gets, by queue."""
    readers = {ORDERS: Reader(), PLAIN: Reader()}
    async with connect(url, group=GROUP) as broker:
        for queue, reader in readers.items():
            exchange = EXCHANGE if queue == ORDERS else ""
            await (await broker.consume(queue, reader, exchange=exchange, retry=POLICY)).ready()
            account = await broker.dead_letters(queue, exchange=exchange).redrive()
            assert (account.taken, account.arrived, account.remaining, account.skipped) == (2, 2, 0, 0)
            await until(partial(_has, reader, 2), f"the dead letters of {queue}")
    return readers


async def _has(reader: Reader, count: int) -> bool:
    return len(reader.got) >= count
