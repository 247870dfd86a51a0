"""Choice of the producer path: the fast one, or aiokafka's own ``send_batch()``.

aiokafka 0.14. The fast path replaces the producer's accumulator and sender. Where a part of aiokafka that it needs is
missing, publishing goes through aiokafka's public interface: the same order, results and deadlines, at a higher cost
for each batch. Tests of publishing run on both paths. Unnecessary when aiokafka's own path is as fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgbus_kafka.aiokafka_internals import verify
from msgbus_kafka.aiokafka_internals.send_batch import SendBatchAccumulator
from msgbus_kafka.client_types.producer import ProducerClient

if TYPE_CHECKING:
    from msgbus_kafka.aiokafka_internals.accumulator import BatchAccumulator

__all__ = ["Producer", "accumulator_of", "flush_fallback", "install_producer_path"]


class Producer(ProducerClient, Protocol):
    """An AIOKafkaProducer with the accumulator of its path."""

    msgbus_accumulator: BatchAccumulator


def install_producer_path(producer: Producer) -> None:
    """Give an AIOKafkaProducer without transactions its accumulator, before it starts."""
    if verify.fast_producer_problem():
        producer.msgbus_accumulator = SendBatchAccumulator(producer)
    else:
        from msgbus_kafka.aiokafka_internals.sender import install_fast_sender  # imports the parts it replaces

        producer.msgbus_accumulator = install_fast_sender(producer)


def accumulator_of(producer: Producer) -> BatchAccumulator:
    """Return the accumulator that was installed in ``producer``."""
    return producer.msgbus_accumulator


async def flush_fallback(producer: Producer) -> None:
    """Wait for the batches that aiokafka does not know of: its ``stop()`` waits for all others itself."""
    batches = accumulator_of(producer)
    if isinstance(batches, SendBatchAccumulator):
        await batches.flush()
