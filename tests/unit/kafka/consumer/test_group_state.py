"""What one process knows of a group."""

from __future__ import annotations

from typing import Any

from msgbus_kafka.consumer.group_state import GroupState


def test_a_group_has_one_state_of_initial_offsets_and_one_of_start_offsets() -> None:
    cluster: Any = object()
    topics: Any = object()
    state = GroupState(cluster, topics, "g")
    assert (state.group, state.cluster, state.topics) == ("g", cluster, topics)
    assert state.initial_offsets is not GroupState(cluster, topics, "g").initial_offsets
    assert state.start_offsets is not None
