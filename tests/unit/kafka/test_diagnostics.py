"""Findings from what a Kafka cluster reports of its nodes and topics."""

from __future__ import annotations

import pytest

from msgbus_kafka.diagnostics import Topic, cluster_findings, own_topics, topic_findings

WELL = Topic("q", replicas=3, behind=0, leaderless=0, insync=2)


def test_topics_are_ours_by_what_lies_beside_them() -> None:
    names = ["shop.a", "shop.a.g.dlq", "shop.a.g.retry.5s", "b.g.dlq", "theirs", "theirs.dlq", "__consumer_offsets"]
    assert own_topics(names) == ["b.g.dlq", "shop.a", "shop.a.g.dlq", "shop.a.g.retry.5s"]


def test_a_cluster_that_is_as_it_should_be_has_no_findings() -> None:
    settings = {"min.insync.replicas": "2", "auto.create.topics.enable": "false"}
    assert [*cluster_findings(3, settings), *topic_findings(3, [WELL])] == []


def test_a_cluster_is_judged_by_its_nodes_and_settings() -> None:
    careless = {"min.insync.replicas": "1", "auto.create.topics.enable": "true"}
    assert [one.severity for one in cluster_findings(3, careless)] == ["warning", "note"]
    assert [one.what.partition(":")[0] for one in cluster_findings(1, careless)] == [
        "the cluster has one node",
        "auto.create.topics.enable is true",
    ]
    assert ["may not read" in one.what for one in cluster_findings(3, None)] == [True]


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
