"""URL parameters of Redis, and the server address that a URL names."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, SecretStr

from msgbus.adapter.options import AdapterOptions
from msgbus.errors import ConfigurationError
from msgbus_redis.connection.sentinel import Sentinels
from msgbus_redis.connection.server import ServerAddress

if TYPE_CHECKING:
    from msgbus.adapter.url import BrokerURL

__all__ = ["RedisOptions", "server_address"]

DEFAULT_PORT: Final = 6379
DEFAULT_SENTINEL_PORT: Final = 26379


class RedisOptions(AdapterOptions):
    """URL parameters that only Redis has."""

    prefix: Annotated[str, Field(pattern=r"^[^\s{}]+$")] = "msgbus"
    """First part of every key."""
    visibility: Annotated[float, Field(ge=0.1, le=86_400)] = 30.0
    """Seconds after which other members claim an in-flight delivery that its member did not extend."""
    service: str = ""
    """Name that the sentinels of ``redis+sentinel://`` have for the primary and its replicas."""
    sentinel_user: str = ""
    """User for the sentinels, where they have users; the URL's user is for the servers."""
    sentinel_password: SecretStr = SecretStr("")
    """Password for the sentinels."""


def server_address(url: BrokerURL, options: RedisOptions) -> ServerAddress:
    """Return the server address that ``url`` names. Raises ConfigurationError."""
    tls = _tls(url, options)
    sentinels = _sentinels(url, options, tls)
    if sentinels is None and len(url.hosts) != 1:
        raise ConfigurationError(f"{url}: the URL should name one host, e.g. redis://localhost:{DEFAULT_PORT}")
    if url.path and not url.path.isdecimal():
        raise ConfigurationError(f"{url}: the path should be the number of a database")
    host, port = url.hosts[0]
    return ServerAddress(host, port or DEFAULT_PORT, int(url.path or 0), url.username, url.password, tls, sentinels)


def _sentinels(url: BrokerURL, options: RedisOptions, tls: ssl.SSLContext | None) -> Sentinels | None:
    user, password = options.sentinel_user, options.sentinel_password.get_secret_value()
    if not url.scheme.endswith("+sentinel"):
        given = {"service": options.service, "sentinel_user": user, "sentinel_password": password}
        if wrong := [f"{name}=" for name, value in given.items() if value]:
            raise ConfigurationError(
                f"{url}: {' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} for redis+sentinel:// URLs"
            )
        return None
    if not (options.service and url.hosts):
        raise ConfigurationError(
            f"{url}: name sentinels and a service, e.g. redis+sentinel://h1:{DEFAULT_SENTINEL_PORT},h2/0?service=main"
        )
    hosts = [(host, port or DEFAULT_SENTINEL_PORT) for host, port in url.hosts]
    return Sentinels(options.service, [ServerAddress(*at, username=user, password=password, tls=tls) for at in hosts])


def _tls(url: BrokerURL, options: RedisOptions) -> ssl.SSLContext | None:
    if not url.scheme.startswith("rediss"):
        return None
    try:
        return options.ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{url}: ca=, cert= or key= cannot be used: {error}") from error
