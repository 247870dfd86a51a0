"""Members of an earlier state of msgbus are exchanged for members of this tree, and back, while messages flow."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.upgrade.rollout import upgrade
from tests.support.upgrade.states import BASELINE, earlier, present

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import Server
    from tests.support.upgrade.states import State

ROUNDS = int(os.environ.get("MSGBUS_TEST_UPGRADES", "1"))
"""How often, by MSGBUS_TEST_UPGRADES; from the second on, some messages outlast all steps."""


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, State]:
    folder = tmp_path_factory.mktemp("states")
    return earlier(BASELINE, folder), present(folder)


@pytest.mark.timeout(600 * ROUNDS)
@pytest.mark.parametrize("broker", ["redis", "rabbitmq", "kafka"])
async def test_members_of_two_states_in_one_group_keep_the_promise_forward_and_back(
    broker: str, states: tuple[State, State], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(f"{broker}_server")
    for turn in range(ROUNDS):
        folder = tmp_path / str(turn)
        folder.mkdir()
        wrong = await upgrade(broker, server.url, states, folder, say=print, long=turn > 0)
        assert not wrong, "\n".join(wrong)
