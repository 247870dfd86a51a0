"""Client factory: the settings of aiokafka's group consumer, and its start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from msgbus.errors import translate_errors
from msgbus_kafka.aiokafka_internals.offset_fetch import install_offset_fetch_guard
from msgbus_kafka.aiokafka_internals.shutdown import stop_consumer
from msgbus_kafka.clients import new_consumer
from msgbus_kafka.consumer.sticky_assignor import new_sticky_assignor
from msgbus_kafka.errors import ERROR_TABLE

if TYPE_CHECKING:
    from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor

    from msgbus_kafka.client_types.consumer import ConsumerClient
    from msgbus_kafka.connection import ConnectionSettings
    from msgbus_kafka.consumer.group_state import GroupState
    from msgbus_kafka.options import Assignor, Timing

__all__ = ["start_client"]

MAX_INT32: Final = 2**31 - 1


async def start_client(
    access: ConnectionSettings, group_state: GroupState, timing: Timing, assignor: Assignor
) -> ConsumerClient:
    """Return a started AIOKafkaConsumer of a group without a subscription.

    Raises BrokerUnavailable or AccessRefused.
    """
    client = new_consumer(
        access,
        group_id=group_state.group,
        auto_offset_reset="earliest",
        session_timeout_ms=int(timing.session * 1000),
        heartbeat_interval_ms=int(timing.heartbeat * 1000),
        rebalance_timeout_ms=int(timing.rebalance * 1000),
        request_timeout_ms=int(timing.request * 1000),
        metadata_max_age_ms=60_000,
        isolation_level="read_committed",  # records of an aborted transaction were never published
        fetch_max_wait_ms=100,  # a partition that wants more waits for the fetch in flight
        max_poll_interval_ms=MAX_INT32,  # a member full of slow messages is alive
        partition_assignment_strategy=[_assignor(assignor)],  # aiokafka joins twice with two
    )
    try:
        # aiokafka's start() raises "unable to bootstrap" for a wrong password as well.
        await access.check_connection()
        with translate_errors(ERROR_TABLE, f"kafka: group {group_state.group}"):
            await client.start()
    except BaseException:
        await stop_consumer(client, 0)
        raise
    install_offset_fetch_guard(client, group_state.initial_offsets.pending, group_state.start_offsets.record_response)
    return client


def _assignor(name: Assignor) -> type[AbstractPartitionAssignor]:
    if not isinstance(name, str):
        return name
    named: dict[str, type[AbstractPartitionAssignor]] = {
        "range": RangePartitionAssignor,
        "roundrobin": RoundRobinPartitionAssignor,
    }
    return named[name] if name in named else new_sticky_assignor()
