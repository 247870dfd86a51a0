"""URL of a broker: ``scheme://[user[:password]@]host[:port][,host[:port]…][/path][?name=value&…]``.

msgbus parses it itself, since a broker may have several hosts. User, password, path and parameters are percent-decoded
once. The text of a :class:`BrokerURL` shows ``***`` as its password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from msgbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BrokerURL"]

_SHAPE = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://((?P<user>[^@/?#]*)@)?(?P<hosts>[^/?#@]*)(/(?P<path>[^?#]*))?(\?(?P<query>[^#]*))?",
)
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:(?P<port>[0-9]{1,5}))?")
_PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class BrokerURL:
    """A parsed broker URL.

    ``hosts`` are names, without brackets, with their ports; the port is None where the URL has none.
    """

    scheme: str
    hosts: tuple[tuple[str, int | None], ...]
    path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @classmethod
    def parse(cls, text: str) -> BrokerURL:
        """Parse a URL.

        Args:
            text: The URL, as an operator writes it.

        Returns:
            The parsed URL.

        Raises:
            ConfigurationError: ``text`` is no broker URL. The error never repeats a password.
        """
        shape = _SHAPE.fullmatch(text.strip())
        if shape is None:
            raise ConfigurationError(
                "the broker's URL should look like scheme://host:port, e.g. redis://localhost:6379"
            )
        user, _, password = (shape["user"] or "").partition(":")
        return cls(
            scheme=shape["scheme"].lower(),
            hosts=tuple(_host(one) for one in shape["hosts"].split(",")) if shape["hosts"] else (),
            path=unquote(shape["path"] or ""),
            username=unquote(user),
            password=unquote(password),
            params=MappingProxyType(_params(shape["query"] or "")),
        )

    def __str__(self) -> str:
        user = f"{self.username}{':***' if self.password else ''}@" if self.username or self.password else ""
        return f"{self.scheme}://{user}{self.servers()}{'/' + self.path if self.path else ''}"

    def servers(self, default_port: int | None = None) -> str:
        """Return the hosts as ``h1:1,h2:2``, without secrets, for logs and errors.

        Args:
            default_port: The port of hosts that have none in the URL; None leaves it out.
        """
        return ",".join(_join(name, port or default_port) for name, port in self.hosts)


def _host(text: str) -> tuple[str, int | None]:
    host = _HOST.fullmatch(text)
    if host is None or int(host["port"] or 0) > _PORT_MAX:
        raise ConfigurationError(f"{text!r} in the broker's URL should be host or host:port (1 to {_PORT_MAX})")
    return host["name"].strip("[]"), int(host["port"]) if host["port"] else None


def _join(name: str, port: int | None) -> str:
    bare = f"[{name}]" if ":" in name else name
    return f"{bare}:{port}" if port else bare


def _params(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    params = dict(pairs)
    if len(params) < len(pairs):
        twice = sorted({name for name, _ in pairs if sum(1 for other, _ in pairs if other == name) > 1})
        raise ConfigurationError(f"the broker's URL has {', '.join(map(repr, twice))} more than once")
    return params
