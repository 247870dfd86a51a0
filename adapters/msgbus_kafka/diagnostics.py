"""Diagnosis of a Kafka cluster: its version and size, and how safely it keeps the topics of msgbus."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.metadata import MetadataRequest

from msgbus.adapter.diagnostics import Diagnosis, Finding
from msgbus_kafka.admin.client import BROKER_RESOURCE, TOPIC_RESOURCE
from msgbus_kafka.admin.topic_config import MIN_INSYNC_FINDING, SAFE_REPLICATION_FACTOR
from msgbus_kafka.aiokafka_internals.verify import SUPPORTED, fast_producer_problem
from msgbus_kafka.compression import COMPRESSION_TYPE, codec_findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from msgbus.adapter.diagnostics import Severity
    from msgbus_kafka.admin.client import AdminClient
    from msgbus_kafka.client_types.records import Row

__all__ = [
    "SLOW_CLIENT_FINDING",
    "Topic",
    "client_findings",
    "cluster_findings",
    "diagnose",
    "own_topics",
    "topic_findings",
]

SLOW_CLIENT_FINDING: Final = Finding(
    "warning",
    "aiokafka runs without its C extension: reading is 15 to 75 times slower",
    "install it from a wheel, or install a C compiler first",
)
SETTINGS_HIDDEN_FINDING: Final = Finding(
    "warning",
    "this user may not read the settings of the nodes",
    "check min.insync.replicas by hand, or allow DescribeConfigs on the cluster",
)
MAX_NAMED_TOPICS: Final = 3
"""Most topics that a finding names."""
_PART: Final = re.compile(r"(?P<queue>.+)\.[^.]+\.(dlq|retry\.[0-9]+[sm])", re.ASCII)
_FETCH: Final = 1
_FETCH_OF_4: Final = 4
"""The oldest Fetch that Kafka 4.0 still answers (KIP-896)."""


class Topic(NamedTuple):
    """A topic of msgbus."""

    name: str
    replicas: int
    """Replicas of the partition with the fewest."""
    behind: int
    """Partitions with a replica that is not in sync."""
    leaderless: int
    insync: int
    """Its ``min.insync.replicas``; 0 where this user may not read it."""


async def diagnose(cluster: AdminClient) -> Diagnosis:
    """Implement :meth:`Adapter.diagnose`."""
    answer = await cluster.send(MetadataRequest(None, allow_auto_topic_creation=False))
    nodes = cluster.live_nodes(answer)
    settings = (await cluster.configs(BROKER_RESOURCE, [str(nodes[0])], nodes[0])).get(str(nodes[0]))
    rows = {name: partitions for error, name, _, partitions in answer.topics if not error}
    names = own_topics(rows)
    of_each = await cluster.configs(TOPIC_RESOURCE, names) if names else {}
    topics = [_topic(name, rows[name], of_each.get(name, {})) for name in names]
    compressed = {name: of_each.get(name, {}).get(COMPRESSION_TYPE, "") for name in names}
    found = (
        *cluster_findings(len(nodes), settings),
        *topic_findings(len(nodes), topics),
        *codec_findings(compressed),
        *client_findings(),
    )
    version = await _version(cluster, settings or {})
    count = f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}, {len(names)} topics of msgbus"
    return Diagnosis(f"Kafka{version} at {cluster.servers} ({count})", found)


async def _version(cluster: AdminClient, settings: Mapping[str, str]) -> str:
    """Return the version as far as it can be inferred: Kafka has no request for it.

    Version 4.0 stopped answering old requests and removed a setting.
    """
    answer = await cluster.send(ApiVersionRequest())
    if any(key == _FETCH and oldest >= _FETCH_OF_4 for key, oldest, _ in answer.api_versions):
        return " 4.0 or later"
    protocol = settings.get("inter.broker.protocol.version", "")
    return f" {protocol.partition('-')[0]}" if protocol else ""


def own_topics(names: Iterable[str]) -> list[str]:
    """Return the retry queues and dead-letter queues among ``names``, and the queues that they belong to. Pure."""
    there = set(names)
    parts = {name: part["queue"] for name in there if (part := _PART.fullmatch(name))}
    return sorted({*parts, *(there & set(parts.values()))})


def cluster_findings(nodes: int, settings: Mapping[str, str] | None) -> Iterator[Finding]:
    """Yield risks of the cluster's size and of a node's settings; None: they may not be read. Pure."""
    if nodes == 1:
        yield Finding(
            "warning",
            "the cluster has one node: its data has no copy, and nothing can be published while it is down",
            "use three nodes, and three replicas of each topic",
        )
    if settings is None:
        yield SETTINGS_HIDDEN_FINDING
        return
    if nodes > 1 and settings.get("min.insync.replicas") == "1":
        yield MIN_INSYNC_FINDING
    if settings.get("auto.create.topics.enable") == "true":
        yield Finding(
            "note",
            "auto.create.topics.enable is true: another client creates a topic by misspelling a name (msgbus does not)",
            "set it to false",
        )


def topic_findings(nodes: int, topics: Sequence[Topic]) -> Iterator[Finding]:
    """Yield risks of how the topics of msgbus are replicated. Pure."""
    wanted = min(nodes, SAFE_REPLICATION_FACTOR)
    rows: tuple[tuple[Severity, str, str, Callable[[Topic], object]], ...] = (
        (
            "error",
            "with partitions without a leader: they cannot be published to or consumed",
            "start the nodes that have their replicas",
            lambda t: t.leaderless,
        ),
        (
            "error",
            "with fewer replicas than min.insync.replicas: publishes are refused",
            "lower min.insync.replicas or add replicas",
            lambda t: t.insync > t.replicas,
        ),
        (
            "warning",
            f"with fewer than {wanted} replicas",
            "give them more: kafka-reassign-partitions.sh",
            lambda t: t.replicas < wanted,
        ),
        ("warning", "with replicas that are not in sync", "look for a node that is down or slow", lambda t: t.behind),
        (
            "warning",
            "with min.insync.replicas of 1: a message may be confirmed that only one node has",
            "set it to 2: kafka-configs.sh",
            lambda t: t.insync == 1 < t.replicas,
        ),
    )
    for severity, what, remedy, concerns in rows:
        if names := [topic.name for topic in topics if concerns(topic)]:
            more = f" and {len(names) - MAX_NAMED_TOPICS} more" if len(names) > MAX_NAMED_TOPICS else ""
            yield Finding(severity, f"topics {what}: {', '.join(names[:MAX_NAMED_TOPICS])}{more}", remedy)


def client_findings() -> Iterator[Finding]:
    """Yield how the installed client costs speed."""
    from aiokafka.record.default_records import DefaultRecordBatch

    if "_crecords" not in str(DefaultRecordBatch.__module__):
        yield SLOW_CLIENT_FINDING
    if problem := fast_producer_problem():
        yield Finding(
            "warning",
            f"{problem}: msgbus publishes through aiokafka's own send_batch(), which is slower",
            f'pip install "aiokafka=={SUPPORTED}.*"',
        )


def _topic(name: str, partitions: Sequence[Row], settings: Mapping[str, str]) -> Topic:
    return Topic(
        name,
        min((len(replicas) for _, _, _, replicas, *_ in partitions), default=0),
        sum(len(insync) < len(replicas) for _, _, _, replicas, insync, *_ in partitions),
        sum(leader < 0 for _, _, leader, *_ in partitions),
        int(settings.get("min.insync.replicas", 0)),
    )
