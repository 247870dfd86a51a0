"""``python -m tests.support.upgrade``: an upgrade from an earlier commit to this working tree, on every broker.

Exit code 0: the promise was kept, 1: it was broken, 2: the earlier state cannot be had here.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from tests.support.servers import start
from tests.support.upgrade.rollout import SOONER, upgrade
from tests.support.upgrade.states import BASELINE, NoSuchState, State, earlier, present


def main() -> int:
    """Run it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.upgrade", description=__doc__)
    parser.add_argument("--from", dest="commit", default=BASELINE, help="the earlier commit; default: %(default)s")
    parser.add_argument(
        "--rounds", type=int, default=1, help="how often; from the second on, some messages wait longer"
    )
    parser.add_argument("--broker", choices=list(SOONER), action="append", help="only this one")
    chosen = parser.parse_args()
    with TemporaryDirectory(prefix="msgbus-states-") as folder:
        try:
            old = earlier(chosen.commit, Path(folder))
        except NoSuchState as error:
            sys.stderr.write(f"{error}\n")
            return 2
        states = (old, present(Path(folder)))
        return max(_on(broker, states, chosen.rounds) for broker in chosen.broker or SOONER)


def _on(broker: str, states: tuple[State, State], rounds: int) -> int:
    server = start(broker)
    try:
        wrong = [one for turn in range(rounds) for one in _round(broker, server.url, states, long=turn > 0)]
    finally:
        server.stop()
    return 1 if wrong else 0


def _round(broker: str, url: str, states: tuple[State, State], *, long: bool) -> list[str]:
    """Run it once. Where something is wrong, the recordings and logs are kept."""
    folder = Path(mkdtemp(prefix=f"msgbus-upgrade-{broker}-"))
    wrong = asyncio.run(upgrade(broker, url, states, folder, say=_say, long=long))
    for one in wrong:
        _say(f"{broker}: {one}")
    if wrong:
        _say(f"{broker}: recordings and logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return wrong


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
