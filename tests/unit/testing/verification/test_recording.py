"""What a recorded broker writes down of its life."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus.publishing.publication import Publication
from msgbus.retry import Reject
from msgbus.testing.probe import Probe
from msgbus.testing.verification import Event, EventWriter, Kind, Recorder, check, recorded

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest

    from msgbus.message import Message

EVENT = Event(at=1, kind=Kind.CALLED, member="m", queue="q", id="ключ", key="", attempt=3, members=("a",))


def write(path: Path, events: Iterable[Event]) -> Path:
    with Recorder(path) as recorder:
        for event in events:
            recorder(event)
    return path


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
