"""What a Redis server must be and be set to: what connecting refuses and warns of is what doctor shows."""

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
"""XADD NOMKSTREAM and XAUTOCLAIM."""
SETTINGS_HIDDEN_FINDING: Final = Finding(
    "warning",
    "the server's settings may not be looked at, and promise 1 rests on noeviction and appendonly yes",
    "check them by hand",
)


async def server_info(client: ConnectionPool) -> Mapping[str, str]:
    """What INFO says of a server that can be worked with; raises for another, and AccessRefused."""
    info = _fields(await client.run_one(("INFO",), "looking at the server's settings"))
    if (error := _refusal(client.address, info)) is not None:
        raise error
    return info


async def diagnose(client: ConnectionPool, trouble: str) -> Diagnosis:
    """See Adapter; ``trouble`` is what it suffers from now."""
    now = [Finding("error", trouble)] if trouble else []
    try:
        info = await server_info(client)
    except AccessRefused:
        return Diagnosis(f"Redis at {client.address.where}", (*now, SETTINGS_HIDDEN_FINDING))
    return Diagnosis(f"{_name(info)} at {client.address.where}", (*now, *findings(info)))


def _fields(info: Any) -> dict[str, str]:
    """An answer to INFO, by name."""
    lines = (line.partition(":") for line in bytes(info).decode(errors="replace").splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}


def _name(info: Mapping[str, str]) -> str:
    """What the server is, with its version. Valkey tells of itself beside the Redis that it can stand in for."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}" if "redis_version" in info else "Redis"


def _refusal(place: object, info: Mapping[str, str]) -> MsgbusError | None:
    """Why this is no server to work with at all."""
    if info.get("redis_mode") == "sentinel":
        return ConfigurationError(f"{place}: it is a sentinel: use redis+sentinel://…?service=")
    if info.get("role") == "slave":
        return BrokerUnavailable(f"{place}: the server is a replica")
    if info.get("redis_mode") == "cluster" or info.get("cluster_enabled") == "1":
        return Unsupported(f"{place}: Redis Cluster is not supported yet; use a single server")
    return None


def findings(info: Mapping[str, str]) -> Iterator[Finding]:
    """What endangers the promise, by its INFO. Pure."""
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
