"""Findings from what a Redis server reports of itself."""

from __future__ import annotations

import pytest

from msgbus_redis import diagnostics as redis


@pytest.mark.parametrize(
    ("version", "old"), [("6.0.16", True), ("5.0", True), ("6.2.0", False), ("7.0.15", False), ("10.0.1", False)]
)
def test_a_redis_is_old_by_its_numbers(version: str, old: bool) -> None:
    found = list(redis.findings({"redis_version": version, "aof_enabled": "1", "maxmemory_policy": "noeviction"}))
    assert [one.severity for one in found] == ["error"] * old
