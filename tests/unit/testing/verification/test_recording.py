"""Recordings as files: what a killed process leaves, what the command says, and what a broker writes down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from msgbus.publishing.publication import Publication
from msgbus.retry import Reject
from msgbus.testing.probe import Probe
from msgbus.testing.verification import Event, EventWriter, Kind, Recorder, UnreadableRecording, check, read, recorded
from tests.support.written_history import A, Tale

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from msgbus.message import Message

EVENT = Event(at=1, kind=Kind.CALLED, member="m", queue="q", id="ключ", key="", attempt=3, members=("a",))


def write(path: Path, events: Iterable[Event]) -> Path:
    with Recorder(path) as recorder:
        for event in events:
            recorder(event)
    return path


def command(*files: Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "msgbus.testing.verification", *map(str, files)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603 - our own


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read(write(tmp_path / "one", [EVENT])) == [EVENT]


def test_files_are_put_together_in_the_order_of_time(tmp_path: Path) -> None:
    told = Tale().published("1").handled(A, "1").events
    files = [write(tmp_path / str(n), told[n::3]) for n in range(3)]
    assert read(*files) == told


def test_a_recorder_appends(tmp_path: Path) -> None:
    write(tmp_path / "one", [EVENT])
    assert read(write(tmp_path / "one", [EVENT])) == [EVENT, EVENT]


def test_what_a_killed_process_wrote_is_there(tmp_path: Path) -> None:
    path = tmp_path / "killed"
    if not (child := os.fork()):
        recorder = Recorder(path)
        for _ in range(100):
            recorder(EVENT)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert read(path) == [EVENT] * 100


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "cut", [EVENT, EVENT])
    path.write_bytes(path.read_bytes()[:-5])
    assert read(path) == [EVENT]


def test_a_line_that_is_no_event_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "bad", [EVENT])
    for line in (b"{}", b"no json", b'{"at": 1, "kind": "dreamt"}', b'{"at": 1, "kind": "called", "unknown": 1}'):
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0] + line + b"\n")
        with pytest.raises(UnreadableRecording, match="line 2"):
            read(path)


def test_the_command_says_by_its_exit_code_whether_the_promise_was_kept(tmp_path: Path) -> None:
    kept = command(write(tmp_path / "kept", Tale().published("1").handled(A, "1").events))
    broken = command(write(tmp_path / "broken", Tale().published("1").events))
    unreadable = command(tmp_path / "missing")
    assert (kept.returncode, broken.returncode, unreadable.returncode, command().returncode) == (0, 1, 2, 2)
    assert "the promise was kept" in kept.stdout
    assert "LOST: message 1 of q" in broken.stdout
    assert "missing" in unreadable.stderr


async def test_a_broker_writes_down_its_life(request: pytest.FixtureRequest) -> None:
    events: list[Event] = []
    probe = Probe()

    async def callback(message: Message) -> None:
        if message.id == "bad":
            raise Reject("told to")
        await probe(message)

    async with recorded(f"memory://{request.node.name}", EventWriter("m", events.append), group="g") as broker:
        await broker.create_queue("q", groups=["g"])
        await broker.consume("q", callback)
        messages = [Publication({"n": 1}, message_id=one, key="k", headers={"h": "v"}) for one in ("bad", "good")]
        assert await broker.publish_many("q", messages) == [None, None]
        await probe.until_handled(["good"])
    assert check(events) == []
    bad = [event.kind for event in events if event.id == "bad"]
    assert [kind for kind in bad if kind is not Kind.CONFIRMED] == [
        Kind.INVOKED,
        Kind.HANDED,
        Kind.CALLED,
        Kind.RAISED,
        Kind.FORWARDING,
        Kind.DEAD_LETTERED,
        Kind.SETTLED,
    ]
    kinds = [event.kind for event in events]
    assert kinds.index(Kind.EXISTS) < kinds.index(Kind.INVOKED)
    assert kinds.index(Kind.ASSIGNED) < kinds.index(Kind.HANDED)
    assert kinds[-1] is not Kind.ASSIGNED
    assert Kind.REVOKED in kinds
