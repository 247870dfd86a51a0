"""Compare names and bytes on the servers with those that were recorded before the code was moved and renamed.

``tests/support/recorded_wire`` has the scenario and the raw clients; ``tests/data/recorded`` has what the recorded
state wrote.

- The first test runs the scenario again. The new code writes what the old code wrote, so the old code can read it.
- The second test puts the records on an empty server. The new code reads what the old code wrote.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.recorded_wire import RAWS
from tests.support.recorded_wire.dead_letter_lock import busy_elsewhere
from tests.support.recorded_wire.raw import load
from tests.support.recorded_wire.scenario import (
    AUDIT,
    BILLING,
    FEATURES,
    IN_ORDERS,
    IN_PLAIN,
    ORDERS,
    OWN,
    PLAIN,
    Expected,
    go_on,
    listed,
    play,
    read_unread,
    redrive,
    until,
)
from tests.support.servers import start_native
from tests.support.servers.fixtures import or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from msgbus import DeadLetter
    from tests.support.recorded_wire.raw import Raw
    from tests.support.recorded_wire.scenario import Reader

ORDERS_QUEUE = f"shop.{ORDERS}"


@pytest.fixture(params=["redis", "rabbitmq", "kafka"])
def raw(request: pytest.FixtureRequest) -> Iterator[Raw]:
    """A server of its own for each test: names are part of what is compared."""
    server = or_skip(lambda: start_native(request.param))
    yield RAWS[request.param](server)
    server.stop()


async def test_what_is_written_is_what_was_recorded(raw: Raw) -> None:
    await play(raw.server.url, FEATURES[raw.server.name], raw)
    before, now = _lines(raw, load(raw.server.name)), _lines(raw, await raw.dump())
    assert not list(difflib.unified_diff(before, now, "recorded", "written now", n=20, lineterm=""))


async def test_what_was_recorded_is_read(raw: Raw) -> None:
    url, features, record = raw.server.url, FEATURES[raw.server.name], load(raw.server.name)
    await raw.restore(record)

    _are_the_recorded_letters(await listed(url), raw, record)
    async with raw.taking(f"{OWN}.dlq"):
        assert await busy_elsewhere(url), "the lock of a process that takes dead letters is respected"
    assert not await busy_elsewhere(url)

    unread = await read_unread(url)
    assert set(unread) == {(ORDERS, AUDIT), (PLAIN, AUDIT), (PLAIN, BILLING)}
    for (queue, _), reader in unread.items():
        name, published = (ORDERS_QUEUE, IN_ORDERS) if queue == ORDERS else (PLAIN, IN_PLAIN)
        _are_those(reader, published, dict.fromkeys(_ids(published), 1), _times(raw, record, name))

    times = _times(raw, record, ORDERS_QUEUE)
    attempts = {"retried": 4, "later": 2, "redriven": 1, "beside": 1}
    beside = Expected("beside", b"beside", b"beside", key="k1")
    reader = await go_on(url, features, raw)
    waited = [one for one in IN_ORDERS if one.id in attempts]
    _are_those(reader, [*waited, beside], attempts, times | {"beside": reader.times()["beside"]})

    async def only_that_is_left() -> bool:
        left = {step: await raw.held(f"{OWN}.retry.{step}") for step in ("1s", "5s", "30s", "2m", "10m")}
        return left == {"1s": 0, "5s": 0, "30s": 1, "2m": 0, "10m": 0}

    await until(only_that_is_left, "only what is not due yet, a step further", 30)  # a server may count later

    for queue, again in (await redrive(url)).items():
        all_of_it, name = (IN_ORDERS, ORDERS_QUEUE) if queue == ORDERS else (IN_PLAIN, PLAIN)
        dead = ("rejected", "looped") if queue == ORDERS else ("exhausted", "unmarked")
        _are_those(
            again, [one for one in all_of_it if one.id in dead], dict.fromkeys(dead, 1), _times(raw, record, name)
        )


def _lines(raw: Raw, record: Any) -> list[str]:
    comparable = {name: part for name, part in raw.comparable(record).items() if name != "server"}
    return json.dumps(comparable, ensure_ascii=False, indent=1, sort_keys=False).splitlines()


def _ids(expected: Sequence[Expected]) -> list[str | None]:
    return [one.id for one in expected]


def _times(raw: Raw, record: Any, queue: str) -> dict[str, int]:
    """When each message of a queue was published, as the record says."""
    found = raw.headers(record, raw.unread(queue))
    return {one["msgbus-id"]: int(one["msgbus-time"]) for one in found}


def _are_those(reader: Reader, expected: Sequence[Expected], attempts: dict[Any, int], times: dict[str, int]) -> None:
    """Each was read once, as it was published, at its attempt; one without an id of its own has a recorded one."""
    names = {one.id for one in IN_ORDERS + IN_PLAIN} | {"beside"}
    got = [(id if id in names else None, *rest) for id, *rest in reader.seen()]
    wanted = [(*one.seen(), attempts[one.id]) for one in expected]
    assert sorted(map(repr, got)) == sorted(map(repr, wanted))
    assert reader.times() == {id: times[id] for id in reader.times()}


def _are_the_recorded_letters(letters: dict[str, list[DeadLetter]], raw: Raw, record: Any) -> None:
    told = {"rejected": 0, "looped": 1, "exhausted": 0, "unmarked": 0}
    expected = {one.id: one for one in IN_ORDERS + IN_PLAIN}
    for queue, found in letters.items():
        recorded = {one["msgbus-letter"]: one for one in raw.headers(record, f"{queue}.loyalty.dlq")}
        assert sorted(one.message.id for one in found) == sorted(
            {"rejected", "looped"} if queue == ORDERS_QUEUE else {"exhausted", "unmarked"}
        )
        for one in found:
            headers, message = recorded[one.letter_id], one.message
            assert (message.id, message.body, message.key, dict(message.headers), message.content_type) == expected[
                message.id
            ].seen()
            assert {
                "msgbus-id": message.id,
                "msgbus-time": str(message.time),
                "msgbus-origin-queue": message.queue,
                "msgbus-origin-group": message.group,
                "msgbus-origin-position": one.position,
                "msgbus-attempts": str(one.attempts),
                "msgbus-reason": one.reason,
                "msgbus-error-type": one.error_type,
                "msgbus-error-message": one.error_message,
                "msgbus-first-failure": _ms(one.first_failure),
                "msgbus-last-failure": _ms(one.last_failure),
                **({"msgbus-error-traceback": one.traceback} if one.traceback else {}),
                **({"msgbus-redrives": str(one.redrives)} if one.redrives else {}),
                "msgbus-letter": one.letter_id,
            } == {name: text for name, text in headers.items() if name.startswith("msgbus-") and name != "msgbus-key"}
            assert one.redrives == told[message.id]
            assert bool(one.traceback) == (queue == ORDERS_QUEUE)


def _ms(at: Any) -> str:
    return str(round(at.timestamp() * 1000))
