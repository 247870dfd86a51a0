"""The parts of aiokafka that msgbus relies on are there, and it says so where one is not."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.producer.sender import Sender

from msgbus import connect
from msgbus.adapter.url import BrokerURL
from msgbus.errors import ConfigurationError
from msgbus_kafka import KafkaAdapter, KafkaOptions
from msgbus_kafka.aiokafka_internals import verify

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _looked_at_anew() -> Iterator[None]:
    """What one test finds is forgotten."""
    yield
    verify.missing_parts.cache_clear()
    verify._missing_of_fast_producer.cache_clear()


def forget() -> None:
    verify.missing_parts.cache_clear()
    verify._missing_of_fast_producer.cache_clear()


def test_every_part_is_there() -> None:
    assert version("aiokafka").startswith(f"{verify.SUPPORTED}.")
    assert not verify.missing_parts()
    assert not verify.fast_producer_problem()


def test_a_missing_part_is_one_error_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(AIOKafkaClient, "_metadata_update")
    forget()
    with pytest.raises(ConfigurationError) as raised:
        connect("kafka://localhost")
    text = str(raised.value)
    assert "AIOKafkaClient._metadata_update" in text
    assert version("aiokafka") in text
    assert f"aiokafka=={verify.SUPPORTED}.*" in text


@pytest.mark.parametrize(
    ("part", "missing"),
    [
        ({"aiokafka.client:AIOKafkaClient": ("_conns", "_no_such")}, ("AIOKafkaClient._no_such",)),
        ({"aiokafka.client:NoSuch": ("_conns",)}, ("aiokafka.client.NoSuch",)),
        ({"aiokafka.no_such:Class": ("_conns",)}, ("aiokafka.no_such.Class",)),
    ],
)
def test_attributes_classes_and_modules_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, part: dict[str, tuple[str, ...]], missing: tuple[str, ...]
) -> None:
    monkeypatch.setattr(verify, "REQUIRED", part)
    forget()
    assert verify.missing_parts() == missing


def test_what_only_the_fast_producer_lacks_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(Sender, "_sender_routine")
    forget()
    adapter = KafkaAdapter(BrokerURL.parse("kafka://localhost"), KafkaOptions())
    for _ in range(2):
        adapter._warn_of_client()
    (record,) = [one for one in caplog.records if "Sender._sender_routine" in one.message]
    assert record.levelno == logging.WARNING
    assert "send_batch()" in record.message
