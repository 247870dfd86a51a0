"""Diagnosis of a Redis server by its INFO.

connect() raises for findings that are errors and warns of the others; ``msgbus doctor`` shows the same findings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgbus.adapter.diagnostics import Diagnosis, Finding
from msgbus.errors import AccessRefused, BrokerUnavailable, ConfigurationError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from msgbus.errors import MsgbusError
    from msgbus_redis.connection.pool import ConnectionPool

__all__ = ["SETTINGS_HIDDEN_FINDING", "diagnose", "findings", "server_info"]

MIN_VERSION: Final = (6, 2)
"""The first version with XADD NOMKSTREAM and XAUTOCLAIM."""
SETTINGS_HIDDEN_FINDING: Final = Finding(
    "warning",
    "this user may not read the server's settings, and promise 1 depends on noeviction and appendonly yes",
    "check them by hand, or grant +info",
)


async def server_info(client: ConnectionPool) -> Mapping[str, str]:
    """Return the server's INFO.

    Raises:
        AccessRefused: This user may not read it.
        ConfigurationError, BrokerUnavailable, Unsupported: msgbus cannot work with this server.
    """
    info = _fields(await client.run_one(("INFO",), "reading the server's settings"))
    if (error := _refusal(client.address, info)) is not None:
        raise error
    return info


async def diagnose(client: ConnectionPool, problem: str) -> Diagnosis:
    """Diagnose the server; ``problem`` says why it accepts no messages now, or is empty."""
    now = [Finding("error", problem)] if problem else []
    try:
        info = await server_info(client)
    except AccessRefused:
        return Diagnosis(f"Redis at {client.address.where}", (*now, SETTINGS_HIDDEN_FINDING))
    return Diagnosis(f"{_name(info)} at {client.address.where}", (*now, *findings(info)))


def _fields(info: Any) -> dict[str, str]:
    """Return a reply of INFO by name."""
    lines = (line.partition(":") for line in bytes(info).decode(errors="replace").splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}


def _name(info: Mapping[str, str]) -> str:
    """Return the server's product and version. Valkey reports its own version and that of the Redis it replaces."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}" if "redis_version" in info else "Redis"


def _refusal(place: object, info: Mapping[str, str]) -> MsgbusError | None:
    """Return the error of a server that msgbus cannot work with."""
    if info.get("redis_mode") == "sentinel":
        return ConfigurationError(f"{place}: the server is a sentinel: use redis+sentinel://…?service=")
    if info.get("role") == "slave":
        return BrokerUnavailable(f"{place}: the server is a replica; give the primary, or redis+sentinel://…?service=")
    if info.get("redis_mode") == "cluster" or info.get("cluster_enabled") == "1":
        return Unsupported(f"{place}: Redis Cluster is not supported yet; use a single server")
    return None


def findings(info: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the settings that endanger the promise, by a server's INFO. Pure."""
    version = info.get("redis_version", "")
    if version and tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < MIN_VERSION:
        yield Finding("error", f"version {version} is too old", "use Redis 6.2 or later, or Valkey")
    if (policy := info.get("maxmemory_policy", "")).startswith("allkeys-"):
        yield Finding(
            "error",
            f"maxmemory-policy is {policy}: the server would delete queues with confirmed messages when memory is "
            "short",
            "set it to noeviction",
        )
    if info.get("aof_enabled") == "0":
        yield Finding("warning", "appendonly is off: a restart loses confirmed messages", "set appendonly yes")
