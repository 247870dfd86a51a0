"""What adapters find, by what servers tell of themselves."""

from __future__ import annotations

import pytest

from msgbus_kafka.diagnostics import Topic, cluster_findings, own_topics, topic_findings
from msgbus_rabbitmq import diagnostics as rabbitmq
from msgbus_redis import diagnostics as redis

WELL = Topic("q", replicas=3, behind=0, leaderless=0, insync=2)


@pytest.mark.parametrize(
    ("version", "old"), [("6.0.16", True), ("5.0", True), ("6.2.0", False), ("7.0.15", False), ("10.0.1", False)]
)
def test_a_redis_is_old_by_its_numbers(version: str, old: bool) -> None:
    found = list(redis.findings({"redis_version": version, "aof_enabled": "1", "maxmemory_policy": "noeviction"}))
    assert [one.severity for one in found] == ["error"] * old


@pytest.mark.parametrize(
    ("version", "old"), [("3.9.29", True), ("3.10.0", False), ("3.13.0-rc.1", False), ("4.0.5", False), ("", False)]
)
def test_a_rabbitmq_is_old_by_its_numbers(version: str, old: bool) -> None:
    assert [one.severity for one in rabbitmq.findings({"version": version})] == ["error"] * old


def test_topics_are_ours_by_what_lies_beside_them() -> None:
    names = ["shop.a", "shop.a.g.dlq", "shop.a.g.retry.5s", "b.g.dlq", "theirs", "theirs.dlq", "__consumer_offsets"]
    assert own_topics(names) == ["b.g.dlq", "shop.a", "shop.a.g.dlq", "shop.a.g.retry.5s"]


def test_a_cluster_that_is_as_it_should_be_has_no_findings() -> None:
    settings = {"min.insync.replicas": "2", "auto.create.topics.enable": "false"}
    assert [*cluster_findings(3, settings), *topic_findings(3, [WELL])] == []


def test_a_cluster_is_judged_by_its_nodes_and_settings() -> None:
    careless = {"min.insync.replicas": "1", "auto.create.topics.enable": "true"}
    assert [one.severity for one in cluster_findings(3, careless)] == ["warning", "note"]
    assert [one.what[:18] for one in cluster_findings(1, careless)] == ["there is one node:", "auto.create.topics"]
    assert ["may not be looked" in one.what for one in cluster_findings(3, None)] == [True]


@pytest.mark.parametrize(
    ("topic", "severity", "words"),
    [
        (WELL._replace(leaderless=1), "error", "without a leader"),
        (WELL._replace(insync=4), "error", "publishes are refused"),
        (WELL._replace(replicas=2), "warning", "fewer than 3 replicas"),
        (WELL._replace(behind=2), "warning", "not in sync"),
        (WELL._replace(insync=1), "warning", "only one node has"),
    ],
)
def test_a_topic_is_judged_by_its_replicas(topic: Topic, severity: str, words: str) -> None:
    (found,) = topic_findings(5, [WELL, topic._replace(name="bad")])
    assert (found.severity, words in found.what, found.what.endswith(": bad")) == (severity, True, True)


def test_of_many_topics_a_few_are_named() -> None:
    (found,) = topic_findings(3, [WELL._replace(name=f"t{n}", behind=1) for n in range(5)])
    assert found.what.endswith(": t0, t1, t2 and 2 more")
