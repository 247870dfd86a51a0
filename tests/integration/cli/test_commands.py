"""The commands as an operator runs them: the output that docs/how-to/redrive-dead-letters.md prints, and errors."""

from __future__ import annotations

import json
import os
import pty
import re
from typing import TYPE_CHECKING

import pytest

from msgbus.publishing.publication import Publication
from msgbus.retry import RetryPolicy
from msgbus.testing.harness import Harness, publish_all, until_dead_letters
from msgbus.testing.probe import Probe
from tests.support.command_line import command
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from msgbus.broker import Broker
    from msgbus.message import Message
    from tests.support.servers.server import Server

GROUP = "loyalty"


brokers = pytest.mark.parametrize("name", ["redis", "rabbitmq", "kafka"])


class TillOffline(Exception):
    """What a redrive mends."""


class NoSuchCustomer(Exception):
    """What nothing mends."""


async def dead(broker: Broker, queue: str) -> None:
    """Five letters of an offline till, two of customers that there are not."""

    async def callback(message: Message) -> None:
        if message.key == "nobody":
            raise NoSuchCustomer(f"message {message.id}")
        raise TillOffline("no answer")

    subscription = await broker.consume(queue, callback, retry=RetryPolicy(immediate=0, delays=()))
    messages = [Publication({"n": n}, message_id=str(n), key="nobody" if n > 4 else "k") for n in range(7)]
    await publish_all(broker, queue, messages)
    await until_dead_letters(broker, queue, 7)
    await subscription.cancel()


@brokers
async def test_the_commands_of_the_page_for_operators_do_what_it_says(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue(f"{name}_server").url
    page = (ROOT / "docs" / "how-to" / "redrive-dead-letters.md").read_text()
    commands = re.findall(r"^ +msgbus (dlq .+)$", page, re.MULTILINE)
    said = dict[str, str]()
    async with Harness(url) as harness:
        queue, again = await harness.queue(GROUP), Probe()
        broker = await harness.broker(GROUP)
        await dead(broker, queue)
        await broker.consume(queue, again)
        for line in commands:
            words = [queue if word == "purchases" else word for word in line.split()]
            code, output, messages = await command(url, *words, folder=tmp_path)
            assert (code, messages) == (0, ""), line
            said[" ".join(one for one in words[1:] if one != queue)] = output
        await again.until_handled([str(n) for n in range(5)])
        assert await broker.dead_letters(queue).count() == 0
    rows = said["list --group loyalty"].splitlines()
    assert any("TillOffline" in row and " 5 " in row for row in rows)
    assert any("NoSuchCustomer" in row and " 2 " in row for row in rows)
    shown = said["show --group loyalty --error TillOffline --limit 3"]
    assert shown.count("message ") >= 3
    assert "no answer" in shown
    assert said["redrive --group loyalty --error TillOffline --dry-run"].startswith("would redrive 5, skip 0")
    assert said["redrive --group loyalty --error TillOffline --rate 50"] == "5 taken, 5 arrived, 2 left, 0 skipped\n"
    exported = [json.loads(line) for line in (tmp_path / "letters.jsonl").read_text().splitlines()]
    assert {(one["id"], one["key"], one["body"]) for one in exported} == {
        ("5", "nobody", '{"n":5}'),
        ("6", "nobody", '{"n":6}'),
    }
    assert said["purge --group loyalty --error NoSuchCustomer --yes"] == "2 purged\n"


async def test_programs_get_json_lines(redis_server: Server) -> None:
    async with Harness(redis_server.url) as harness:
        queue = await harness.queue(GROUP)
        await dead(await harness.broker(GROUP), queue)
        at = (queue, "--group", GROUP, "--json")
        _, listed, _ = await command(redis_server.url, "dlq", "list", *at)
        assert [json.loads(line)["letters"] for line in listed.splitlines()] == [5, 2]
        _, shown, _ = await command(redis_server.url, "dlq", "show", *at, "--id", "6")
        (letter,) = [json.loads(line) for line in shown.splitlines()]
        assert (letter["id"], letter["attempts"], letter["error_message"]) == ("6", 1, "message 6")
        _, redriven, _ = await command(redis_server.url, "dlq", "redrive", *at, "--key", "k", "--limit", "2")
        account = json.loads(redriven)
        assert [account[word] for word in ("taken", "arrived", "left", "skipped")] == [2, 2, 5, 0]
        assert (account["dry_run"], account["refused"]) == (False, [])
        _, purged, _ = await command(redis_server.url, "dlq", "purge", *at, "--dry-run")
        assert json.loads(purged) == {"purged": 0, "matching": 5, "dry_run": True}


async def test_a_terminal_gets_a_bar_with_rate_and_time_left(redis_server: Server) -> None:
    async with Harness(redis_server.url) as harness:
        queue = await harness.queue(GROUP)
        await dead(await harness.broker(GROUP), queue)
        terminal, theirs = pty.openpty()
        at = (queue, "--group", GROUP, "--rate", "5")
        code, output, _ = await command(redis_server.url, "dlq", "redrive", *at, stderr=theirs)
        os.close(theirs)
        drawn = b""
        while True:
            try:
                drawn += os.read(terminal, 65_536)
            except OSError:  # the end of a terminal
                break
        os.close(terminal)
    assert (code, output) == (0, "7 taken, 7 arrived, 0 left, 0 skipped\n")
    bar = drawn.decode()
    assert "redriven" in bar
    assert "7/7" in bar
    assert re.search(r"\d/s", bar)
    assert re.search(r"\d:\d\d:\d\d", bar)


async def test_wrong_use_and_what_the_server_refuses_have_exit_codes_and_words(redis_server: Server) -> None:
    url = redis_server.url
    code, _, messages = await command(url, "dlq", "purge", "q", "--group", "g")
    assert (code, "--yes" in messages) == (2, True)
    code, _, messages = await command(url, "dlq", "list", "q")
    assert (code, "group" in messages) == (2, True)
    code, _, messages = await command("memory://", "dlq", "list", "q", "--group", "g")
    assert (code, "memory" in messages) == (2, True)
    code, _, messages = await command(url, "dlq", "redrive", "q", "--group", "g", "--batch", "0")
    assert (code, "batch" in messages) == (2, True)
    code, output, messages = await command(url, "dlq", "list", "no-such-queue", "--group", "g")
    assert (code, output) == (1, "")
    assert "no-such-queue.g.dlq does not exist" in messages
    code, _, messages = await command("redis://127.0.0.1:1?deadline=1", "dlq", "list", "q", "--group", "g")
    assert (code, "127.0.0.1:1" in messages, "Traceback" in messages) == (1, True, False)
