"""Starting aiokafka's consumer of a group: its settings, and what is installed in it before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from msgbus.errors import translate_errors
from msgbus_kafka.aiokafka_internals.consumer_state import network_client
from msgbus_kafka.aiokafka_internals.install import install_patches
from msgbus_kafka.aiokafka_internals.offset_fetch import install_offset_fetch_guard
from msgbus_kafka.aiokafka_internals.shutdown import stop_consumer
from msgbus_kafka.aiokafka_internals.sticky_assignor import new_sticky_assignor
from msgbus_kafka.errors import ERROR_TABLE

if TYPE_CHECKING:
    from msgbus_kafka.connection import ConnectionSettings
    from msgbus_kafka.consumer.group_state import GroupState
    from msgbus_kafka.options import Assignor, Timing

__all__ = ["start_client"]

MAX_INT32: Final = 2**31 - 1


async def start_client(access: ConnectionSettings, places: GroupState, timing: Timing, assignor: Assignor) -> Any:
    """An AIOKafkaConsumer of a group that is subscribed to nothing. Raises BrokerUnavailable or AccessRefused."""
    client = AIOKafkaConsumer(
        **access.client_arguments(),
        client_id="msgbus",
        group_id=places.group,
        enable_auto_commit=False,  # it commits what was fetched, done or not
        auto_offset_reset="earliest",
        session_timeout_ms=int(timing.session * 1000),
        heartbeat_interval_ms=int(timing.heartbeat * 1000),
        rebalance_timeout_ms=int(timing.rebalance * 1000),
        request_timeout_ms=int(timing.request * 1000),
        metadata_max_age_ms=60_000,
        isolation_level="read_committed",  # what a transaction of somebody else's took back was never published
        fetch_max_wait_ms=100,  # a partition that becomes hungry waits for the fetch that is under way
        max_poll_interval_ms=MAX_INT32,  # full of slow messages is not dead
        partition_assignment_strategy=[_assignor(assignor)],  # two of them join the group twice
    )
    install_patches(network_client(client), access.servers, access.fetch_metadata)
    try:
        # Connected once before: aiokafka says "unable to bootstrap" of a wrong password too.
        await access.check_connection()
        with translate_errors(ERROR_TABLE, f"kafka: group {places.group}"):
            await client.start()
    except BaseException:
        await stop_consumer(client, 0)
        raise
    install_offset_fetch_guard(client, places.initial_offsets.pending, places.start_offsets.record_response)
    return client


def _assignor(name: Assignor) -> Any:
    if not isinstance(name, str):
        return name
    if name == "range":
        return RangePartitionAssignor
    if name == "roundrobin":
        return RoundRobinPartitionAssignor
    return new_sticky_assignor()
