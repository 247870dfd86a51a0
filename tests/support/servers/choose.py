"""Where a test's server comes from: the environment, else a container, else a process of this machine."""

import os
from collections.abc import Mapping
from functools import partial

from . import sets
from .container import engine, start_container
from .errors import ServersError, ServerUnavailable
from .native import RECIPES, start_native
from .server import GivenServer, Server


def variable(name: str) -> str:
    """The environment variable that names a server to use instead of starting one."""
    return f"MSGBUS_TEST_{name.upper()}_URL"


def start(name: str, *, guarded: bool = True, settings: Mapping[str, str] | None = None) -> Server:
    """A server of broker `name` (redis, rabbitmq, kafka) that answers; `stop()` is the caller's.

    The environment's server is taken as it is, and a container; `settings` are for a native one. `guarded=False`: it
    outlives this Python.
    ServerUnavailable: there is no way to get one here; its text says what was tried. ValueError: no such broker.
    """
    if name not in RECIPES:
        raise ValueError(f"no broker {name!r}; known are {', '.join(RECIPES)}")
    if sets.chosen():  # a version that was asked for by name
        return start_native(name, guarded=guarded, settings=settings)
    if url := os.environ.get(variable(name)):
        return GivenServer(name, url)
    tried = [f"{variable(name)} is not set"]
    for begin in (_container, partial(start_native, settings=settings)):
        try:
            return begin(name, guarded=guarded)
        except ServerUnavailable as error:
            tried.append(error.reason)
        except ServersError as error:
            tried.append(str(error))
    raise ServerUnavailable(name, "; ".join(tried), RECIPES[name].way_out)


def _container(name: str, *, guarded: bool) -> Server:
    if not engine():
        raise ServerUnavailable(name, "no Docker engine answers", RECIPES[name].way_out)
    return start_container(name, guarded=guarded)
