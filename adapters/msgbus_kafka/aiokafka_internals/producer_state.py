"""State of an AIOKafkaProducer that its public interface does not show.

aiokafka 0.14. Needed because ``AIOKafkaProducer`` does not say that its sender task has ended: each later publish would
wait until its deadline. Nor does it say when its metadata has changed: the partitions would have to be sorted for each
message. Remove a function when aiokafka offers the same in public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgbus_kafka.client_types.producer import ProducerClient

__all__ = ["is_sending", "metadata_version"]


def is_sending(producer: ProducerClient) -> bool:
    """Return whether the sender task of a started ``producer`` runs."""
    return not producer._sender.sender_task.done()


def metadata_version(producer: ProducerClient) -> object:
    """Return an object that is replaced by each metadata response; compare it by identity."""
    return producer.client.cluster._partitions
