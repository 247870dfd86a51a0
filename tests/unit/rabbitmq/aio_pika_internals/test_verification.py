"""What is used of the inside of aio-pika and aiormq: the installed client fits, and one that has changed is told of."""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aio_pika
import aio_pika.abc
import aio_pika.tools
import aiormq
import aiormq.connection
import pytest
from aio_pika.exceptions import ConnectionClosed, InvalidFrameError
from aiormq.exceptions import ConnectionNotAllowed
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.publish_calls import PublishCall
from msgbus.adapter.url import BrokerURL
from msgbus.errors import ConfigurationError
from msgbus_rabbitmq import RabbitAdapter, RabbitOptions
from msgbus_rabbitmq.aio_pika_internals import Support, verification, verify
from msgbus_rabbitmq.aio_pika_internals.batch_publish import PendingPublish
from msgbus_rabbitmq.aio_pika_internals.rehearsal import rehearse_batch_publish, rehearse_frame_reader
from msgbus_rabbitmq.aio_pika_internals.underlay import Underlay
from msgbus_rabbitmq.aio_pika_internals.vhost import is_vhost_refusal, recognizes_vhost_refusal

if TYPE_CHECKING:
    from collections.abc import Callable

READER = "_Connection__reader"
VERSION = f"aio-pika {aio_pika.__version__} with aiormq {aiormq.connection.__version__}"
BLOCKED = "_Connection__handle_connection_blocked"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "msgbus.rabbitmq"]


async def test_the_installed_client_fits_every_part(caplog: pytest.LogCaptureFixture) -> None:
    support = verify()
    await support.rehearse()
    assert (support.frame_reader, support.batch_publish) == (True, True)
    assert not warnings(caplog)


@pytest.mark.parametrize(
    ("owner", "name", "told"),
    [
        (aiormq.Connection, READER, "fast frame reader (Connection.__reader(frame_receiver) is missing"),
        (aiormq.Connection, BLOCKED, "reason of a blocked connection (Connection.__handle_connection_blocked"),
        (aiormq.Connection, "_rpc", "detection of a refused virtual host (Connection._rpc()'s error"),
        (aiormq.Channel, "lock", "batch publish (Channel.lock is missing"),
        (aiormq.abc, "ChannelFrame", "batch publish (ChannelFrame(payload, should_close, drain_future)"),
        (aio_pika.abc.UnderlayChannel, "__annotations__", "channel callbacks (Channel._channel.close_callback"),
    ],
)
def test_what_is_missing_is_told_once_with_what_is_done_without_it(
    owner: Any, name: str, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(owner, name)
    support = verify()
    (warning,) = warnings(caplog)
    assert told in warning
    assert f"{VERSION} is not supported" in warning
    assert "Tested with aio-pika 10.2 with aiormq 7.2" in warning
    assert support.frame_reader == (name != READER)
    assert support.batch_publish == (name not in {"lock", "ChannelFrame"})


async def other(self: object, number: int) -> None: ...


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (aiormq.Connection, "channel"),
        (aio_pika.Connection, "channel"),
        (aio_pika.Connection, "_on_connection_close"),
        (aio_pika.Connection, "_on_connected"),
        (aio_pika.Channel, "get_underlay_channel"),
        (aio_pika.abc, "UnderlayConnection"),
        (aio_pika.tools, "OneShotCallback"),
    ],
)
def test_what_cannot_be_done_without_is_an_error_with_both_versions(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, other)
    with pytest.raises(ConfigurationError, match=rf"{VERSION} .*{name}.*install aio-pika>=10\.2,<11"):
        RabbitAdapter(BrokerURL.parse("rabbitmq://localhost"), RabbitOptions())


def test_headers_that_pamqp_decodes_in_another_way_are_noticed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(verification, "embedded_value", len)
    assert not verify().frame_reader
    (warning,) = warnings(caplog)
    assert "pamqp.decode.embedded_value" in warning


async def other_arguments(_: object, first: object, second: object) -> None: ...


async def never_reads(self: Any, _: object) -> None:
    self.connected.set()
    await asyncio.Event().wait()


async def reads_its_socket(_: object, frame_receiver: Any) -> None:
    frame_receiver.started = True
    await frame_receiver.lock.acquire()


@pytest.mark.parametrize("reader", [other_arguments, never_reads, reads_its_socket])
async def test_a_frame_loop_of_another_kind_is_not_used(
    reader: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(aiormq.Connection, READER, reader)
    support = Support()
    await support.rehearse()
    await support.rehearse()
    assert (support.frame_reader, support.batch_publish) == (False, True)
    (warning,) = warnings(caplog)
    assert "fast frame reader" in warning
    assert "using aiormq's own reader, about 4x slower" in warning


async def test_a_frame_loop_that_asks_for_each_frame_works_too(monkeypatch: pytest.MonkeyPatch) -> None:
    original: Any = vars(aiormq.Connection)[READER]

    class Iterated:
        def __init__(self, receiver: Any) -> None:
            self.receiver = receiver

        def __aiter__(self) -> Iterated:
            return self

        async def __anext__(self) -> Any:
            return await self.receiver.get_frame()

    async def reader(self: Any, frame_receiver: Any) -> None:
        await original(self, Iterated(frame_receiver))

    monkeypatch.setattr(aiormq.Connection, READER, reader)
    assert not await rehearse_frame_reader()


@pytest.mark.parametrize("fast", [True, False], ids=["fast frame reader", "aiormq's own reader"])
async def test_deliveries_alone_show_that_the_server_lives(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that delivers all the time sends no heartbeats."""
    beats: list[object] = []

    async def heartbeat(_: object, frame: object) -> None:
        beats.append(frame)

    monkeypatch.setattr(aiormq.Connection, "_Connection__handle_heartbeat", heartbeat)
    connection: Any = Underlay("amqp://nowhere.invalid?heartbeat=0", use_frame_reader=fast)
    stream = asyncio.StreamReader()
    reading = asyncio.ensure_future(connection._Connection__reader(aiormq.connection.FrameReceiver(stream)))
    await asyncio.sleep(0)
    assert (connection.frame_reader is not None) is fast
    taken: list[object] = []
    frames: asyncio.Queue[object] = asyncio.Queue()
    channel: Any = type("Channel", (), {"number": 1, "closing": asyncio.Future(), "frames": frames})()
    connection.channels[1] = channel
    if fast:
        connection.frame_reader.consume(channel, taken.append)
    connection._Connection__last_frame_time = -math.inf
    assert connection.is_connection_was_stuck
    delivery: list[Any] = [Basic.Deliver("", 1, False, "", ""), ContentHeader(body_size=1), ContentBody(b"x")]
    stream.feed_data(b"".join(marshal(one, 1) for one in delivery))
    async with asyncio.timeout(5):
        while not (taken or frames.qsize() == 3):
            await asyncio.sleep(0)
        while connection.is_connection_was_stuck:
            await asyncio.sleep(0)
    assert len(beats) == fast
    reading.cancel()
    await asyncio.wait({reading})


class Waiters(dict[int, Any]):
    """A second waiter on each confirmation: what comes back out is another object."""

    def pop(self, *args: Any) -> Any:
        item = super().pop(*args)
        return asyncio.get_running_loop().create_future() if isinstance(item, PendingPublish) else item


def with_attributes(original: Any, self: Any, *args: Any, **options: Any) -> None:
    original(self, *args, **options)
    self.confirmations = Waiters()


def without(name: str, original: Any, self: Any, *args: Any, **options: Any) -> None:
    original(self, *args, **options)
    delattr(self, name)


async def keeps_what_is_confirmed(self: Any, frame: Any) -> None:
    for tag in list(self.confirmations):
        if tag <= frame.delivery_tag:
            self.confirmations[tag].set_result(frame)


async def knows_no_sending(self: Any, frame: Any) -> None:
    self.confirmations[frame.delivery_tag].get_loop()


@pytest.mark.parametrize("name", ["confirmations", "write_queue", "delivery_tag", "message_id_delivery_tag"])
async def test_a_channel_that_lacks_an_attribute_is_written_to_one_by_one(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = aiormq.Channel.__init__
    monkeypatch.setattr(
        aiormq.Channel,
        "__init__",
        lambda self, *args, **options: without(name, original, self, *args, **options),
    )
    support = Support()
    await support.rehearse()
    assert (support.frame_reader, support.batch_publish) == (True, False)
    (warning,) = warnings(caplog)
    assert f"batch publish ({name} is missing" in warning
    assert "about 3x slower" in warning


@pytest.mark.parametrize("handler", [keeps_what_is_confirmed, knows_no_sending])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_confirmations_that_are_handled_in_another_way_are_noticed(
    handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiormq.Channel, "_on_confirm_frame", handler)
    assert "Channel.confirmations" in await rehearse_batch_publish()


async def test_a_second_waiter_for_confirmations_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = aiormq.Channel.__init__
    monkeypatch.setattr(
        aiormq.Channel,
        "__init__",
        lambda self, *args, **options: with_attributes(original, self, *args, **options),
    )
    assert "Channel.confirmations" in await rehearse_batch_publish()


def pending(ended: list[BaseException | None]) -> PendingPublish:
    def end(item: PendingPublish, error: BaseException | None) -> None:
        item.complete(None)
        ended.append(error)

    item = PendingPublish(PublishCall(1, math.inf), 0, Outgoing(Address("q"), "1", 0, b"", None, {}), end)
    item.channel = channel()
    return item


def channel() -> Any:
    return SimpleNamespace(underlay=SimpleNamespace(message_id_delivery_tag={}))


@pytest.mark.parametrize("error", [None, ConnectionResetError("cut"), asyncio.CancelledError])
async def test_a_message_on_its_way_answers_all_that_a_future_is_asked(error: Any) -> None:
    ended: list[BaseException | None] = []
    item = pending(ended)
    called: list[object] = []
    item.add_done_callback(called.append)
    with pytest.raises(asyncio.InvalidStateError):
        item.exception()
    assert not item.done()
    assert not item.cancel()
    if error is None:
        item.set_result(Basic.Ack(1))
        item.result()
    else:
        item.set_exception(error)
        with pytest.raises(error if isinstance(error, type) else type(error)):
            item.result()
    assert item.done()
    assert item.exception() is ended[0]
    item.add_done_callback(called.append)
    assert not called, "as a future's, callbacks are called later"
    await asyncio.sleep(0)
    assert called == [item, item]
    assert len(ended) == 1
    assert not item.remove_done_callback(called.append)


def test_a_refused_vhost_is_told_from_other_errors() -> None:
    assert recognizes_vhost_refusal()
    assert is_vhost_refusal(ConnectionNotAllowed("vhost"))
    assert is_vhost_refusal(ConnectionClosed(530, "NOT_ALLOWED"))
    assert not is_vhost_refusal(ConnectionClosed(320, "CONNECTION_FORCED"))
    assert not is_vhost_refusal(InvalidFrameError("Expected Connection.Tune, got nothing"))
    assert not is_vhost_refusal(None)


@pytest.mark.parametrize("text", ["Expected one frame, got another", ""])
def test_another_text_for_a_refused_vhost_is_noticed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def rpc(*_: object, failure: str) -> None:
        if failure:
            raise InvalidFrameError(failure)

    monkeypatch.setattr(aiormq.Connection, "_rpc", staticmethod(partial(rpc, failure=text)))
    assert not recognizes_vhost_refusal()


def test_one_adapter_is_told_of_a_missing_name_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.delattr(aiormq.Connection, READER)
    adapter = RabbitAdapter(BrokerURL.parse("rabbitmq://localhost"), RabbitOptions())
    assert len(warnings(caplog)) == 1
    assert not adapter._connection.support.frame_reader
