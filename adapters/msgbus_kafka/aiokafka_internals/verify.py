"""The parts of aiokafka that msgbus patches or reads although they are private, and the check that they exist.

A renamed attribute would fail late, in a task, or not at all: replacing a method that aiokafka no longer calls has no
effect. So :func:`verify` looks for every part once, when an adapter is made, and raises one ConfigurationError.

The parts of the fast producer path are a list of their own. Where one is missing, msgbus publishes through aiokafka's
own ``send_batch()`` (see :mod:`msgbus_kafka.aiokafka_internals.send_batch`); everything else works as before.

The check finds names, not meanings: a part that keeps its name and changes its behaviour is found by the tests that
each patch names in its module.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from msgbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["FAST_PRODUCER", "REQUIRED", "SUPPORTED", "fast_producer_problem", "missing_parts", "verify"]

SUPPORTED: Final = "0.14"
"""The series of aiokafka that msgbus is tested with."""
MAX_NAMED_PARTS: Final = 3
"""Most missing parts that an error names."""

REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    # install, bootstrap_rediscovery, request_throttle, shutdown
    "aiokafka.client:AIOKafkaClient": (
        *("bootstrap", "close", "cluster", "force_metadata_update", "send"),
        *("_conns", "_get_conn", "_get_conn_lock", "_md_synchronizer", "_md_update_fut", "_metadata_update"),
        *("_on_connection_closed", "_sync_task"),
    ),
    "aiokafka.cluster:ClusterMetadata": (
        *("brokers", "partitions_for_topic", "available_partitions_for_topic", "update_metadata", "_partitions"),
    ),
    "aiokafka.conn:AIOKafkaConnection": ("close", "_protocol"),
    "aiokafka.conn:AIOKafkaProtocol": ("_transport",),
    # consumer_state, offset_fetch, shutdown
    "aiokafka.consumer.consumer:AIOKafkaConsumer": ("_client", "_coordinator", "_fetcher", "_subscription"),
    "aiokafka.consumer.group_coordinator:GroupCoordinator": (
        *("check_errors", "commit_offsets", "coordinator_dead", "coordinator_id", "generation"),
        *("_commit_refresh_task", "_coordination_task", "_do_commit_offsets", "_heartbeat_task"),
        *("_maybe_leave_group", "_rejoin_needed_fut", "_send_req", "_subscription"),
    ),
    "aiokafka.consumer.subscription_state:SubscriptionState": (
        *("assigned_partitions", "reassignment_in_progress", "subscription", "unsubscribe"),
    ),
    "aiokafka.consumer.subscription_state:Assignment": ("active", "state_value"),
    "aiokafka.consumer.subscription_state:TopicPartitionState": ("has_valid_position", "position"),
    # fetcher, lenient_headers
    "aiokafka.consumer.fetcher:Fetcher": (
        *("_client", "_fetch_task", "_in_flight", "_pending_tasks", "_proc_fetch_request", "_records", "_set_error"),
        "_wait_consume_future",
    ),
    "aiokafka.consumer.fetcher:FetchResult": ("_partition_records",),
    "aiokafka.consumer.fetcher:PartitionRecords": ("next_fetch_offset", "_records"),
    "aiokafka.protocol.fetch:FetchRequest": ("_max_wait_ms",),
    "aiokafka.record.default_records:_DefaultRecordBatchPy": ("_buffer", "_maybe_uncompress"),
    "aiokafka.record.memory_records:_MemoryRecordsPy": ("next_batch", "_next_slice"),
    # producer_state, shutdown
    "aiokafka.producer.producer:AIOKafkaProducer": ("client", "_message_accumulator", "_sender"),
    "aiokafka.producer.sender:Sender": ("sender_task", "_sender_task"),
    "aiokafka.producer.message_accumulator:MessageAccumulator": ("fail_all",),
}
"""Parts without which msgbus cannot work: methods of each class, and attributes that its ``__init__`` sets."""

FAST_PRODUCER: Final[Mapping[str, tuple[str, ...]]] = {
    "aiokafka.producer.producer:AIOKafkaProducer": ("_message_accumulator", "_sender", "_txn_manager"),
    "aiokafka.producer.sender:Sender": (
        *("acks", "message_accumulator", "request_timeout_ms", "retry_backoff_ms", "txn_manager"),
        *("_acks", "_fail_all", "_in_flight", "_maybe_wait_for_pid", "_message_accumulator", "_muted_partitions"),
        *("_request_timeout_ms", "_retry_backoff", "_send_produce_req", "_sender_routine"),
    ),
    "aiokafka.producer.sender:SendProduceReqHandler": (
        *("create_request", "do", "handle_response", "_batches", "_sender"),
    ),
    "aiokafka.producer.message_accumulator:MessageAccumulator": (
        *("close", "fail_all", "reenqueue", "waiter", "_batch_size", "_batch_ttl"),
    ),
    "aiokafka.producer.transaction_manager:TransactionManager": (
        *("increment_sequence_number", "producer_epoch", "producer_id", "sequence_number"),
    ),
    "aiokafka.protocol.produce:ProduceRequest": ("build",),
    "aiokafka.protocol.produce:ProduceRequest_v7": ("API_KEY", "API_VERSION", "build_request_header", "encode"),
    "aiokafka.protocol.produce:ProduceResponse_v7": ("decode",),
    "aiokafka.record.default_records:DefaultRecordBatchBuilder": ("append", "build", "set_producer_state"),
}
"""Further parts that the fast producer path needs: sender, accumulator, produce_request. Lower-case names without an
underscore under ``Sender`` are parameters of its constructor."""


def verify() -> None:
    """Check that aiokafka has every part that msgbus relies on. Takes less than 1 ms, and nothing after the first time.

    Raises:
        ConfigurationError: At least one is missing; names the installed and the supported version.
    """
    if missing := missing_parts():
        raise ConfigurationError(
            f"kafka: aiokafka {version('aiokafka')} is not supported: it has no {_named(missing)}; install aiokafka "
            f'{SUPPORTED}, for which msgbus is made: pip install "aiokafka=={SUPPORTED}.*"'
        )


def fast_producer_problem() -> str:
    """Return which parts of the fast producer path the installed aiokafka lacks, in words; empty if it has all."""
    missing = _missing_of_fast_producer()
    return f"aiokafka {version('aiokafka')} has no {_named(missing)}" if missing else ""


@cache
def missing_parts() -> tuple[str, ...]:
    """Return the parts of REQUIRED that the installed aiokafka does not have."""
    return tuple(_missing(REQUIRED))


@cache
def _missing_of_fast_producer() -> tuple[str, ...]:
    return tuple(_missing(FAST_PRODUCER))


def _missing(parts: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for path, names in parts.items():
        module, _, owner = path.partition(":")
        try:
            found = getattr(import_module(module), owner, None)
        except ImportError:
            found = None
        if found is None:
            yield f"{module}.{owner}"
            continue
        set_by_init = _names_in_init(found)
        yield from (f"{owner}.{name}" for name in names if not hasattr(found, name) and name not in set_by_init)


def _names_in_init(owner: type) -> set[str]:
    """Return the attributes and parameters that the constructors of ``owner`` and its bases name."""
    codes = (getattr(base.__dict__.get("__init__"), "__code__", None) for base in owner.__mro__)
    return {name for code in codes if code is not None for name in (*code.co_names, *code.co_varnames)}


def _named(missing: tuple[str, ...]) -> str:
    more = f" and {len(missing) - MAX_NAMED_PARTS} more" if len(missing) > MAX_NAMED_PARTS else ""
    return ", ".join(missing[:MAX_NAMED_PARTS]) + more
