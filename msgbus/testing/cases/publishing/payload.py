"""Payload: body, key and headers arrive as they were published."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from msgbus.adapter.headers import BODY_MAX_BYTES
from msgbus.errors import InvalidMessage, MessageTooLarge
from msgbus.publishing.publication import Publication
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from msgbus.testing.harness import Harness

WEIRD = {
    "Plain": "text",
    "plain": "another: case is kept",
    "empty": "",
    "ümläut-ключ-鍵": "äöü ☃ 🚌 \u202e right to left",
    "with space and=sign;": "line\nbreak\ttab 'quotes' \"double\"",
    "x-looks-like-ours": "but is not",
}


async def a_body_of_any_bytes_arrives_unchanged(harness: Harness) -> None:
    bodies = [b"", bytes(range(256)), b"\xff\xfe not utf-8", b"\0", b"m" * BODY_MAX_BYTES]
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    for n, body in enumerate(bodies):
        await broker.publish(queue, body, message_id=str(n))
    await probe.until_handled(str(n) for n in range(len(bodies)))
    assert {one.id: one.body for one in probe.handled} == {str(n): body for n, body in enumerate(bodies)}
    assert {one.content_type for one in probe.handled} == {"application/octet-stream"}


async def text_and_objects_arrive_as_utf_8_and_json(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    await broker.publish(queue, "smörgås", message_id="text")
    await broker.publish(
        queue, {"n": 1, "list": [None, "ü"], "at": datetime(2026, 1, 2, tzinfo=UTC)}, message_id="json"
    )
    await probe.until_handled(["text", "json"])
    got = {one.id: one for one in probe.handled}
    assert got["text"].text == "smörgås"
    assert got["text"].content_type.startswith("text/plain")
    assert got["json"].json() == {"n": 1, "list": [None, "ü"], "at": "2026-01-02T00:00:00Z"}
    assert got["json"].content_type == "application/json"


async def a_tombstone_arrives_with_an_empty_body_and_is_known_as_one(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    with pytest.raises(InvalidMessage, match=f"{queue}.*tombstone"):
        await broker.publish(queue, None)
    with pytest.raises(InvalidMessage, match=f"{queue}.*tombstone"):
        await broker.publish_many(queue, [None])
    await broker.publish(queue, {"cents": 1}, message_id="there", key="customer-4")
    await broker.publish(queue, None, message_id="gone", key="customer-4", headers={"why": "asked to"})
    await broker.publish(queue, b"null", message_id="null", key="customer-4")
    await probe.until_handled(["there", "gone", "null"])
    assert [(one.id, one.is_tombstone) for one in probe.handled] == [("there", False), ("gone", True), ("null", False)]
    gone = probe.handled[1]
    assert (gone.body, gone.key, gone.content_type, dict(gone.headers)) == (b"", "customer-4", "", {"why": "asked to"})


async def key_headers_id_and_time_arrive(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    await broker.publish(queue, b"x", message_id="the id", key="ключ", headers=WEIRD)
    await broker.publish(queue, b"x", message_id="empty key", key="")
    await broker.publish(queue, b"x", message_id="no key")
    after = datetime.now(UTC)
    await probe.until_handled(["the id", "empty key", "no key"])
    got = {one.id: one for one in probe.handled}
    assert dict(got["the id"].headers) == WEIRD
    assert [got[id].key for id in ("the id", "empty key", "no key")] == ["ключ", "", None]
    assert all(before <= one.published_at <= after for one in got.values())
    assert {(one.queue, one.group, one.attempt, one.redelivered) for one in got.values()} == {(queue, "g", 1, False)}
    assert dict(got["no key"].headers) == {}
    assert [dict(one.system) for one in got.values()] == [
        {},
        {},
        {},
    ]  # fields of a message are not headers, on any broker


async def ids_are_unique_where_none_is_given(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    assert await broker.publish_many(queue, [b"x"] * 200) == [None] * 200
    await probe.until(lambda: len(probe.handled) >= 200, "200 messages")
    assert len(set(probe.ids)) == 200


async def a_hundred_headers_arrive(harness: Harness) -> None:
    headers = {f"header-{n}": f"{n}" * 20 for n in range(100)} | {"long": "v" * 8192}
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    await broker.publish(queue, b"x", message_id="m", headers=headers)
    await probe.until_handled(["m"])
    assert dict(probe.handled[0].headers) == headers


async def a_body_over_the_limit_is_refused_and_nothing_else_suffers(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    with pytest.raises(MessageTooLarge, match=queue):
        await broker.publish(queue, b"m" * (BODY_MAX_BYTES + 1))
    await broker.publish(queue, b"x", message_id="after")
    await probe.until_handled(["after"])
    assert probe.ids == ["after"]


async def headers_that_may_not_travel_are_refused(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await harness.broker()
    for bad in ({"msgbus-id": "x"}, {"": "x"}, {"new\nline": "x"}, {"n" * 129: "x"}, {"lone": "\ud800"}):
        with pytest.raises(InvalidMessage):
            await broker.publish(queue, b"x", headers=bad)


async def publish_many_keeps_the_order(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key="k") for n in range(500)])
    await probe.until_handled(ids)
    assert probe.ids == ids


async def publishes_awaited_one_after_another_keep_their_order(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    ids = [str(n) for n in range(50)]
    for id in ids:
        await broker.publish(queue, b"x", message_id=id, key="k")
    await probe.until_handled(ids)
    assert probe.ids == ids
