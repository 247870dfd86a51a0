"""URLs of Redis: the server address that a URL names, and URLs that name none."""

from __future__ import annotations

import pytest

from msgbus.adapter.url import BrokerURL
from msgbus.errors import ConfigurationError
from msgbus_redis.options import RedisOptions, server_address


def test_a_url_names_host_port_database_and_login() -> None:
    address = server_address(BrokerURL.parse("redis://user:secret@h:7000/3"), RedisOptions())
    assert (address.host, address.port, address.database) == ("h", 7000, 3)
    assert (address.username, address.password, address.tls) == ("user", "secret", None)


def test_the_shortest_url_leads_to_the_default_port_and_database() -> None:
    address = server_address(BrokerURL.parse("redis://h"), RedisOptions())
    assert (address.port, address.database) == (6379, 0)


def test_rediss_is_with_tls_as_the_options_say() -> None:
    address = server_address(BrokerURL.parse("rediss://h"), RedisOptions(insecure=True))
    assert address.tls is not None
    assert not address.tls.check_hostname


def test_sentinels_have_their_own_port_login_and_service() -> None:
    options = RedisOptions(service="main", sentinel_user="asker", sentinel_password="word")  # noqa: S106
    address = server_address(BrokerURL.parse("redis+sentinel://u:p@one,two:7/0"), options)
    assert address.where == "service main by sentinels one:26379,two:7"
    assert (address.username, address.password) == ("u", "p")


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("redis://", {}, "one host"),
        ("redis://one,two", {}, "one host"),
        ("redis://h/orders", {}, "number of a database"),
        ("redis://h", {"service": "main"}, "service= is for redis\\+sentinel"),
        ("redis://h", {"service": "main", "sentinel_user": "u"}, "service= and sentinel_user= are for"),
        ("redis+sentinel://h", {}, "name sentinels and a service"),
        ("rediss://h", {"ca": "/no/such/file"}, "ca=, cert= or key="),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_with_the_way_out(url: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        server_address(BrokerURL.parse(url), RedisOptions.model_validate(options))
