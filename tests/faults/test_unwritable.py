"""A dead-letter queue that cannot be written: nothing acknowledged, neighbours flow, one letter each in the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from msgbus.broker import Publication
from msgbus.registry import connect
from msgbus.retry import Reject
from msgbus.testing.harness import Harness, publish_all, until_letters
from msgbus.testing.probe import Probe, within
from msgbus.url import BrokerURL
from msgbus_memory.server import server as memory_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from msgbus.message import Message

BAD, GOOD = 7, 40


async def on_memory(url: str, queue: str) -> None:
    """The queue is gone."""
    del url
    queues = memory_server("unwritable").queues
    del queues[next(one for one in queues if str(one) == f"{queue}.g.dlq")]


async def on_redis(url: str, queue: str) -> None:
    """The user may no longer write to its stream."""
    allowed = [f"~msgbus:{{{queue}}}", f"~msgbus:{{{queue}.g.retry*", "~msgbus:bell:*", f"%R~msgbus:{{{queue}.g.dlq}}"]
    await acl(url, "resetkeys", *allowed)


async def acl(url: str, *rules: str) -> str:
    """The URL of the user ``careful``, to whom ``rules`` apply from now on."""
    place = BrokerURL.parse(url)
    ((host, port),) = place.hosts
    redis: Any = Redis(host=host, port=port or 6379, password=place.password or None)
    await redis.execute_command("ACL", "SETUSER", "careful", "on", ">secret", "+@all", *rules)
    await redis.aclose()
    return f"redis://careful:secret@{host}:{port}/{place.path or 0}"


async def on_rabbitmq(url: str, queue: str) -> None:
    """The queue is gone."""
    connection = await aiormq.connect(url.replace("rabbitmq://", "amqp://"))
    channel = await connection.channel()
    await channel.queue_delete(f"{queue}.g.dlq")
    await connection.close()


async def on_kafka(url: str, queue: str) -> None:
    """The topic is gone."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=url.removeprefix("kafka://").partition("?")[0])
    await admin.start()
    try:
        await admin.delete_topics([f"{queue}.g.dlq"])
    finally:
        await admin.close()


UNWRITABLE: dict[str, Callable[[str, str], Awaitable[None]]] = {
    "memory": on_memory,
    "redis": on_redis,
    "rabbitmq": on_rabbitmq,
    "kafka": on_kafka,
}


@pytest.mark.parametrize("name", list(UNWRITABLE))
async def test_a_dead_letter_queue_that_cannot_be_written_loses_nothing(
    name: str, request: pytest.FixtureRequest
) -> None:
    url = "memory://unwritable" if name == "memory" else request.getfixturevalue(f"{name}_server").url
    async with Harness(url) as harness:
        queue, probe = await harness.queue("g"), Probe()

        async def callback(message: Message) -> None:
            await probe(message)
            if message.id.startswith("bad"):
                raise Reject("told to")

        careful = await acl(url, "allkeys") if name == "redis" else url
        async with connect(careful, group="g") as broker:
            subscription = await broker.consume(queue, callback)
            await subscription.ready()
            await UNWRITABLE[name](url, queue)
            bad = [Publication(b"x", message_id=f"bad-{n}", key=f"b{n}") for n in range(BAD)]
            good = [Publication(b"x", message_id=f"good-{n}", key=f"g{n}") for n in range(GOOD)]
            await publish_all(broker, queue, [*bad, *good])
            await probe.until_handled([str(one.message_id) for one in [*bad, *good]])
            async with within(30, "noticing that it cannot be written"):
                while not subscription.counts.outages:
                    await asyncio.sleep(0.02)
        again = await harness.broker()  # consuming makes what is missing
        entered = len(probe.entered)
        await again.consume(queue, callback)
        letters = await until_letters(again, queue, BAD)
        assert sorted(letter.message.id for letter in letters) == [f"bad-{n}" for n in range(BAD)]
        calls = Counter(one.id for one in probe.entered)
        assert {calls[f"bad-{n}"] for n in range(BAD)} == {2}, "none of them was acknowledged"
        # A log's watermark stands before the first that is not acknowledged: what is above it may come again.
        assert name == "kafka" or len(probe.entered) == entered + BAD, "nothing else came again"
        assert max(calls.values()) == 2
