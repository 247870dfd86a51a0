"""CONFORMANCE.md: read, compared, merged and written."""

from __future__ import annotations

from tests.support import conformance
from tests.support.conformance import Conformance, label

PAGE = Conformance(["one", "two"], {"memory": {"one": "passed", "two": "passed"}, "Redis 7.0.15": {"one": "failed"}})


def test_a_page_is_read_as_it_was_written() -> None:
    page = PAGE.merged({}, ["one", "two"])
    assert Conformance.read(page.text()) == page
    assert page.results["Redis 7.0.15"] == {"one": "failed", "two": "not run"}
    assert "| passed | 2 of 2 | 0 of 1 |" in page.text()


def test_merging_replaces_what_was_run_and_keeps_the_rest_in_the_order_of_the_cases() -> None:
    page = PAGE.merged({"Kafka 4.1": {"two": "passed"}, "Redis 7.0.15": {"two": "passed"}}, ["two", "three"])
    assert list(page.results) == ["memory", "Redis 7.0.15", "Kafka 4.1"]
    assert page.results["Redis 7.0.15"] == {"two": "passed", "three": "not run"}
    assert "`one`" not in page.text()


def test_only_what_was_run_is_compared_and_a_new_case_differs() -> None:
    assert PAGE.differences({"memory": {"one": "passed"}, "Redis 9": {"one": "failed"}}) == []
    assert PAGE.differences({"memory": {"two": "failed", "new": "passed"}}) == [
        "memory: two: failed now, passed in CONFORMANCE.md",
        "memory: new: passed now, missing in CONFORMANCE.md",
    ]


def test_a_column_names_the_server_and_its_version() -> None:
    assert [
        label("kafka", "4.1 (metadata.version 27)"),
        label("redis", "7.0.15"),
        label("redis", "Valkey 8.1.1"),
        label("rabbitmq", "3.10.8"),
        label("memory", ""),
    ] == ["Kafka 4.1", "Redis 7.0.15", "Valkey 8.1.1", "RabbitMQ 3.10.8", "memory"]


def test_what_is_not_offered_is_told_and_counts_as_nothing() -> None:
    page = PAGE.merged({"memory": {"two": "not offered"}}, ["one", "two"])
    assert "| passed | 1 of 1 | 0 of 1 |" in page.text()
    assert "| `two` | not offered | not run |" in page.text()


def test_the_page_has_exactly_the_cases_there_are_and_memory_passes_all_but_restarts() -> None:
    """Where this fails for a new case: make conformance CASES=its_name, which takes seconds."""
    page = conformance.stored()
    assert list(page.cases) == conformance.names()
    assert [f"{case}: {verdict}" for case, verdict in page.results["memory"].items() if verdict != "passed"] == [
        "a_server_that_is_restarted_loses_nothing_and_nothing_in_hand: not offered",
        "a_server_that_goes_away_is_told_and_so_is_its_return: not offered",
    ]
    assert page.text() == conformance.PAGE.read_text(encoding="utf-8")
