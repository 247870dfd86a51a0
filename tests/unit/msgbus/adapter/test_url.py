"""Broker URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgbus.adapter.url import BrokerURL
from msgbus.errors import ConfigurationError, MsgbusError


def test_every_part_is_read() -> None:
    url = BrokerURL.parse("Kafka+SSL://us%40er:p%3Ass@h1:9093,[::1]:9094,h3/a%2Fb?group=g&ca=/x%20y.pem")
    assert url.scheme == "kafka+ssl"
    assert url.hosts == (("h1", 9093), ("::1", 9094), ("h3", None))
    assert (url.username, url.password, url.path) == ("us@er", "p:ss", "a/b")
    assert dict(url.params) == {"group": "g", "ca": "/x y.pem"}
    assert url.servers(9092) == "h1:9093,[::1]:9094,h3:9092"


def test_the_shortest_is_a_scheme() -> None:
    assert BrokerURL.parse("memory://") == BrokerURL("memory", ())


def test_a_password_is_never_shown() -> None:
    url = BrokerURL.parse("redis://user:s3cret@host/0?x=1&sentinel_password=s3cret")
    assert "s3cret" not in repr(url)
    assert str(url) == "redis://user:***@host/0"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "redis",
        "redis:/host",
        "://host",
        "redis://host:port",
        "redis://host:99999",
        "redis://a,,b",
        "redis://u:s3cret@h:x",
    ],
)
def test_what_is_no_url_is_a_configuration_error_without_the_password(bad: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BrokerURL.parse(bad)
    assert "s3cret" not in str(caught.value)


def test_a_parameter_given_twice_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="'group' more than once"):
        BrokerURL.parse("redis://h?group=a&group=b")


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_an_error_of_ours(text: str) -> None:
    try:
        BrokerURL.parse(text)
    except MsgbusError:
        return
