"""What a RabbitMQ server does to connected clients: nothing is lost, and no member restarts."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import aio_pika
import aiormq
import pytest

from msgbus import (
    AccessRefused,
    BrokerUnavailable,
    NoRoute,
    PublishUnknown,
    QueueConflict,
    Reject,
    RetryPolicy,
    connect,
)
from msgbus.adapter.address import Address
from msgbus.publishing.publication import Publication
from msgbus.testing import Probe
from msgbus.testing.harness import publish_all, until_dead_letters
from msgbus.testing.probe import within
from msgbus_rabbitmq import adapter
from msgbus_rabbitmq.aio_pika_internals import Support
from tests.contract.faults import RabbitmqFaults
from tests.support.adapters.rabbitmq import ctl, serving
from tests.support.fault_load import MESSAGES_BETWEEN_FAULTS, PUBLISHERS, Load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgbus import Broker, Message
    from tests.support.servers.native import NativeServer

CLOSURES = int(os.environ.get("MSGBUS_TEST_CLOSURES", "2"))
"""How often all connections are closed; more by MSGBUS_TEST_CLOSURES=10."""
WHERE = r"127\.0\.0\.1"
DEADLINE = 3.0
"""Seconds that a publish may take where it is meant to fail."""


@pytest.fixture(scope="module")
def server() -> Iterator[NativeServer]:
    with serving() as server:
        yield server


async def until_refused(broker: Broker, queue: str) -> None:
    """Publish until the connection of before has broken."""
    async with within(20, "the refusal"):
        while True:
            await broker.publish(queue, "x")


async def do(server: NativeServer, *words: str) -> str:
    """What rabbitmqctl says; this process goes on meanwhile."""
    return await asyncio.to_thread(ctl, server, *words)


@pytest.mark.timeout(300)
async def test_all_connections_closed_under_load_lose_nothing(server: NativeServer) -> None:
    probe = Probe()
    async with connect(server.url, group="g", deadline=60) as broker:
        await broker.create_queue("closures", groups=["g"])
        await broker.consume("closures", probe)
        load = Load(broker, "closures")
        publishers = [asyncio.ensure_future(load.publish(name)) for name in range(PUBLISHERS)]
        for _ in range(CLOSURES):
            await load.until_confirmed(len(load.confirmed) + MESSAGES_BETWEEN_FAULTS)
            await do(server, "close_all_connections", "told to")
        await load.until_confirmed(len(load.confirmed) + MESSAGES_BETWEEN_FAULTS)
        load.stop()
        await asyncio.gather(*publishers)
        await probe.until_handled(load.confirmed)
    again = len(probe.ids) - len(set(probe.ids))
    print(f"\n{CLOSURES} closures: {len(load.confirmed)} confirmed, 0 lost, {again} repeated, {dict(load.failed)}")  # noqa: T201 - the figures, with -s
    assert not load.failed


async def test_short_of_memory_publishes_end_at_their_deadline_and_members_go_on(server: NativeServer) -> None:
    probe = Probe()
    async with connect(server.url, group="g") as broker, connect(server.url, group="g", deadline=DEADLINE) as hasty:
        await broker.create_queue("alarm", groups=["g"])
        probe.hold()
        await (await broker.consume("alarm", probe)).ready()
        ids = await publish_all(broker, "alarm", [Publication(b"x", message_id=str(n)) for n in range(40)])
        await hasty.publish("alarm", "x", message_id="before")
        await probe.until_entered(1)
        await do(server, "set_vm_memory_high_watermark", "0.0000001")
        try:
            began = asyncio.get_running_loop().time()
            with pytest.raises((PublishUnknown, BrokerUnavailable)):
                await hasty.publish("alarm", "x")  # it may be on its way, and tells us that the server is short
            with pytest.raises(BrokerUnavailable, match="short of memory"):
                await hasty.publish("alarm", "x")
            assert asyncio.get_running_loop().time() - began < 3 * DEADLINE
            await probe.release()
            await probe.until_handled([*ids, "before"])
            patient = asyncio.ensure_future(broker.publish("alarm", "x", message_id="after"))
        finally:
            await do(server, "set_vm_memory_high_watermark", "absolute", "512MB")
        await patient
        await probe.until_handled(["after"])
        assert probe.times(ids) == [1] * len(ids)


@pytest.mark.parametrize("at_once", [True, False], ids=["in one write", "one by one"])
async def test_each_of_a_thousand_callers_gets_its_own_verdict(
    server: NativeServer, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "verify", lambda: Support(batch_publish=at_once))
    async with connect(server.url) as broker:
        there, alone = f"there-{at_once}", f"alone-{at_once}"
        await broker.create_queue(there, groups=["g"])
        await broker.create_queue(alone)
        calls = [broker.publish(alone if n % 2 else there, str(n), message_id=str(n // 2)) for n in range(1000)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in outcomes] == [type(None), NoRoute] * 500


async def test_a_password_changed_meanwhile_is_waited_for_by_members_only(
    server: NativeServer,
) -> None:
    probe = Probe()
    async with connect(server.url, group="g") as broker:
        await broker.create_queue("password", groups=["g"])
        await (await broker.consume("password", probe)).ready()
        await do(server, "change_password", "guest", "another")
        await do(server, "close_all_connections", "told to")
        with pytest.raises(AccessRefused, match=WHERE):
            await until_refused(broker, "password")
        with pytest.raises(AccessRefused, match=WHERE):
            async with connect(server.url):
                pass
        await do(server, "change_password", "guest", "guest")
        await broker.publish("password", "x", message_id="after")
        await probe.until_handled(["after"])


async def test_a_server_that_takes_back_what_is_held_too_long_says_so_and_the_member_goes_on(
    server: NativeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's own limit set below ours: the channel is closed, and what was held comes again."""
    for name in ("consumer_timeout", "channel_tick_interval"):
        await do(server, "eval", f"application:set_env(rabbit, {name}, 1000).")
    try:
        probe = Probe()
        async with connect(server.url, group="g", grace=0) as broker:
            await broker.create_queue("held", groups=["g"])
            probe.hold()
            await (await broker.consume("held", probe)).ready()
            await broker.publish("held", "x", message_id="held")
            await probe.until_entered(2)
            await probe.release()
            await probe.until_handled(["held"])
    finally:
        await do(server, "eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
    assert "delivery acknowledgement" in caplog.text
    assert "timed out" in caplog.text


@pytest.mark.parametrize("before", [["drift1.g"], []], ids=["its own queue too", "only what is beside it"])
async def test_queues_of_another_shape_are_told_of_and_used_as_they_are(
    server: NativeServer, before: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    probe, queue = Probe(), f"drift{len(before)}"
    async with await aiormq.connect(server.url.replace("rabbitmq://", "amqp://")) as connection:
        channel = await connection.channel()
        for name in (f"{queue}.g.dlq", f"{queue}.g.retry.5s", *before):
            await channel.queue_declare(name, durable=True)
        await channel.exchange_declare(queue, exchange_type="topic", durable=True)
        for name in before:
            await channel.queue_bind(name, queue, routing_key="#")
    async with connect(server.url, group="g") as broker:
        with pytest.raises(QueueConflict, match=queue):
            await broker.create_queue(queue, groups=["g"])

        async def callback(message: Message) -> None:
            await probe(message)
            if message.id == "bad":
                raise Reject("told to")

        await (await broker.consume(queue, callback)).ready()
        await publish_all(broker, queue, [Publication(b"x", message_id=one) for one in ("good", "bad")])
        await probe.until_handled(["good", "bad"])
        assert [one.message.id for one in await until_dead_letters(broker, queue, 1)] == ["bad"]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    for name in (f"{queue}.g.dlq", f"{queue}.g.retry.5s", *before):
        assert 1 <= len([one for one in warnings if f"queue '{name}' in vhost" in one]) <= 2, name


async def test_a_message_that_comes_back_beyond_the_limit_is_a_dead_letter(server: NativeServer) -> None:
    """As if a thousand members had ended over it."""
    async with connect(server.url, group="g") as broker:
        await broker.create_queue("poison", groups=["g"])
        await broker.publish("poison", b"x", message_id="poison", key="k", headers={"a": "b"})
        async with await aiormq.connect(server.url.replace("rabbitmq://", "amqp://")) as connection:
            channel = await connection.channel()

            async def give_back(delivered: aiormq.abc.DeliveredMessage) -> None:
                await channel.basic_nack(delivered.delivery_tag or 0, requeue=True, wait=False)

            await channel.basic_consume("poison.g", give_back)
            (letter,) = await until_dead_letters(broker, "poison", 1)
        assert (letter.message.id, letter.message.key, letter.message.headers) == ("poison", "k", {"a": "b"})
        assert letter.reason == "delivery limit"


async def test_the_letters_of_a_full_queue_can_be_looked_at_and_sent_back(server: NativeServer) -> None:
    probe, bad = Probe(), [f"bad-{n}" for n in range(7)]
    for id in bad:
        probe.fail(id, 1)
    async with connect(server.url, group="g") as operator:
        await operator.create_queue("full", groups=["g"])
        async with connect(server.url, group="g") as broker:
            await broker.consume("full", probe, retry=RetryPolicy(immediate=0, delays=(), pause_after=None))
            await publish_all(broker, "full", [Publication(b"x", message_id=id) for id in bad])
            await until_dead_letters(broker, "full", len(bad))
        letters = operator.dead_letters("full")
        async with RabbitmqFaults(server).unwritable(Address("full", "g", "dlq")):
            for _ in range(3):
                assert sorted([one.message.id async for one in letters.look()]) == bad
            account = await letters.redrive()
            assert (account.taken, account.arrived, account.remaining) == (7, 7, 0)
        assert await letters.count() == 0


async def test_rabbitmqctl_shows_what_the_docs_say(server: NativeServer) -> None:
    async with connect(server.url, group="g") as broker:
        await broker.create_queue("shown", groups=["g"])
        await (await broker.consume("shown", Probe())).ready()
        queues = await do(server, "list_queues", "--no-table-headers", "name", "durable", "arguments")
        exchanges = await do(server, "list_exchanges", "--no-table-headers", "name", "type", "durable")
        names = ("source_name", "destination_name", "routing_key")
        bindings = await do(server, "list_bindings", "--no-table-headers", *names)
        connections = await do(server, "list_connections", "--no-table-headers", "client_properties")
    shown = {line.split("\t")[0]: line for line in queues.splitlines() if line.startswith("shown.")}
    steps = {f"shown.g.retry.{step}" for step in ("1s", "5s", "30s", "2m", "10m")}
    assert shown.keys() == {"shown.g", "shown.g.dlq", *steps}
    assert all("true" in line and '{"x-queue-type","quorum"}' in line for line in shown.values())
    assert all('{"x-delivery-limit",1000000}' in line for name, line in shown.items() if name != "shown.g")
    for argument in (
        '{"x-delivery-limit",1000}',
        '{"x-dead-letter-exchange",[]}',
        '{"x-dead-letter-routing-key","shown.g.dlq"}',
        '{"x-dead-letter-strategy","at-least-once"}',
        '{"x-overflow","reject-publish"}',
    ):
        assert argument in shown["shown.g"].replace('""', "[]"), shown["shown.g"]
    assert "shown\ttopic\ttrue" in exchanges
    assert "shown\tshown.g\t#" in bindings
    assert "msgbus publisher" in connections
    assert "msgbus consumer of g" in connections


async def test_messages_that_a_foreign_client_publishes_are_consumed(server: NativeServer) -> None:
    """aio-pika, as its manual has it."""
    probe = Probe()
    async with connect(server.url, group="g") as broker:
        await broker.create_queue("foreign", groups=["g"])
        await broker.consume("foreign", probe)
        async with await aio_pika.connect(server.url.replace("rabbitmq://", "amqp://")) as connection:
            exchange = await (await connection.channel()).get_exchange("foreign")
            told = aio_pika.Message(
                b'{"order": 17}', message_id="theirs", content_type="application/json", headers={"n": 7, "l": [1, "a"]}
            )
            await exchange.publish(told, routing_key="any.key")
            await exchange.publish(aio_pika.Message(b"\x00\xff"), routing_key="")
            await probe.until(lambda: len(probe.handled) == 2, "both")
    theirs, bare = probe.handled
    assert (theirs.id, theirs.json(), theirs.headers) == ("theirs", {"order": 17}, {"n": "7", "l": '[1, "a"]'})
    assert bare.id
    assert (bare.body, bare.key, bare.attempt, bare.content_type) == (b"\x00\xff", None, 1, "")
