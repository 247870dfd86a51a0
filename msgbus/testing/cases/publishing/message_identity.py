"""Message identity: id, key, time, body and headers are the same at every delivery, in every queue."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from msgbus.adapter.headers import BODY_MAX_BYTES
from msgbus.errors import InvalidMessage, MessageTooLarge
from msgbus.publishing.publication import Publication
from msgbus.retry import Backoff, RetryPolicy
from msgbus.testing.cases.publishing.payload import WEIRD
from msgbus.testing.harness import publish_all, until_dead_letters
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.testing.harness import Harness

BODY = bytes(range(256))
EVERYWHERE = RetryPolicy(immediate=1, backoff=Backoff(0.01, 0.01), delays=(1.0,), pause_after=None)
"""Immediate retry, retry queue, dead-letter queue."""


def _said(message: Message) -> tuple[object, ...]:
    """Return everything that the publisher gave, and what msgbus derived from it."""
    return (
        *(message.id, message.key, message.body, dict(message.headers)),
        *(message.content_type, message.published_at, message.queue, message.group),
    )


async def a_message_is_the_same_at_every_attempt_dead_and_redriven(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.fail("m", 3)
    broker = await harness.member(queue, probe, retry=EVERYWHERE)
    await broker.publish(queue, BODY, message_id="m", key="ключ", headers=WEIRD)
    (letter,) = await until_dead_letters(broker, queue, 1)
    probe.fail("m", 0)
    await broker.dead_letters(queue).redrive()
    await probe.until_handled(["m"])
    assert [one.attempt for one in probe.entered] == [1, 2, 3, 1]
    first = _said(probe.entered[0])
    assert first[:4] == ("m", "ключ", BODY, WEIRD)
    for message in (*probe.entered[1:], letter.message):
        assert _said(message) == first


async def a_callback_sees_no_header_but_the_publishers(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.fail("m", 3)
    broker = await harness.member(queue, probe, retry=RetryPolicy(immediate=1, delays=(1.0, 1.0)))
    await broker.publish(queue, b"x", message_id="m", headers={"x-custom": "theirs"})
    await probe.until_handled(["m"])
    assert [dict(one.headers) for one in probe.entered] == [{"x-custom": "theirs"}] * 4


async def what_a_callback_does_to_its_message_is_nobody_elses_matter(harness: Harness) -> None:
    queue, other = await harness.queue("g", "other"), Probe()
    broker = await harness.broker()
    seen: list[tuple[object, ...]] = []
    probe = Probe()

    async def spoil(message: Message) -> None:
        seen.append(_said(message))
        with pytest.raises(TypeError):
            cast("dict[str, str]", message.headers)["h"] = "spoilt"
        with pytest.raises(AttributeError):
            cast("Any", message).body = b"spoilt"
        if message.attempt == 1:
            raise ValueError("once more")
        await probe(message)

    await broker.consume(queue, spoil)
    await broker.consume(queue, other, group="other")
    await broker.publish(queue, b"x", message_id="m", headers={"h": "v"})
    await probe.until_handled(["m"])
    await other.until_handled(["m"])
    assert seen[0] == seen[1]
    assert dict(other.handled[0].headers) == {"h": "v"}


async def a_body_is_what_it_was_when_publish_was_called(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    body = bytearray(b"before")
    publishing = broker.publish_many(queue, [Publication(body, message_id="array")])
    await publishing
    body[:] = b"after!"
    await broker.publish(queue, memoryview(b"a view"), message_id="view")
    await probe.until_handled(["array", "view"])
    assert {one.id: one.body for one in probe.handled} == {"array": b"before", "view": b"a view"}


async def a_body_of_exactly_the_limit_survives_a_retry_and_a_dead_letter(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.fail("m", 2)
    broker = await harness.member(queue, probe, retry=RetryPolicy(immediate=0, delays=(1.0,)))
    await broker.publish(queue, b"m" * BODY_MAX_BYTES, message_id="m", headers={"long": "v" * 32_000})
    (letter,) = await until_dead_letters(broker, queue, 1)
    assert letter.message.body == b"m" * BODY_MAX_BYTES
    assert letter.message.headers["long"] == "v" * 32_000
    assert letter.attempts == 2


async def headers_over_the_limit_are_refused_and_nothing_else_suffers(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    with pytest.raises(MessageTooLarge, match=queue):
        await broker.publish(queue, b"x", headers={"long": "v" * 33_000})
    with pytest.raises(InvalidMessage, match="129 headers"):
        await broker.publish(queue, b"x", headers={str(n): "v" for n in range(129)})
    await broker.publish(queue, b"x", message_id="after")
    await probe.until_handled(["after"])
    assert probe.ids == ["after"]


async def ids_and_keys_of_any_text_arrive_and_others_are_refused(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    words = [*WEIRD, "", "0", "i" * 1024, "тест", "a\tb\nc"]
    await publish_all(broker, queue, [Publication(b"x", message_id=one, key=one) for one in words])
    await probe.until_handled(words)
    assert {(one.id, one.key) for one in probe.handled} == {(one, one) for one in words}
    for bad in ("\ud800", "i" * 1025, cast("str", 7)):
        with pytest.raises(InvalidMessage):
            await broker.publish(queue, b"x", message_id=bad)
        with pytest.raises(InvalidMessage):
            await broker.publish(queue, b"x", key=bad)


async def what_a_message_tells_has_the_same_types_on_every_broker(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    before = datetime.now(UTC)
    await broker.publish(queue, {"a": 1}, message_id="m", headers={"traceparent": "00-1-2-01"})
    await probe.until_handled(["m"])
    (message,) = probe.handled
    assert isinstance(message.body, bytes)
    words: list[object] = [message.id, message.queue, message.group, message.origin, message.content_type]
    assert all(isinstance(word, str) for word in words)
    assert (type(message.attempt), type(message.redelivered), message.key) == (int, bool, None)
    assert message.published_at.tzinfo is UTC
    assert abs((message.published_at - before).total_seconds()) < 60
    assert message.headers["traceparent"] == "00-1-2-01"


async def a_json_body_is_parsed_into_what_the_callback_expects(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    await broker.publish(queue, {"n": [1, 2], "at": datetime(2026, 1, 2, tzinfo=UTC)}, message_id="m")
    await probe.until_handled(["m"])
    assert probe.handled[0].parse(dict[str, Any])["n"] == [1, 2]


async def the_wrong_fields_of_a_payload_are_named_in_its_dead_letter(harness: Harness) -> None:
    queue, calls = await harness.queue("g"), list[int]()
    broker = await harness.broker()

    async def callback(message: Message) -> None:
        calls.append(message.attempt)
        message.parse(dict[str, int])

    await broker.consume(queue, callback)
    await broker.publish(queue, {"cents": "many", "till": 7}, message_id="m")
    (letter,) = await until_dead_letters(broker, queue, 1)
    assert calls == [1]
    assert "cents" in letter.reason
    assert "till" not in letter.reason
    assert letter.message.body == b'{"cents":"many","till":7}'
