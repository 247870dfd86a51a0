"""A msgbus URL taken apart, as far as asking a server for its version needs it: the first host only."""

import ssl
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

# scheme -> broker, port where the URL names none, TLS
_SCHEMES = {
    "redis": ("redis", 6379, False),
    "rediss": ("redis", 6379, True),
    "rabbitmq": ("rabbitmq", 5672, False),
    "amqp": ("rabbitmq", 5672, False),
    "rabbitmqs": ("rabbitmq", 5671, True),
    "amqps": ("rabbitmq", 5671, True),
    "kafka": ("kafka", 9092, False),
    "kafka+ssl": ("kafka", 9092, True),
}


@dataclass(frozen=True)
class Target:
    """One host of a URL and how to log in there."""

    broker: str
    host: str
    port: int
    user: str
    password: str
    tls: ssl.SSLContext | None


def parse(url: str) -> Target:
    """Read a URL of redis, rabbitmq or kafka. ValueError: another scheme."""
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES:
        raise ValueError(f"{scheme!r} is no scheme of a server for tests; known are {', '.join(_SCHEMES)}")
    broker, port, tls = _SCHEMES[scheme]
    parts = urlsplit(f"//{_first_host_only(rest)}")
    return Target(
        broker=broker,
        host=parts.hostname or "localhost",
        port=parts.port or port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        tls=_tls(parts.query) if tls else None,
    )


def _first_host_only(rest: str) -> str:
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    login, at, hosts = rest[:end].rpartition("@")
    return login + at + hosts.split(",")[0] + rest[end:]


def _tls(query: str) -> ssl.SSLContext:
    """A context from the parameters that every msgbus URL knows: ca, cert, key, insecure."""
    given = dict(parse_qsl(query))
    context = ssl.create_default_context(cafile=given.get("ca"))
    if cert := given.get("cert"):
        context.load_cert_chain(cert, given.get("key"))
    if given.get("insecure") == "1":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
