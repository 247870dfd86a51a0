"""``msgbus group`` as an operator runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from msgbus.publishing.publication import Publication
from msgbus.testing.harness import Harness, publish_all
from msgbus.testing.probe import Probe
from tests.support.command_line import command

if TYPE_CHECKING:
    from tests.support.servers.server import Server

IDS = [str(n) for n in range(10)]
history = pytest.mark.parametrize("name", ["redis", "kafka"])


@history
async def test_a_group_is_rewound_when_its_members_have_stopped(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{name}_server")
    async with Harness(server.url) as harness:
        queue, probe, again = await harness.queue("g"), Probe(), Probe()
        member = await harness.member(queue, probe)
        await publish_all(member, queue, [Publication(b"x", message_id=one, key="k") for one in IDS])
        await probe.until_handled(IDS)
        rewind = ("group", "rewind", queue, "--group", "g")
        code, _, refusal = await command(server.url, *rewind, "--to", "oldest")
        assert code == 1
        assert "it has members" in refusal
        await member.close()
        third = next(one.origin for one in probe.handled if one.id == "3")
        assert await command(server.url, *rewind, "--to", third) == (0, f"{queue}, group g: goes on at {third}\n", "")
        await harness.member(queue, again)
        await again.until_handled(IDS[3:])
        assert again.ids == IDS[3:]


@history
async def test_a_stretch_is_replayed_to_a_running_group(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{name}_server")
    async with Harness(server.url) as harness:
        queue, probe = await harness.queue("g"), Probe()
        member = await harness.member(queue, probe)
        await publish_all(member, queue, [Publication(b"x", message_id=one, key="k") for one in IDS])
        await probe.until_handled(IDS)
        places = [one.origin for one in probe.handled]
        replay = ("group", "replay", queue, "--group", "g", "--from", places[2], "--before", places[5])
        assert await command(server.url, *replay, "--dry-run") == (0, "would replay 3\n", "")
        assert await command(server.url, *replay) == (0, "3 of 3 arrived\n", "")
        await probe.until(lambda: len(probe.handled) == 13, "three more")
        assert probe.ids[10:] == ["2", "3", "4"]
        _, said, _ = await command(server.url, "group", "replay", queue, "--group", "g", "--from", "newest", "--json")
        assert json.loads(said) == {"taken": 0, "arrived": 0, "dry_run": False, "refused": []}


async def test_wrong_use_says_what_is_missing(kafka_server: Server) -> None:
    for words, missing in (
        (("rewind", "q"), "--to or --to-time"),
        (("replay", "q"), "--from or --since"),
        (("rewind", "q", "--to", "oldest", "--to-time", "2026-01-31"), "not both"),
    ):
        code, output, refusal = await command(kafka_server.url, "group", *words, "--group", "g")
        assert (code, output) == (2, "")
        assert missing in refusal


async def test_rabbitmq_says_that_it_keeps_no_history(rabbitmq_server: Server) -> None:
    words = ("group", "rewind", "q", "--group", "g", "--to", "oldest")
    code, _, refusal = await command(rabbitmq_server.url, *words)
    assert code == 2
    assert "no history" in refusal
