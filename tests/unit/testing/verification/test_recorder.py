"""Recordings as files: written, put together, cut off by a kill, and unreadable."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from msgbus.testing.verification import Event, Kind, Recorder, UnreadableRecording, read
from tests.support.written_history import A, Tale, write

if TYPE_CHECKING:
    from pathlib import Path


EVENT = Event(at=1, kind=Kind.CALLED, member="m", queue="q", id="ключ", key="", attempt=3, members=("a",))


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
