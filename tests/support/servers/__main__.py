"""`python -m tests.support.servers install | up NAME | down | status`: real brokers at hand."""

import argparse
import asyncio
import os
import sys

from . import standing
from .choose import variable
from .container import engine
from .errors import ServersError
from .install import install
from .native import RECIPES, lacks
from .version import server_version


def main() -> int:
    """Run one command; the exit code: 0, or 1 where something could not be had."""
    chosen = _parser().parse_args()
    commands = {"install": _install, "down": _down, "status": _status}
    try:
        return _up(chosen.name) if chosen.command == "up" else commands[chosen.command]()
    except ServersError as error:
        _err(str(error))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.support.servers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="install what the servers need and is missing here")
    up = commands.add_parser("up", help="start a server that stays, and print its URL")
    up.add_argument("name", choices=list(RECIPES))
    commands.add_parser("down", help="stop everything that `up` started")
    commands.add_parser("status", help="what runs, and what could")
    return parser


def _install() -> int:
    return 0 if install(_out) else 1


def _up(name: str) -> int:
    _err(f"{name}: looking for a running one, or starting it ...")
    _out(standing.up(name))
    return 0


def _down() -> int:
    stopped = standing.down()
    for server in stopped:
        _out(f"stopped {server}")
    if not stopped:
        _out("nothing was up")
    return 0


def _status() -> int:
    running, docker = standing.running(), engine()
    for name in RECIPES:
        if url := os.environ.get(variable(name)):
            _out(f"{name}: {variable(name)} names {url}; version {_version(url)}")
        elif server := running.get(name):
            _out(f"{name}: up: {server}; version {_version(server.url)}")
        elif docker:
            _out(f"{name}: not up; Docker engine {docker} would run it")
        else:
            _out(f"{name}: not up; {lacks(name) or 'ready to start natively'}")
    return 0


def _version(url: str) -> str:
    try:
        return asyncio.run(server_version(url))
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        return f"not told ({type(error).__name__}: {error})"


def _out(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _err(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
