"""Findings from what a Redis server reports of itself, and servers that msgbus refuses."""

from __future__ import annotations

from typing import Any

import pytest

from msgbus.errors import AccessRefused, BrokerUnavailable, ConfigurationError, MsgbusError, Unsupported
from msgbus_redis import diagnostics as redis
from msgbus_redis.connection.server import ServerAddress

SAFE = {"redis_version": "7.0.15", "aof_enabled": "1", "maxmemory_policy": "noeviction"}


class Pool:
    """A server that answers INFO with these fields, or with an error."""

    def __init__(self, info: dict[str, str] | MsgbusError) -> None:
        self.address = ServerAddress("h", 6379)
        self._info = info

    async def run_one(self, command: tuple[str, ...], doing: str) -> bytes:
        assert command == ("INFO",)
        assert doing
        if isinstance(self._info, MsgbusError):
            raise self._info
        return "\r\n".join(["# Server", *(f"{name}:{value}" for name, value in self._info.items())]).encode()


def pool(info: dict[str, str] | MsgbusError) -> Any:
    return Pool(info)


@pytest.mark.parametrize(
    ("version", "old"), [("6.0.16", True), ("5.0", True), ("6.2.0", False), ("7.0.15", False), ("10.0.1", False)]
)
def test_a_redis_is_old_by_its_numbers(version: str, old: bool) -> None:
    found = list(redis.findings({"redis_version": version, "aof_enabled": "1", "maxmemory_policy": "noeviction"}))
    assert [one.severity for one in found] == ["error"] * old


@pytest.mark.parametrize(
    ("setting", "severity", "said"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "error", "maxmemory-policy"),
        ({"aof_enabled": "0"}, "warning", "appendonly"),
    ],
)
def test_a_setting_that_endangers_messages_is_a_finding(setting: dict[str, str], severity: str, said: str) -> None:
    (found,) = redis.findings({**SAFE, **setting})
    assert found.severity == severity
    assert said in found.what


@pytest.mark.parametrize(
    ("info", "error"),
    [
        ({"redis_mode": "sentinel"}, ConfigurationError),
        ({"role": "slave"}, BrokerUnavailable),
        ({"redis_mode": "cluster"}, Unsupported),
        ({"cluster_enabled": "1"}, Unsupported),
    ],
)
async def test_a_server_that_cannot_be_worked_with_is_refused(info: dict[str, str], error: type[MsgbusError]) -> None:
    with pytest.raises(error, match="redis h:6379"):
        await redis.server_info(pool({**SAFE, **info}))


async def test_a_server_that_can_be_worked_with_tells_its_fields() -> None:
    assert await redis.server_info(pool(SAFE)) == SAFE


@pytest.mark.parametrize(
    ("info", "name"),
    [
        (SAFE, "Redis 7.0.15"),
        ({**SAFE, "valkey_version": "8.1.0"}, "Valkey 8.1.0"),
        ({"aof_enabled": "1"}, "Redis"),
    ],
)
async def test_a_diagnosis_names_the_server_and_its_version(info: dict[str, str], name: str) -> None:
    diagnosis = await redis.diagnose(pool(info), "")
    assert diagnosis.server == f"{name} at h:6379"
    assert diagnosis.passed


async def test_a_diagnosis_begins_with_the_present_problem() -> None:
    diagnosis = await redis.diagnose(pool({**SAFE, "aof_enabled": "0"}), "it is out of memory")
    assert [one.severity for one in diagnosis.findings] == ["error", "warning"]
    assert diagnosis.findings[0].what == "it is out of memory"


async def test_settings_that_this_user_may_not_read_are_a_finding() -> None:
    diagnosis = await redis.diagnose(pool(AccessRefused("no INFO")), "")
    assert diagnosis.findings == (redis.SETTINGS_HIDDEN_FINDING,)
