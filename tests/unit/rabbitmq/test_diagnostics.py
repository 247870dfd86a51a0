"""Findings from what a RabbitMQ server reports of itself."""

from __future__ import annotations

import pytest

from msgbus_rabbitmq import diagnostics as rabbitmq


@pytest.mark.parametrize(
    ("version", "old"), [("3.9.29", True), ("3.10.0", False), ("3.13.0-rc.1", False), ("4.0.5", False), ("", False)]
)
def test_a_rabbitmq_is_old_by_its_numbers(version: str, old: bool) -> None:
    assert [one.severity for one in rabbitmq.findings({"version": version})] == ["error"] * old
