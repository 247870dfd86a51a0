"""Raw access to a server, and what the three brokers share: how bytes are noted, and what varies by nature.

Bytes are text where they are UTF-8, else ``{"base64": …}``. A header is a pair of its name and its bytes.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.support.servers import NativeServer

__all__ = [
    "GROUP",
    "VARYING",
    "Header",
    "Raw",
    "Record",
    "bytes_of",
    "load",
    "noted",
    "save",
    "sorted_records",
    "varied",
]

FOLDER: Final = ROOT / "tests" / "data" / "recorded"
GROUP: Final = "loyalty"
"""The group that consumes in the scenario."""
RECORDED_AT: Final = "/srv/msgbus"
"""What stands in the records for the folder in which they were made: tracebacks name it."""

Record = dict[str, Any]
Header = tuple[str, Any]

_TIME: Final = r"1[0-9]{12}"
_RANDOM: Final = r"[0-9a-f]{32}"

VARYING: Final[dict[str, str]] = {
    "msgbus-id": _RANDOM,  # random where publish() gets no id; the scenario's own ids are compared
    "msgbus-time": _TIME,  # the clock, in ms
    "msgbus-first-failure": _TIME,  # the clock
    "msgbus-last-failure": _TIME,  # the clock
    "msgbus-not-before": _TIME,  # the clock; compared as seconds after the last failure or the publishing
    "msgbus-hop": _TIME,  # the same
    "msgbus-letter": _RANDOM,  # random for each dead letter
    # Entry id or offset: the server's choice.
    "msgbus-origin-position": r"[0-9]{13}-[0-9]+|(shop\.orders|plain)(\.loyalty\.retry\.1s)?-[0-9]@[0-9]+",
    # Names files, lines and functions of msgbus.
    "msgbus-error-traceback": r"Traceback \(most recent call last\):\n.*Error: .*\n|Traceback .*Reject: .*\n",
}
"""Header values that differ between two runs of the scenario, each with its reason and the format it must have.

A value in another format is compared as it is. So are all other headers, keys, bodies, names and settings. Besides
these headers, ``comparable()`` of each broker replaces or removes:

- Redis: entry ids, which are the server's clock. Compared is how many entries a group has not read.
- RabbitMQ: ``message_id``, random for each try; ``timestamp``, where it is ``msgbus-time`` in seconds;
  ``x-delivery-count`` and ``x-acquired-count``, which the server adds.
- Kafka: offsets of records; the partition of a record without key, which is random, and so the committed offset of each
  partition of such a topic (their sum is compared); a dead letter's record key, where it is its ``msgbus-letter``.
"""


class Raw(ABC):
    """Access to a server without msgbus. Subclasses use a plain client library and the broker's own tools."""

    def __init__(self, server: NativeServer) -> None:
        self.server = server

    @abstractmethod
    async def dump(self) -> Record:
        """Return everything that is on the server. RabbitMQ's takes the messages out of their queues."""

    @abstractmethod
    async def restore(self, record: Record) -> None:
        """Write the record to an empty server, byte for byte."""

    @abstractmethod
    async def held(self, queue: str) -> int:
        """Count the unacknowledged messages of a retry queue or dead-letter queue of the consuming group."""

    @abstractmethod
    def taking(self, dead_letter_queue: str) -> AbstractAsyncContextManager[None]:
        """Hold the lock on a dead-letter queue, as a process does that redrives or purges."""

    async def while_consumed(self) -> None:  # noqa: B027 - most servers have nothing to be looked at then
        """Note what the server knows only while a member consumes."""

    @staticmethod
    @abstractmethod
    def comparable(record: Record) -> Record:
        """Replace or remove what varies, so that two runs of the scenario give equal results."""

    @staticmethod
    @abstractmethod
    def headers(record: Record, queue: str) -> list[dict[str, str]]:
        """Return the headers of each message in ``queue``; ``msgbus-id`` and ``msgbus-time`` are always among them."""

    @staticmethod
    def unread(queue: str) -> str:
        """Return the name under which the record has the published messages of ``queue``."""
        return queue


def noted(data: bytes | bytearray | None) -> Any:
    """Return bytes as the records have them."""
    if data is None:
        return None
    try:
        return bytes(data).decode().replace(str(ROOT), RECORDED_AT)
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def bytes_of(note: Any) -> bytes:
    """Return the bytes of a note."""
    return b64decode(note["base64"]) if isinstance(note, dict) else str(note).encode()


def varied(headers: Iterable[Header]) -> list[Header]:
    """Replace header values that vary; names and order stay."""
    pairs = [(name, value) for name, value in headers]
    all_of_them = dict(pairs)
    return [(name, _word(name, value, all_of_them)) for name, value in pairs]


def _word(name: str, value: Any, headers: dict[str, Any]) -> Any:
    if name not in VARYING or not isinstance(value, str) or not re.fullmatch(VARYING[name], value, re.DOTALL):
        return value
    if name in {"msgbus-not-before", "msgbus-hop"}:
        since = "msgbus-last-failure" if "msgbus-hop" in headers else "msgbus-time"
        if since in headers:
            return f"<{round((int(value) - int(headers[since])) / 1000)} s after {since}>"
    return f"<{name}>"


def sorted_records(records: Iterable[Any]) -> list[Any]:
    """Sort by content: copies of different messages may be written in any order."""
    return sorted(records, key=json.dumps)


def _path(broker: str) -> Path:
    return FOLDER / f"{broker}.json"


def load(broker: str) -> Record:
    """Read the record of one broker."""
    found: Record = json.loads(_path(broker).read_text(encoding="utf-8"))
    return found


def save(broker: str, record: Record) -> Path:
    """Write the record of one broker; return its path."""
    text = json.dumps(record, ensure_ascii=False, indent=1)
    _path(broker).write_text(text + "\n", encoding="utf-8")
    return _path(broker)
