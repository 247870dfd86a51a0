"""Closing a Kafka adapter ends every part of it, and says which of them failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus.adapter.url import BrokerURL
from msgbus_kafka import KafkaAdapter, KafkaOptions
from msgbus_kafka.admin.client import AdminClient

if TYPE_CHECKING:
    import pytest


async def test_a_part_that_cannot_be_closed_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: object) -> None:
        raise AttributeError("_conns")

    monkeypatch.setattr(AdminClient, "close", broken)
    await KafkaAdapter(BrokerURL.parse("kafka://localhost"), KafkaOptions()).close()
    (text,) = [record.message for record in caplog.records]
    assert "closing the admin client failed" in text
    assert "_conns" in text
