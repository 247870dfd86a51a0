"""Kafka's URL."""

from __future__ import annotations

import pytest

from msgbus.adapter.url import BrokerURL
from msgbus.errors import (
    ConfigurationError,
)
from msgbus_kafka import KafkaAdapter, KafkaOptions


@pytest.mark.parametrize("url", ["kafka://", "kafka://h/path"])
def test_a_url_that_is_none_of_kafkas_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="kafka"):
        KafkaAdapter(BrokerURL.parse(url), KafkaOptions())
