"""Names of queues, groups and exchanges: one grammar on every broker, readable backwards.

A queue is at most 120 characters of ``[A-Za-z0-9][A-Za-z0-9._-]*``, does not begin with ``amq.`` and does not end
like one of ours (``.dlq``, ``.retry.5s``). A group is at most 60, an exchange at most 40, both without dots.
``exchange="shop"`` is a prefix: ("shop", "a") is the queue ``shop.a`` everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from msgbus.errors import InvalidName

__all__ = ["Address", "group_name", "queue_address", "queue_name"]

QUEUE_NAME_MAX_CHARACTERS = 120
GROUP_NAME_MAX_CHARACTERS = 60
EXCHANGE_NAME_MAX_CHARACTERS = 40

_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_OURS = re.compile(r"\.(dlq|retry\.[0-9]+[sm])\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """A place messages lie in: a queue, or one of a group's own queues beside it.

    ``group`` and ``part`` are set together and only for a retry queue (``part="retry.5s"``) or a dead-letter
    queue (``part="dlq"``) of that group.
    """

    queue: str
    group: str = ""
    part: str = ""
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Hashed about eight times a message: the figure was a tenth of the core's time before it was kept.
        object.__setattr__(self, "_hash", hash((self.queue, self.group, self.part)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return f"{self.queue}.{self.group}.{self.part}" if self.part else self.queue


def queue_name(queue: str, exchange: str = "") -> str:
    """The full name of ``queue`` within ``exchange``.

    Raises InvalidName, which says what is wrong with it.
    """
    if exchange:
        _check("exchange", exchange, _PLAIN, EXCHANGE_NAME_MAX_CHARACTERS)
    name = f"{exchange}.{queue}" if exchange else queue
    _check("queue", queue, _QUEUE, QUEUE_NAME_MAX_CHARACTERS)
    _check("queue", name, _QUEUE, QUEUE_NAME_MAX_CHARACTERS)
    if name.startswith("amq."):
        raise InvalidName(f"queue {name!r}: names that begin with 'amq.' belong to RabbitMQ")
    if _OURS.search(name):
        raise InvalidName(f"queue {name!r}: the ending is msgbus's own (a retry or dead-letter queue)")
    return name


def queue_address(queue: str, exchange: str = "") -> Address:
    """Where its messages lie. Raises InvalidName as queue_name() does.

    Kept: checking the name again was a sixth of what the core does to publish a message.
    """
    try:
        return _queue_address(queue, exchange)
    except TypeError:  # it cannot be hashed, so it is no str, and this says so
        return Address(queue_name(queue, exchange))


@lru_cache(maxsize=1000)
def _queue_address(queue: str, exchange: str) -> Address:
    return Address(queue_name(queue, exchange))


def group_name(group: str) -> str:
    """``group`` itself.

    Raises InvalidName, which says what is wrong with it.
    """
    _check("group", group, _PLAIN, GROUP_NAME_MAX_CHARACTERS)
    return group


def _check(kind: str, name: object, pattern: re.Pattern[str], longest: int) -> None:
    if not isinstance(name, str):
        raise InvalidName(f"{kind} must be a str, not {type(name).__name__}")
    if not name:
        raise InvalidName(f"{kind} is empty: give it a name")
    if len(name) > longest:
        raise InvalidName(f"{kind} {name[:20]!r}… has {len(name)} characters, {longest} is the limit")
    if not pattern.fullmatch(name):
        dots = "letters, digits, '_', '-'" + (" and '.'" if pattern is _QUEUE else "")
        raise InvalidName(f"{kind} {name!r}: only {dots}, beginning with a letter or digit")
