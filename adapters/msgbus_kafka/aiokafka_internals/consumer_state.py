"""State of an AIOKafkaConsumer that its public interface does not show.

Every read of a private attribute of a consumer goes through these functions.
:mod:`msgbus_kafka.aiokafka_internals.verify` checks that the attributes exist.

aiokafka 0.14. Needed because ``AIOKafkaConsumer`` offers no generation, no commit without an assignment, no position
without a wait, and no way to leave a group that can be awaited. Without these reads the tests of
``test_adapter.py`` and ``test_client_defects.py`` about rebalances and stalled consumers fail. Remove a function
when aiokafka offers the same in public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection

    from aiokafka.structs import TopicPartition

    from msgbus_kafka.client_types.consumer import ConsumerClient, Coordinator
    from msgbus_kafka.client_types.network import NetworkClient

__all__ = [
    "assigned_partitions",
    "assignment_is_outdated",
    "coordinator_of",
    "fetch_position",
    "has_assignment",
    "has_coordinator",
    "has_joined",
    "leave_group",
    "network_client",
    "partition_count",
    "raise_group_error",
    "refresh_metadata",
    "unsubscribe",
]


def network_client(consumer: ConsumerClient) -> NetworkClient:
    """Return the AIOKafkaClient of ``consumer``."""
    return consumer._client


def coordinator_of(consumer: ConsumerClient) -> Coordinator:
    """Return the group coordinator of ``consumer``. Its commits work while there is no assignment."""
    return consumer._coordinator


def has_coordinator(consumer: ConsumerClient) -> bool:
    """Return whether a node of the cluster is known to be the group's coordinator."""
    return consumer._coordinator.coordinator_id is not None


def has_joined(consumer: ConsumerClient) -> bool:
    """Return whether ``consumer`` is in a generation of its group and need not join again."""
    coordinator = consumer._coordinator
    return coordinator.generation > 0 and not coordinator._rejoin_needed_fut.done()


def raise_group_error(consumer: ConsumerClient) -> None:
    """Raise the error that ended the group membership, if any. ``getmany()`` raises it as well."""
    consumer._coordinator.check_errors()


def leave_group(consumer: ConsumerClient) -> Awaitable[None]:
    """Leave the group. ``AIOKafkaConsumer.unsubscribe()`` does it in a task that cannot be awaited."""
    return consumer._coordinator._maybe_leave_group()


def unsubscribe(consumer: ConsumerClient) -> None:
    """Drop the subscription and its assignment, without asking for the metadata of all topics."""
    consumer._subscription.unsubscribe()


def has_assignment(consumer: ConsumerClient) -> bool:
    """Return whether the group has assigned partitions, or none, to the current subscription."""
    return consumer._subscription.subscription.assignment is not None


def assignment_is_outdated(consumer: ConsumerClient) -> bool:
    """Return whether the subscription was replaced since the assignment that is being reported."""
    return consumer._subscription.reassignment_in_progress


def assigned_partitions(coordinator: Coordinator) -> Collection[TopicPartition]:
    """Return the partitions that are assigned to the consumer of ``coordinator``."""
    return coordinator._subscription.assigned_partitions()


def fetch_position(consumer: ConsumerClient, partition: TopicPartition) -> int:
    """Return the next offset to fetch, without waiting; -1 while aiokafka does not know it."""
    assignment = consumer._subscription.subscription.assignment
    state = assignment.state_value(partition) if assignment is not None else None
    return state.position if state is not None and state.has_valid_position else -1


def partition_count(consumer: ConsumerClient, topic: str) -> int:
    """Return the number of partitions of ``topic`` by the consumer's own metadata, which may be a minute old."""
    return len(consumer._client.cluster.partitions_for_topic(topic) or ())


def refresh_metadata(consumer: ConsumerClient) -> None:
    """Start a metadata request of the consumer."""
    consumer._client.force_metadata_update()
