"""An accumulator without a client."""

from __future__ import annotations

import pytest
from aiokafka.producer.transaction_manager import TransactionManager

from msgbus_kafka.aiokafka_internals.accumulator import Accumulator
from tests.support.kafka.accumulators import BATCH_BYTES, BATCH_TIMEOUT_SECONDS, Leaders


@pytest.fixture
async def leaders() -> Leaders:
    """Leaders of all partitions."""
    return Leaders()


@pytest.fixture
async def batches(leaders: Leaders) -> Accumulator:
    """Accumulator of producer 7 in epoch 3."""
    sequences = TransactionManager(None, 1000)
    sequences.set_pid_and_epoch(7, 3)
    return Accumulator(leaders, sequences, BATCH_BYTES, BATCH_TIMEOUT_SECONDS)
