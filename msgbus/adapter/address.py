"""Addresses: names of queues, groups and exchanges, in one grammar on every broker.

- A queue has at most 120 characters of ``[A-Za-z0-9][A-Za-z0-9._-]*``. It does not begin with ``amq.`` and does not end
  like a queue of msgbus' own (``.dlq``, ``.retry.5s``).
- A group has at most 60 characters, an exchange at most 40, both without dots, so that every name can be split again.
- ``exchange="shop"`` is a prefix: ("shop", "a") is the queue ``shop.a`` on every broker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from msgbus.errors import InvalidName

__all__ = ["DLQ_PART", "RETRY_PART_PREFIX", "Address", "group_name", "queue_address", "queue_name"]

DLQ_PART = "dlq"
"""Part of the address of a dead-letter queue."""
RETRY_PART_PREFIX = "retry."
"""Beginning of the part of a retry queue's address; the delay follows, as in ``retry.5s``."""
QUEUE_NAME_MAX_CHARACTERS = 120
GROUP_NAME_MAX_CHARACTERS = 60
EXCHANGE_NAME_MAX_CHARACTERS = 40

_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_OURS = re.compile(r"\.(dlq|retry\.[0-9]+[sm])\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a queue, or of one of a group's own queues beside it.

    ``group`` and ``part`` are set together and only for a retry queue (``part="retry.5s"``) or a dead-letter
    queue (``part="dlq"``) of that group.
    """

    queue: str
    group: str = ""
    part: str = ""
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Hashed about eight times for each message: a tenth of the core's time before the hash was kept.
        object.__setattr__(self, "_hash", hash((self.queue, self.group, self.part)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return f"{self.queue}.{self.group}.{self.part}" if self.part else self.queue

    @property
    def is_dead_letter_queue(self) -> bool:
        """Whether this is the dead-letter queue of a group."""
        return self.part == DLQ_PART

    @property
    def is_retry_queue(self) -> bool:
        """Whether this is a retry queue of a group."""
        return self.part.startswith(RETRY_PART_PREFIX)


def queue_name(queue: str, exchange: str = "") -> str:
    """Return the full name of a queue.

    Args:
        queue: The name of the queue.
        exchange: Prefix of the queue's name; empty for none.

    Raises:
        InvalidName: The name is outside the grammar; the text says why.
    """
    if exchange:
        _check("exchange", exchange, _PLAIN, EXCHANGE_NAME_MAX_CHARACTERS)
    name = f"{exchange}.{queue}" if exchange else queue
    _check("queue", queue, _QUEUE, QUEUE_NAME_MAX_CHARACTERS)
    _check("queue", name, _QUEUE, QUEUE_NAME_MAX_CHARACTERS)
    if name.startswith("amq."):
        raise InvalidName(f"queue {name!r}: names that begin with 'amq.' belong to RabbitMQ; choose another")
    if _OURS.search(name):
        raise InvalidName(f"queue {name!r}: the ending is that of a retry or dead-letter queue; choose another name")
    return name


def queue_address(queue: str, exchange: str = "") -> Address:
    """Return the address of a queue.

    Results are cached: checking the name each time took a sixth of the core's time to publish a message.

    Args:
        queue: The name of the queue.
        exchange: Prefix of the queue's name; empty for none.

    Raises:
        InvalidName: As :func:`queue_name`.
    """
    try:
        return _queue_address(queue, exchange)
    except TypeError:  # not hashable, so not a str: queue_name() says so
        return Address(queue_name(queue, exchange))


@lru_cache(maxsize=1000)
def _queue_address(queue: str, exchange: str) -> Address:
    return Address(queue_name(queue, exchange))


def group_name(group: str) -> str:
    """Return the name of a group, checked against the grammar.

    Args:
        group: The name.

    Raises:
        InvalidName: The name is outside the grammar; the text says why.
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
