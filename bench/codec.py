"""JSON for all contenders: orjson, which `make bench` installs; the standard library's in unit tests without it."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def _plain(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


_FAST = find_spec("orjson") is not None
dumps: Callable[[object], bytes] = import_module("orjson").dumps if _FAST else _plain
loads: Callable[[bytes], Any] = import_module("orjson").loads if _FAST else json.loads
