"""RabbitAdapter on a real server: confirms, giving back, acknowledging, and a server that goes away."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from pamqp.commands import Basic
from pamqp.frame import marshal

from msgbus.adapter import QueueSpec
from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.errors import (
    AccessRefused,
    BrokerUnavailable,
    MessageTooLarge,
    NoRoute,
    PublishUnknown,
    QueueConflict,
    QueueNotFound,
    Unsupported,
)
from msgbus_rabbitmq.topology import server_queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from msgbus.adapter.envelope import Delivery
    from tests.support.servers.native import NativeServer

from msgbus_rabbitmq import adapter as adapter_module
from msgbus_rabbitmq.aio_pika_internals import Support, verify
from msgbus_rabbitmq.aio_pika_internals.batch_publish import missing_attributes
from msgbus_rabbitmq.amqp_frames import BODY, HEADER, encode_content_header, encode_frame
from tests.support.adapters.base import GROUP, Listener
from tests.support.adapters.rabbitmq import DEADLINE, Bench, bodies, drained, paused, serving, until


@pytest.fixture(scope="module")
def rabbitmq_server() -> Iterator[NativeServer]:
    with serving(max_message_size="262144") as server:
        yield server


@pytest.fixture
async def bench(rabbitmq_server: NativeServer) -> AsyncIterator[Bench]:
    bench = Bench(rabbitmq_server)
    async with bench.stack:
        yield bench
    # What is left is a task that nobody ends.
    for _ in range(3):
        await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and "msgbus" in task.get_name()]
    assert not left


@pytest.mark.parametrize("at_once", [True, False], ids=["in one write", "one by one"])
class TestPublishing:
    @pytest.fixture(autouse=True)
    def writing(self, at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(adapter_module, "verify", lambda: Support(batch_publish=at_once))

    async def test_a_message_comes_back_as_it_was_sent(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        headers = {"content-type": "text/plain", "x-request-id": "7", "Case": "kept", "msgbus-attempts": "2"}
        assert await adapter.publish(bench.outgoing(address, key="k", headers=headers), 5) == [None]
        consumer, _ = await bench.consumer(adapter, {address: 5})
        (one,) = await until(consumer, {address: 1}, 1)
        message = one.message
        assert (message.body, message.id, message.key, message.content_type) == (b"0", "m0", "k", "text/plain")
        assert message.headers == {"x-request-id": "7", "Case": "kept"}
        assert (message.attempt, message.redelivered, one.position) == (3, False, None)
        assert message.published_at.timestamp() == 1_700_000_000.123

    async def test_messages_of_one_call_and_of_calls_in_flight_keep_their_order(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        calls = [bench.outgoing(address, 50) for _ in range(10)]
        verdicts = await asyncio.gather(*(adapter.publish(call, 10) for call in calls))
        assert not any(itertools.chain(*verdicts))
        consumer, _ = await bench.consumer(adapter, {address: 1000})
        got = bodies(await until(consumer, {address: 500}, 500))
        for first in range(0, 500, 50):
            assert [number for number in got if first <= number < first + 50] == list(range(first, first + 50))

    async def test_each_message_has_its_own_verdict(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        there, alone, nowhere = await bench.queue(adapter), bench.address(), bench.address()
        await adapter.create_queues([QueueSpec(address=alone)])
        letters = Address(bench.address().queue, GROUP, "dlq")
        messages = [bench.outgoing(one)[0] for one in (there, alone, nowhere, letters, there)]
        verdicts = await adapter.publish(messages, 5)
        assert [type(one) for one in verdicts] == [type(None), NoRoute, QueueNotFound, QueueNotFound, type(None)]
        assert "create_queue(groups=" in str(verdicts[1])
        assert nowhere.queue in str(verdicts[2])

    async def test_two_messages_of_one_id_do_not_swap_their_verdicts(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        there, alone = await bench.queue(adapter), bench.address()
        await adapter.create_queues([QueueSpec(address=alone)])
        same = [
            Outgoing(address, id="same", time=0, body=b"", key=None, headers={})
            for _ in range(50)
            for address in (there, alone)
        ]
        verdicts = await adapter.publish(same, 10)
        assert [type(one) for one in verdicts] == [type(None), NoRoute] * 50

    async def test_a_message_over_the_servers_limit_is_named_and_its_neighbour_goes_on(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        (large,) = bench.outgoing(address, body=b"x" * 300_000)
        (small,) = bench.outgoing(address)
        assert [type(one) for one in await adapter.publish([large], 5)] == [MessageTooLarge]
        assert await adapter.publish([small], 5) == [None]

    async def test_a_body_of_many_frames_arrives_whole(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        body = secrets.token_bytes(250_000)
        assert await adapter.publish([*bench.outgoing(address, 3, body=body)], 10) == [None] * 3
        consumer, _ = await bench.consumer(adapter, {address: 5})
        assert [one.message.body for one in await until(consumer, {address: 3}, 3)] == [body] * 3

    async def test_a_queue_deleted_under_a_publisher_is_found_missing(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address, other = await bench.queue(adapter), await bench.queue(adapter)
        assert await adapter.publish([*bench.outgoing(address), *bench.outgoing(other)], 5) == [None, None]
        await (await bench.raw()).exchange_delete(address.queue)
        first, neighbour = await adapter.publish([*bench.outgoing(address), *bench.outgoing(other)], 5)
        assert isinstance(first, BrokerUnavailable)
        assert first.uncertain
        assert neighbour is None or (isinstance(neighbour, BrokerUnavailable) and neighbour.uncertain)
        again = await adapter.publish([*bench.outgoing(address), *bench.outgoing(other)], 5)
        assert [type(one) for one in again] == [QueueNotFound, type(None)]

    async def test_a_full_queue_is_refused_for_now_and_other_groups_have_it_already(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter, "other")
        channel = await bench.raw()
        arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
        await channel.queue_declare(server_queue(address, GROUP), durable=True, arguments=arguments)
        await channel.queue_bind(server_queue(address, GROUP), address.queue, routing_key="#")
        verdicts: list[Any] = []
        for _ in range(5):
            verdicts += await adapter.publish(bench.outgoing(address), 5)
        refused = [one for one in verdicts if one is not None]
        assert refused
        assert all(isinstance(one, BrokerUnavailable) and not one.uncertain for one in refused)
        assert (await adapter.lag(address, "other")).total == 5

    async def test_text_that_is_no_utf_8_goes_out_as_the_bytes_that_came_in(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        strange = b"\xff\xfe".decode(errors="surrogateescape")
        assert await adapter.publish(bench.outgoing(address, key=strange, headers={"h": strange}), 5) == [None]
        consumer, _ = await bench.consumer(adapter, {address: 5})
        (one,) = await until(consumer, {address: 1}, 1)
        assert (one.message.key, one.message.headers["h"]) == (strange, strange)

    async def test_a_frozen_server_leaves_the_outcome_open(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        assert await adapter.publish(bench.outgoing(address), 5) == [None]
        async with paused(bench.server):
            began = time.monotonic()
            verdicts = await adapter.publish(bench.outgoing(address, 3), 0.5)
            assert time.monotonic() - began < 2
        assert [type(one) for one in verdicts] == [PublishUnknown] * 3
        assert await adapter.publish(bench.outgoing(address), 10) == [None]


class TestTheClient:
    """What is used of aio-pika and aiormq and not promised by them."""

    @pytest.fixture(autouse=True)
    def with_internals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also with MSGBUS_TEST_FALLBACK=1: by itself aiormq ends a connection at text that is no UTF-8."""
        monkeypatch.setattr(adapter_module, "verify", verify)

    async def test_the_client_that_is_installed_fits_on_a_real_connection(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        assert not missing_attributes((await adapter._connection.channel(confirms=True)).underlay)
        assert (adapter._connection.support.frame_reader, adapter._connection.support.batch_publish) == (True, True)

    async def test_what_it_cannot_read_of_a_strangers_message_stops_nobody(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        channel: Any = await bench.raw()
        strange = "\udcff"
        microseconds = 1_700_000_000_000_000 * 1000
        payload = (
            marshal(Basic.Publish(exchange=address.queue, routing_key=address.queue), channel.number)
            + encode_frame(
                HEADER, channel.number, encode_content_header(1, strange, {strange: strange}, strange, microseconds)
            )
            + encode_frame(BODY, channel.number, b"s")
        )
        await channel.write_queue.put(aiormq.abc.ChannelFrame(payload, should_close=False))
        await channel.queue_declare(server_queue(address, GROUP), passive=True)  # the server has read it
        assert await adapter.publish(bench.outgoing(address, body=b"n"), 5) == [None]
        consumer, _ = await bench.consumer(adapter, {address: 5})
        first, second = await until(consumer, {address: 5}, 2)
        message = first.message
        assert (message.id, message.content_type, message.headers) == (strange, strange, {strange: strange})
        assert abs(message.time / 1000 - time.time()) < 600  # that of its arrival: it told none
        assert (message.body, second.message.body) == (b"s", b"n")
        headers = {**message.headers, "content-type": message.content_type}
        copy = Outgoing(address, message.id, message.time, message.body, message.key, headers)
        assert await adapter.publish([copy], 5) == [None]
        (again,) = await until(consumer, {address: 5}, 1)
        assert (again.message.id, again.message.headers) == (message.id, message.headers)
        assert again.message.content_type == message.content_type


class TestConnecting:
    async def test_a_wrong_password_is_refused_and_not_repeated(self, bench: Bench) -> None:
        where = bench.server.url.rpartition("@")[2]
        adapter = await bench.adapter(f"rabbitmq://guest:s3cret@{where}")
        with pytest.raises(AccessRefused) as refused:
            await adapter.connect()
        assert where in str(refused.value)
        assert "s3cret" not in f"{refused.value!r} {refused.value.__cause__!r}"

    async def test_a_vhost_that_does_not_exist_is_refused(self, bench: Bench) -> None:
        adapter = await bench.adapter(f"{bench.server.url}/no%2Fsuch")
        with pytest.raises(AccessRefused, match="'no/such'"):
            await adapter.connect()

    async def test_hosts_are_tried_in_turn(self, bench: Bench) -> None:
        user, _, where = bench.server.url.rpartition("@")
        adapter = await bench.adapter(f"{user}@127.0.0.1:1,{where}")
        await adapter.connect()
        nobody = await bench.adapter("rabbitmq://127.0.0.1:1")
        with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
            await nobody.connect()

    async def test_the_host_that_answered_last_is_tried_first(self, bench: Bench) -> None:
        user, _, where = bench.server.url.rpartition("@")
        adapter = await bench.adapter(f"{user}@127.0.0.1:1,{where}")
        await adapter.connect()
        await adapter.close()
        assert adapter._connection._connector._hosts[0] == ("127.0.0.1", int(where.rpartition(":")[2]))
        await adapter.connect()

    async def test_what_cannot_be_honoured_is_refused_before_anything_is_made(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        good, bad = bench.address(), bench.address()
        options: list[dict[str, Any]] = [
            {"partitions": 2},
            {"retention": 1.0},
            {"compact": True},
            {"native": {"x": "y"}},
        ]
        for option in options:
            with pytest.raises(Unsupported, match=f"{bad.queue}.*{next(iter(option))}"):
                await adapter.create_queues([QueueSpec(address=good), QueueSpec(address=bad, **option)])
        with pytest.raises(QueueNotFound):
            await adapter.lag(good, GROUP)

    async def test_a_queue_of_another_shape_is_a_conflict_and_is_consumed_as_it_is(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = bench.address()
        await adapter.create_queues([QueueSpec(address=address)])
        channel = await bench.raw()
        name = server_queue(address, GROUP)
        await channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 7})
        await channel.queue_bind(name, address.queue, routing_key="#")
        with pytest.raises(QueueConflict, match=f"{name}.*|x-delivery-limit"):
            await adapter.create_queues([QueueSpec(address=address, groups=(GROUP,))])
        assert await adapter.publish(bench.outgoing(address), 5) == [None]
        consumer, _ = await bench.consumer(adapter, {address: 5})
        assert bodies(await until(consumer, {address: 1}, 1)) == [0]


@pytest.mark.parametrize("at_once", [True, False], ids=["read at once", "read by the client"])
class TestConsuming:
    @pytest.fixture(autouse=True)
    def reading(self, at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(adapter_module, "verify", lambda: Support(frame_reader=at_once))

    async def test_what_is_not_acknowledged_goes_back_in_order(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        await adapter.publish(bench.outgoing(address, 30), 5)
        consumer, listener = await bench.consumer(adapter, {address: 20})
        got = await until(consumer, {address: 12}, 12)
        await consumer.acknowledge([got[0], got[1], got[4], got[7]])
        await consumer.close(1)
        assert listener.ended == listener.sessions
        other, _ = await bench.consumer(adapter, {address: 50})
        left = await until(other, {address: 26}, 26)
        assert bodies(left) == [2, 3, 5, 6, *range(8, 30)]
        assert left[0].message.redelivered

    async def test_acknowledging_twice_and_in_any_order_breaks_nothing(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        await adapter.publish(bench.outgoing(address, 40), 5)
        consumer, listener = await bench.consumer(adapter, {address: 20})
        got: list[Delivery] = []
        while len(got) < 40:
            batch = await until(consumer, {address: 10}, 10)
            got += batch
            await consumer.acknowledge([batch[3], batch[3]])
            await asyncio.gather(
                consumer.acknowledge(batch[::-1]), consumer.acknowledge(batch), consumer.acknowledge(got)
            )
        assert bodies(got) == list(range(40))
        assert not await consumer.receive({address: 1}, 0.05)
        assert not listener.fenced
        await consumer.close(1)
        await consumer.acknowledge(got)
        assert (await adapter.lag(address, GROUP)).total == 0

    async def test_no_more_than_the_limit_is_held_and_acknowledging_makes_room(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        await adapter.publish(bench.outgoing(address, 25), 5)
        consumer, _ = await bench.consumer(adapter, {address: 10})
        held = await until(consumer, {address: 10}, 10)
        assert not await consumer.receive({address: 10}, 0.05)
        assert (await adapter.lag(address, GROUP)).total == 15
        await consumer.acknowledge(held[5:])
        assert bodies(await until(consumer, {address: 5}, 5)) == [10, 11, 12, 13, 14]

    async def test_a_queue_that_is_left_drains_first_and_the_others_flow_on(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        left, kept = await bench.queue(adapter), await bench.queue(adapter)
        await adapter.publish([*bench.outgoing(left, 4), *bench.outgoing(kept, 2)], 5)
        consumer, listener = await bench.consumer(adapter, {left: 10, kept: 10})
        held = await until(consumer, {left: 3}, 3)

        async def drain() -> None:
            assert not await consumer.receive({left: 10}, 0)
            await consumer.acknowledge(held)

        listener.drain = drain
        assert not await consumer.subscribe({kept: 10})
        assert listener.ended == [held[0].session]
        assert bodies(await until(consumer, {kept: 2}, 2)) == [4, 5]
        listener.drain = None
        other, _ = await bench.consumer(adapter, {left: 10})
        assert bodies(await until(other, {left: 1}, 1)) == [3]

    async def test_a_raised_limit_ends_the_session_of_full_hands_and_of_that_queue_only(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        raised, same = await bench.queue(adapter), await bench.queue(adapter)
        await adapter.publish(bench.outgoing(raised, 20), 5)
        consumer, listener = await bench.consumer(adapter, {raised: 2, same: 2})
        await until(consumer, {raised: 2}, 2)
        assert not await consumer.subscribe({raised: 1, same: 1})
        assert not listener.ended
        assert not await consumer.subscribe({raised: 20, same: 2})
        assert [one.address for one in listener.ended] == [raised]  # type: ignore[attr-defined]
        assert bodies(await until(consumer, {raised: 20}, 20)) == list(range(20))

    async def test_a_raised_limit_waits_for_no_callback_that_hangs(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        await adapter.publish(bench.outgoing(address, 20), 5)
        consumer, listener = await bench.consumer(adapter, {address: 4})
        hangs, *others = await until(consumer, {address: 3}, 3)
        assert not await consumer.subscribe({address: 20})
        assert not listener.ended
        await consumer.acknowledge(others)
        assert bodies(await until(consumer, {address: 3}, 3)) == [3, 4, 5]
        await consumer.acknowledge([hangs])

    async def test_queues_that_do_not_exist_are_named_and_cost_the_others_nothing(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        there, nowhere = await bench.queue(adapter), bench.address()
        ladder = Address(there.queue, GROUP, "retry.5s")
        consumer = await adapter.open_consumer(GROUP, Listener())
        bench.stack.push_async_callback(consumer.close, 0)
        assert (await consumer.subscribe({there: 5, nowhere: 5, ladder: 5})).keys() == {nowhere, ladder}
        await adapter.publish(bench.outgoing(there), 5)
        assert bodies(await until(consumer, {there: 1}, 1)) == [0]
        await adapter.create_queues([QueueSpec(address=ladder, groups=(GROUP,))])
        assert not await consumer.subscribe({there: 5, ladder: 5})
        await adapter.publish(bench.outgoing(ladder), 5)
        assert bodies(await until(consumer, {ladder: 1}, 1)) == [1]

    async def test_a_member_without_room_leaves_its_surplus_to_the_others(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        await adapter.publish(bench.outgoing(address, 20), 5)
        full, _ = await bench.consumer(adapter, {address: 20})
        await drained(adapter, address)  # all lie in its prefetch
        free, _ = await bench.consumer(adapter, {address: 20})
        got: list[Delivery] = []
        async with asyncio.timeout(DEADLINE):
            while len(got) < 20:
                assert not await full.receive({}, 0.05)
                got += await free.receive({address: 20}, 0.05)
        assert bodies(got) == list(range(20))
        await free.acknowledge(got[:-1])
        await free.close(0)
        assert bodies(await until(full, {address: 1}, 1)) == [19]

    async def test_what_is_held_for_most_of_the_servers_limit_goes_back_in_good_order(self, bench: Bench) -> None:
        adapter = await bench.adapter(consumer_timeout=1.2)
        held, other = await bench.queue(adapter), await bench.queue(adapter)
        await adapter.publish(bench.outgoing(held, 5), 5)
        consumer, listener = await bench.consumer(adapter, {held: 3, other: 3})
        first = await until(consumer, {held: 2}, 2)

        async def drain() -> None:
            await consumer.acknowledge(first[:1])

        listener.drain = drain
        async with asyncio.timeout(DEADLINE):
            while not listener.ended:
                assert not await consumer.receive({other: 1}, 0.1)
        assert [one.address for one in listener.ended] == [held]  # type: ignore[attr-defined]
        assert not listener.fenced
        assert bodies(await until(consumer, {held: 3}, 3)) == [1, 2, 3]

    async def test_wake_ends_a_receive_and_an_arrival_does(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        consumer, _ = await bench.consumer(adapter, {address: 5})
        receiving = asyncio.ensure_future(consumer.receive({address: 5}, 30))
        await asyncio.sleep(0)
        consumer.wake()
        assert not await asyncio.wait_for(receiving, 1)
        consumer.wake()
        assert not await asyncio.wait_for(consumer.receive({address: 5}, 30), 1)
        receiving = asyncio.ensure_future(consumer.receive({address: 5}, 30))
        await adapter.publish(bench.outgoing(address), 5)
        assert bodies(list(await asyncio.wait_for(receiving, 5))) == [0]

    async def test_channel_numbers_are_used_again(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        addresses = [await bench.queue(adapter) for _ in range(3)]
        consumer, _ = await bench.consumer(adapter, dict.fromkeys(addresses, 1))
        for limit in range(2, 12):
            await consumer.subscribe({addresses[0]: limit, addresses[1]: limit, addresses[2]: 1})
        connection = await consumer._connection.ensure_connected()  # type: ignore[attr-defined]
        assert max(connection.underlay.channels) < 12

    async def test_messages_of_a_foreign_publisher_are_welcome(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        channel = await bench.raw()
        spec = aiormq.spec.Basic.Properties(message_id="theirs", headers={"n": 7, "list": [1, "a"]})
        await channel.basic_publish(b"hello", exchange=address.queue, routing_key="any.key", properties=spec)
        consumer, _ = await bench.consumer(adapter, {address: 5})
        (one,) = await until(consumer, {address: 1}, 1)
        assert (one.message.body, one.message.id, one.message.attempt) == (b"hello", "theirs", 1)
        assert one.message.headers == {"n": "7", "list": '[1, "a"]'}


class TestFaults:
    async def test_a_queue_deleted_under_a_consumer_is_told_alone_and_is_made_again(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        ill, well = await bench.queue(adapter), await bench.queue(adapter)
        consumer, listener = await bench.consumer(adapter, {ill: 5, well: 5})
        await (await bench.raw()).queue_delete(server_queue(ill, GROUP))
        async with asyncio.timeout(DEADLINE):
            while ill not in listener.refused:
                assert not await consumer.receive({ill: 5, well: 5}, 0.05)
        assert [session.address for session in listener.fenced] == [ill]  # type: ignore[attr-defined]  # ChannelSessions
        assert await adapter.publish(bench.outgoing(well), 5) == [None]
        assert bodies(await until(consumer, {well: 1}, 1)) == [0]
        assert not await consumer.subscribe({ill: 5, well: 5})
        assert await adapter.publish(bench.outgoing(ill), 5) == [None]
        assert bodies(await until(consumer, {ill: 1}, 1)) == [1]

    async def test_a_connection_lost_in_a_drain_fences_its_sessions(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        consumer, listener = await bench.consumer(adapter, {address: 5})
        gone = asyncio.Event()

        async def drain() -> None:
            async with asyncio.timeout(DEADLINE):
                consumer._connection._established.transport.abort()  # type: ignore[attr-defined]
                while not listener.fenced:
                    await asyncio.sleep(0)
                gone.set()

        listener.drain = drain
        await consumer.close(5)
        assert gone.is_set()
        assert listener.fenced == listener.sessions

    async def test_leaving_a_frozen_server_takes_seconds_and_leaves_nothing(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        await adapter.publish(bench.outgoing(address, 5), 5)
        consumer, _ = await bench.consumer(adapter, {address: 5})
        held = await until(consumer, {address: 5}, 5)
        async with paused(bench.server):
            began = time.monotonic()
            await consumer.acknowledge(held)
            await consumer.close(0)
            await adapter.close()
            assert time.monotonic() - began < 15
        assert isinstance(held[0].session.limit, int)  # type: ignore[attr-defined]

    async def test_the_clients_own_cancellation_is_a_verdict_and_never_silent(self, bench: Bench) -> None:
        adapter = await bench.adapter()
        address = await bench.queue(adapter)
        assert await adapter.publish(bench.outgoing(address), 5) == [None]
        connection = await adapter._connection.ensure_connected()
        async with paused(bench.server):
            publishing = asyncio.ensure_future(adapter.publish(bench.outgoing(address, 5), 10))
            async with asyncio.timeout(DEADLINE):
                while not ((channel := adapter._publisher._channel) and channel.underlay.confirmations):
                    await asyncio.sleep(0)
            # What the client does when the heartbeat is missed: its futures get a CancelledError.
            closing = asyncio.ensure_future(connection.close(asyncio.CancelledError()))
            verdicts = await asyncio.wait_for(publishing, DEADLINE)
        await asyncio.wait({closing})
        assert all(isinstance(one, BrokerUnavailable) and one.uncertain for one in verdicts)
        assert await adapter.publish(bench.outgoing(address), 10) == [None]
