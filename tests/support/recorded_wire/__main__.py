"""Record what msgbus writes: ``python -m tests.support.recorded_wire --wire-format-changed [redis|rabbitmq|kafka …]``.

Use it only when the wire format is changed on purpose, in the commit that changes it. If a test fails without such a
change, correct the code: a record renewed for that reason proves nothing. Members of the previous release have to read
what is written from then on.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.support.recorded_wire import RAWS
from tests.support.recorded_wire.raw import save
from tests.support.recorded_wire.scenario import FEATURES, play
from tests.support.servers import server_version, start_native


async def record(broker: str) -> str:
    """Record on a fresh server; return what to print."""
    server = start_native(broker)
    try:
        raw = RAWS[broker](server)
        await play(server.url, FEATURES[broker], raw)
        about = {"server": f"{broker} {await server_version(server.url)}"}
        return f"{broker}: {save(broker, about | await raw.dump())}"
    finally:
        server.stop()


def main() -> None:
    """Record the brokers that the command line names, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.recorded_wire", description=__doc__)
    parser.add_argument("brokers", nargs="*", choices=[*RAWS, []], default=list(RAWS))
    parser.add_argument("--wire-format-changed", action="store_true", required=True, help="say that it was on purpose")
    for broker in parser.parse_args().brokers:
        sys.stdout.write(asyncio.run(record(broker)) + "\n")


if __name__ == "__main__":
    main()
