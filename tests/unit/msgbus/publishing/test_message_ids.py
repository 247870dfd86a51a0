"""Message ids."""

from __future__ import annotations

import os
import re
from random import Random, SystemRandom

from msgbus.publishing.message_ids import IDS_PER_DRAW, MessageIds


def test_ids_are_32_digits_and_never_the_same() -> None:
    ids = MessageIds(SystemRandom())
    drawn = [ids.next_id() for _ in range(10 * IDS_PER_DRAW + 1)]
    assert len(set(drawn)) == len(drawn)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in drawn)


def test_the_same_seed_gives_the_same_ids() -> None:
    one, other = MessageIds(Random(7)), MessageIds(Random(7))
    assert [one.next_id() for _ in range(2 * IDS_PER_DRAW)] == [other.next_id() for _ in range(2 * IDS_PER_DRAW)]


def test_a_forked_process_draws_its_own() -> None:
    ids = MessageIds(SystemRandom())
    ids.next_id()  # some are left
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, ids.next_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 32
    assert theirs not in {ids.next_id() for _ in range(IDS_PER_DRAW)}
