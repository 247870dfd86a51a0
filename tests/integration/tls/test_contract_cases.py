"""Contract cases over TLS, as a user with only the rights that a service needs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from msgbus.testing import CASES, Harness
from msgbus.testing.cases.consuming import groups
from msgbus.testing.cases.failures import dead_letters, delayed_delivery, retries, retry_exhaustion
from msgbus.testing.cases.operations import health, replay
from msgbus.testing.cases.publishing import payload
from tests.support.servers.redis_native import RedisRecipe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msgbus.testing.suite import Case
    from tests.support.servers import NativeServer

PARAMETERS = {"redis": "visibility=2", "kafka": "session_timeout=6"}
SUBJECTS = {
    module.__name__
    for module in (payload, groups, retries, delayed_delivery, retry_exhaustion, dead_letters, replay, health)
}
LONG = {
    retries.every_message_is_called_exactly_as_often_as_it_should_be,
    retries.messages_that_wait_for_a_retry_hold_up_no_fresh_one,
    retries.the_count_of_attempts_goes_on_in_another_member,
    retries.a_policy_that_changes_between_two_deploys_strands_nothing,
    dead_letters.two_redrives_at_once_do_no_harm,
    dead_letters.a_message_that_fails_after_every_redrive_does_not_grow_and_is_shown_as_looping,
}
"""They need no right that others do not need."""
SECURED = (
    CASES
    if os.environ.get("MSGBUS_TEST_SECURED") == "all"
    else [case for case in CASES if case.__module__ in SUBJECTS and case not in LONG]
)
"""All of them by MSGBUS_TEST_SECURED=all."""


@pytest.fixture
async def harness(secured: NativeServer) -> AsyncIterator[Harness]:
    recipe = secured.recipe
    if isinstance(recipe, RedisRecipe):
        recipe.ask("ACL", "LOG", "RESET")
    url = recipe.url_as("app")
    if parameter := PARAMETERS.get(secured.name):
        url += f"&{parameter}"
    async with Harness(url) as harness:
        yield harness
    if isinstance(recipe, RedisRecipe):
        assert recipe.ask("ACL", "LOG") == "*0", "a right was missing, although nothing failed"


@pytest.mark.parametrize("case", [pytest.param(case, id=case.__name__) for case in SECURED])
async def test_contract_for_a_user_with_the_least_rights(case: Case, harness: Harness) -> None:
    await case(harness)
