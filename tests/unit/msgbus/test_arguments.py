"""Arguments that are easily given in another form."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from msgbus import ConfigurationError, InvalidMessage, Publication, RetryPolicy, connect
from msgbus.arguments import check_listed, to_seconds


@pytest.mark.parametrize(("given", "seconds"), [(60, 60.0), (0.5, 0.5), (timedelta(days=1), 86_400.0)])
def test_a_length_of_time_is_seconds_or_a_timedelta(given: float | timedelta, seconds: float) -> None:
    assert to_seconds("queue 'q'", "retention", given, least=0.001) == seconds


@pytest.mark.parametrize(
    "nonsense",
    [
        *(math.nan, math.inf, -math.inf, -5, 0, 1e300, 10**400, True, False),
        *("60", b"60", [60], None, object(), timedelta(days=-1), timedelta(0), timedelta.max),
    ],
)
def test_what_is_no_length_of_time_is_refused_with_the_arguments_name(nonsense: object) -> None:
    with pytest.raises(ConfigurationError, match="queue 'q': retention must be seconds or a timedelta"):
        to_seconds("queue 'q'", "retention", nonsense, least=0.001)


@pytest.mark.parametrize("single", ["billing", "", b"billing", bytearray(b"x"), {"billing": 1}, None, 7])
def test_one_value_in_place_of_a_list_is_refused(single: object) -> None:
    with pytest.raises(ConfigurationError, match=r"groups must be a list, such as \['billing'\]"):
        check_listed("queue 'q'", "groups", single, "['billing']")


@pytest.mark.parametrize("several", [["a"], ("a",), {"a"}, frozenset[str](), (one for one in "ab")])
def test_anything_else_that_can_be_iterated_is_a_list(several: object) -> None:
    check_listed("queue 'q'", "groups", several, "['billing']")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"groups": "billing"}, {"groups": None}, {"groups": {"a": 1}}),
        *({"partitions": True}, {"partitions": "3"}, {"partitions": 2.5}, {"partitions": 0}),
        *({"compact": "no"}, {"compact": 1}),
        *({"native": "retention.ms=1"}, {"native": {"retention.ms": 1}}, {"native": ["a"]}),
        *({"retention": math.nan}, {"retention": "60"}, {"retention": 0}, {"retention": False}),
    ],
)
async def test_a_queue_is_not_created_with_an_argument_of_another_form(wrong: dict[str, Any]) -> None:
    async with connect("memory://", group="g") as broker:
        with pytest.raises(ConfigurationError, match=f"queue 'q': {next(iter(wrong))} must"):
            await broker.create_queue("q", **wrong)


@pytest.mark.parametrize("single", ["text", b"bytes", {"a": 1}, Publication("x"), 7])
async def test_one_body_in_place_of_a_list_of_messages_is_refused(single: Any) -> None:
    async with connect("memory://", group="g") as broker:
        await broker.create_queue("q", groups=["g"])
        with pytest.raises(ConfigurationError, match="messages must be a list"):
            await broker.publish_many("q", single)
        assert (await broker.lag("q")).total == 0


@pytest.mark.parametrize("delay", [math.nan, "5", True, -1, timedelta(days=400)])
async def test_a_delay_that_is_no_length_of_time_is_refused(delay: Any) -> None:
    async with connect("memory://", group="g") as broker:
        await broker.create_queue("q", groups=["g"])
        with pytest.raises(ConfigurationError, match="queue 'q': delay must be"):
            await broker.publish("q", b"x", delay=delay)
        with pytest.raises(ConfigurationError, match="queue 'q': delay must be"):
            await broker.publish_many("q", [Publication(b"x", delay=delay)])


@pytest.mark.parametrize("headers", ["a=1", ["a"], [("a", "1")], 7])
async def test_headers_that_are_no_mapping_are_refused(headers: Any) -> None:
    async with connect("memory://", group="g") as broker:
        await broker.create_queue("q", groups=["g"])
        with pytest.raises(InvalidMessage, match="headers must map str to str"):
            await broker.publish("q", b"x", headers=headers)


@pytest.mark.parametrize("wrong", [{"delays": "5"}, {"delays": 5.0}, {"no_retry_for": ValueError}])
def test_one_value_in_place_of_a_tuple_in_a_retry_policy_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"RetryPolicy: {next(iter(wrong))} must be"):
        RetryPolicy(**wrong)
