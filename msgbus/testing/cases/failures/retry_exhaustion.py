"""Retry exhaustion: messages that are dead-lettered, and what their dead letters say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus.publishing.publication import Publication
from msgbus.retry import Backoff, Reject, RetryPolicy
from msgbus.testing.harness import publish_all, until_dead_letters
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.testing.harness import Harness


async def a_message_older_than_it_may_be_is_given_up(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.fail("m", 100)
    broker = await harness.member(queue, probe, retry=RetryPolicy(immediate=0, delays=(1.0,) * 9, max_age=1.5))
    await broker.publish(queue, b"x", message_id="m")
    (letter,) = await until_dead_letters(broker, queue, 1)
    assert letter.reason == "older than 1.5 s"
    assert 2 <= letter.attempts <= 3


async def a_message_that_fails_in_place_keeps_its_key_in_order_to_the_dead_letter(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.fail("k1", 100)
    policy = RetryPolicy(immediate=2, backoff=Backoff(0.05, 0.05), delays=())
    broker = await harness.member(queue, probe, retry=policy)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=f"k{n}", key="k") for n in range(5)])
    await probe.until_handled(id for id in ids if id != "k1")
    assert [one.id for one in probe.entered] == ["k0", "k1", "k1", "k1", "k2", "k3", "k4"]
    assert [letter.message.id for letter in await until_dead_letters(broker, queue, 1)] == ["k1"]


async def a_dead_letter_is_the_message_as_it_was_and_says_why(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await harness.broker()

    async def callback(message: Message) -> None:
        raise ValueError(f"no such customer, attempt {message.attempt}")

    await broker.consume(queue, callback, retry=RetryPolicy(immediate=1, backoff=Backoff(0.01, 0.01), delays=()))
    body = bytes(range(256))
    headers = {"Case": "kept", "umlaut": "ü", "empty": ""}
    await broker.publish(queue, body, message_id="m", key="k", headers=headers)
    (letter,) = await until_dead_letters(broker, queue, 1)
    message = letter.message
    assert (message.body, message.id, message.key, dict(message.headers)) == (body, "m", "k", headers)
    assert message.content_type == "application/octet-stream"
    assert (letter.attempts, letter.error_type, letter.error_message) == (
        2,
        "ValueError",
        "no such customer, attempt 2",
    )
    assert "failed 2 times" in letter.reason
    assert "no such customer" in letter.traceback
    assert letter.first_failure is not None
    assert letter.last_failure is not None
    assert message.published_at <= letter.first_failure <= letter.last_failure
    assert (message.queue, message.group) == (queue, "g")


async def what_a_callback_rejects_or_cannot_read_is_dead_lettered_at_once(harness: Harness) -> None:
    queue, entered = await harness.queue("g"), list[str]()
    broker = await harness.broker()

    async def callback(message: Message) -> None:
        entered.append(message.id)
        if message.id == "rejected":
            raise Reject("no such customer")
        if message.id == "never":
            raise ExceptionGroup("several", [KeyError("unknown product")])
        message.json()

    await broker.consume(queue, callback, retry=RetryPolicy(no_retry_for=(KeyError,)))
    for id in ("rejected", "never", "unreadable"):
        await broker.publish(queue, "{no json", message_id=id)
    letters = await until_dead_letters(broker, queue, 3)
    reasons = {letter.message.id: letter.reason for letter in letters}
    assert sorted(entered) == ["never", "rejected", "unreadable"]
    assert reasons["rejected"] == "rejected: no such customer"
    assert reasons["never"] == "never retried: KeyError"
    assert reasons["unreadable"].startswith("invalid payload: the body is not JSON")
