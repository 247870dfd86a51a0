"""``python -m tests.mutation [--whole] [NAME…]``: which test catches which planted bug, as a table.

Bugs are chosen by a part of their name; none given: all. ``--whole`` runs all tests against each and writes
``caught.json`` anew for them: the named test stays where it still fails. 0: all are caught, 1: not all.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.mutation.bugs import BUGS
from tests.mutation.planting import AT_ONCE, CAUGHT, CONTRACT, STUCK, WHOLE, Catch, load, run

if TYPE_CHECKING:
    from tests.mutation.bugs import Bug

TESTS: Final = (
    CONTRACT,
    "tests/unit/msgbus/adapter/test_watermark.py",
    "tests/unit/msgbus/failure/test_circuit_breaker.py",
    "tests/unit/msgbus/failure/test_copies.py",
    "tests/unit/msgbus/consuming/test_member.py",
    "tests/unit/msgbus/publishing/test_retry_until_deadline.py",
    "tests/unit/kafka/consumer/test_partition_session.py",
    "tests/unit/kafka/test_codec.py",
    "tests/unit/redis/test_codec.py",
)
"""The contract on memory, and unit tests of what the memory adapter does not run."""


def main(arguments: list[str]) -> int:
    """Run the command; return the exit code."""
    whole = "--whole" in arguments
    words = [word for word in arguments if word != "--whole"]
    chosen = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        catches = dict(zip(chosen, pool.map(partial(_catch, whole=whole), chosen), strict=True))
    for bug, catch in catches.items():
        sys.stdout.write(f"{bug.name:66} {_short(catch)}\n")
    missed = sum(catch is None for catch in catches.values())
    sys.stdout.write(f"{len(catches) - missed} of {len(catches)} caught\n")
    if whole:
        _save(catches)
    return 1 if missed else 0


def _catch(bug: Bug, *, whole: bool) -> Catch | None:
    named = load().get(bug.name)
    tests = TESTS if whole else [named.test] if named else []
    caught = run(bug, tests, WHOLE if whole else STUCK) if tests else []
    return next((one for one in caught if named and one.test == named.test), caught[0] if caught else None)


def _short(catch: Catch | None) -> str:
    if catch is None:
        return "NOT CAUGHT"
    return catch.test.removeprefix(f"{CONTRACT}::test_contract[").removesuffix("]")


def _save(catches: dict[Bug, Catch | None]) -> None:
    known = load() | {bug.name: catch for bug, catch in catches.items() if catch is not None}
    listed = {bug.name: asdict(known[bug.name]) for bug in BUGS if bug.name in known}
    CAUGHT.write_text(json.dumps(listed, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
