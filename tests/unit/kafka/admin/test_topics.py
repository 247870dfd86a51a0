"""Creation of topics, without a cluster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from msgbus_kafka.admin.topics import Topics


@pytest.mark.parametrize(("insync", "brokers", "said"), [("1", 3, True), ("2", 3, False), ("1", 1, False)])
def test_a_cluster_that_confirms_what_one_node_has_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, insync: str, brokers: int, said: bool
) -> None:
    settings = {"min.insync.replicas": insync, "default.replication.factor": "1"}
    cluster: Any = SimpleNamespace()
    topics = Topics(cluster)
    for _ in range(2):
        assert topics._replication_factor(range(brokers), settings) == brokers
    assert caplog.text.count("min.insync.replicas") == said
