"""Compare names on the wire and on servers with literals and with the records; no server is needed.

``tests/integration/any_broker/test_recorded_wire.py`` compares everything else on real servers.
"""

from __future__ import annotations

import json
import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.adapter import QueueSpec, headers
from msgbus.adapter.address import Address, queue_address
from msgbus.failure.retry_queues import dead_letter_queue, group_queues, retry_tiers
from msgbus_kafka.admin.topic_config import new_topic
from msgbus_rabbitmq import topology
from msgbus_rabbitmq.codec import END_MARKER, route
from msgbus_redis.consumer.handover import HANDOVER_CONSUMER
from msgbus_redis.keys import handover_signal_key, lock_key, settings_key, stream_key
from tests.support.recorded_wire import RAWS
from tests.support.recorded_wire.raw import VARYING, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BROKERS = ("redis", "rabbitmq", "kafka")
ORDERS = queue_address("orders", "shop")
RETRY = Address("shop.orders", "loyalty", "retry.2m")
LETTERS = Address("shop.orders", "loyalty", "dlq")
STEPS = ("retry.1s", "retry.5s", "retry.30s", "retry.2m", "retry.10m")
HEADERS = {
    headers.ID: "msgbus-id",
    headers.TIME: "msgbus-time",
    headers.KEY: "msgbus-key",
    headers.ATTEMPTS: "msgbus-attempts",
    headers.NOT_BEFORE: "msgbus-not-before",
    headers.TIER_DEADLINE: "msgbus-hop",
    headers.DEAD_LETTER_ID: "msgbus-letter",
    headers.ORIGIN_QUEUE: "msgbus-origin-queue",
    headers.ORIGIN_GROUP: "msgbus-origin-group",
    headers.ORIGIN_POSITION: "msgbus-origin-position",
    headers.FIRST_FAILURE: "msgbus-first-failure",
    headers.LAST_FAILURE: "msgbus-last-failure",
    headers.ERROR_TYPE: "msgbus-error-type",
    headers.ERROR_MESSAGE: "msgbus-error-message",
    headers.ERROR_TRACEBACK: "msgbus-error-traceback",
    headers.REASON: "msgbus-reason",
    headers.REDRIVES: "msgbus-redrives",
    headers.TOMBSTONE: "msgbus-tombstone",
    headers.CONTENT_TYPE: "content-type",
    headers.RESERVED_PREFIX: "msgbus-",
    END_MARKER: "msgbus-fence",
}
YEAR = 31_536_000
SELDOM = {"msgbus-tombstone", "msgbus-fence", "msgbus-"}
"""What the scenario does not write, removes again, or what is only a prefix."""


# Headers.


def test_headers_have_the_recorded_names() -> None:
    assert list(HEADERS) == list(HEADERS.values())
    for broker in BROKERS:
        text = json.dumps(load(broker)).replace("\\", "")
        elsewhere = {"redis": {"msgbus-id", "msgbus-time", "msgbus-key"}, "rabbitmq": {"content-type"}, "kafka": set()}
        assert {name for name in HEADERS if f'"{name}"' not in text} == SELDOM | elsewhere[broker]


def test_what_varies_is_headers_of_ours() -> None:
    assert set(VARYING) < set(HEADERS)


# Names on servers.


def test_addresses_have_the_recorded_names() -> None:
    assert str(ORDERS) == "shop.orders"
    assert [str(one) for one in retry_tiers("shop.orders", "loyalty")] == [
        f"shop.orders.loyalty.{step}" for step in STEPS
    ]
    assert str(dead_letter_queue("shop.orders", "loyalty")) == "shop.orders.loyalty.dlq"


def test_redis_keys_have_the_recorded_names() -> None:
    recorded = load("redis")["keys"]
    keys = [*(stream_key("msgbus", one) for one in (ORDERS, RETRY, LETTERS)), settings_key("msgbus", Address("kept"))]
    named = [key.decode() for key in [*keys, handover_signal_key("msgbus", "loyalty")]]
    assert named == [
        "msgbus:{shop.orders}",
        "msgbus:{shop.orders.loyalty.retry.2m}",
        "msgbus:{shop.orders.loyalty.dlq}",
        "msgbus:about:{kept}",
        "msgbus:bell:loyalty",
    ]
    assert set(named) <= set(recorded)
    assert lock_key("msgbus", LETTERS) == b"msgbus:taker:{shop.orders.loyalty.dlq}"
    pending = recorded["msgbus:{shop.orders.loyalty.retry.2m}"]["groups"]["loyalty"]["pending"]
    assert {one["consumer"] for one in pending} == {HANDOVER_CONSUMER} == {"left"}


def test_rabbitmq_exchanges_and_queues_have_the_recorded_names() -> None:
    recorded = load("rabbitmq")
    queues = {one["name"] for one in recorded["queues"]}
    named = [topology.server_queue(one, "loyalty") for one in (ORDERS, RETRY, LETTERS)]
    assert named == ["shop.orders.loyalty", "shop.orders.loyalty.retry.2m", "shop.orders.loyalty.dlq"]
    assert topology.dead_letter_queue(ORDERS, "loyalty") == "shop.orders.loyalty.dlq"
    assert set(named) <= queues
    routes = [route(one) for one in (ORDERS, RETRY, LETTERS)]
    assert routes == [
        ("shop.orders", "shop.orders"),
        ("", "shop.orders.loyalty.retry.2m"),
        ("", "shop.orders.loyalty.dlq"),
    ]
    taken = [one for messages in recorded["messages"].values() for one in messages]
    assert set(routes) <= {(one["exchange"], one["routing_key"]) for one in taken}


def test_kafka_topics_have_the_recorded_names_partitions_and_settings() -> None:
    recorded = load("kafka")["topics"]
    wanted = [
        *group_queues("shop.orders", "loyalty", 3),
        *group_queues("plain", "billing"),
        QueueSpec(address=ORDERS, partitions=3),
        QueueSpec(address=Address("plain")),
        QueueSpec(address=Address("kept"), retention=7200.0),
        QueueSpec(address=Address("newest"), compact=True, native={"segment.bytes": "1048576"}),
    ]
    for topic in map(new_topic, wanted):
        about_it = recorded[topic.name]
        assert (topic.partitions, topic.settings) == (about_it["partitions"], about_it["settings"])


# The comparison itself.


@pytest.mark.parametrize("broker", BROKERS)
def test_the_times_of_a_record_are_not_compared_and_all_else_is(broker: str) -> None:
    record, raw = load(broker), RAWS[broker]
    before = raw.comparable(record)
    for name, changed in _changes(broker, record):
        same = raw.comparable(changed) == before
        assert same == name.startswith("same"), name


def _changes(broker: str, record: Any) -> Iterator[tuple[str, Any]]:
    """Records that tell the same, and others."""
    text = json.dumps(record)
    replaced: list[tuple[str, str, str]] = [
        ("a header", "msgbus-attempts", "msgbus-attempt"),
        ("a reason", "failed 2 times", "failed twice"),
        ("a name", "retry.2m", "retry.120s"),
        ("a body", "redriven", "Redriven"),
        ("a user's header", "colour", "color"),
    ]
    for name, old, new in replaced:
        assert old in text
        yield name, json.loads(text.replace(old, new))
    changes: dict[str, Callable[[Any], Any]] = {
        "redis": lambda it: it["keys"]["msgbus:{kept}"].update(type="string"),
        "rabbitmq": lambda it: it["queues"][0].update(durable=False),
        "kafka": lambda it: it["topics"]["plain"].update(partitions=9),
    }
    changed = deepcopy(record)
    changes[broker](changed)
    yield "a setting", changed
    later = re.sub(r"\b1[0-9]{12}\b", lambda found: str(int(found[0]) + YEAR * 1000), text)
    later = re.sub(r'(?<="timestamp": )[0-9]{10}', lambda found: str(int(found[0]) + YEAR), later)
    assert later != text
    yield "same, a year later", json.loads(later)
