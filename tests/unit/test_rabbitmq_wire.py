"""AMQP properties and headers: what a message's own are, and what is a header."""

from __future__ import annotations

import pytest

from msgbus.message import Outgoing
from msgbus.names import Address
from msgbus_rabbitmq.wire import headers_of, properties_of


def _outgoing(**headers: str) -> Outgoing:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return Outgoing(Address("q"), "m", 1_700_000_000_123, b"x", None, names)


@pytest.mark.parametrize(
    ("kind", "said", "table"),
    [
        ("application/json", "application/json", {}),
        ("k" * 255, "k" * 255, {}),
        ("k" * 256, None, {"content-type": "k" * 256}),  # longer than a property may be
        ("größe", None, {"content-type": "größe"}),
        ("", None, {"content-type": ""}),
    ],
)
def test_a_content_type_is_the_property_alone_where_that_can_say_it(
    kind: str, said: str | None, table: dict[str, str]
) -> None:
    properties = properties_of(_outgoing(content_type=kind), "attempt")
    assert properties.content_type == said
    assert properties.headers == {"msgbus-id": "m", "msgbus-time": "1700000000123", **table}


def test_what_a_server_adds_is_no_header_and_a_users_own_that_begins_alike_is() -> None:
    table = {
        "x-delivery-count": 1,
        "x-death": [],
        "x-first-death-queue": "q",
        "x-request-id": "7",
        "x-deathly": "pale",
        "count": 3,
    }
    assert headers_of(table) == {"x-request-id": "7", "x-deathly": "pale", "count": "3"}
