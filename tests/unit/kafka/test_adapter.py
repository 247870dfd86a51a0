"""What KafkaAdapter does without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus.adapter.url import BrokerURL
from msgbus_kafka import KafkaAdapter, KafkaOptions
from msgbus_kafka.diagnostics import SLOW_CLIENT_FINDING

if TYPE_CHECKING:
    import pytest


async def test_a_client_without_its_c_extension_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import msgbus_kafka.adapter

    adapter = KafkaAdapter(BrokerURL.parse("kafka://localhost"), KafkaOptions())
    adapter._warn_of_client()
    assert not caplog.text
    monkeypatch.setattr(msgbus_kafka.adapter, "client_findings", lambda: [SLOW_CLIENT_FINDING])
    for _ in range(2):
        adapter._warn_of_client()
    assert caplog.text.count("without its C extension") == 1
