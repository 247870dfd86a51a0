"""Dead letters, for operators: look at them, redrive them to the group that gave them up, export or purge them."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

from msgbus.adapter import DeadLetterCount, Page
from msgbus.adapter.envelope import parse_number
from msgbus.adapter.headers import (
    ATTEMPTS,
    DEAD_LETTER_ID,
    ERROR_MESSAGE,
    ERROR_TRACEBACK,
    ERROR_TYPE,
    FIRST_FAILURE,
    LAST_FAILURE,
    ORIGIN_POSITION,
    REASON,
    REDRIVES,
)
from msgbus.errors import ConfigurationError
from msgbus.failure.copies import redriven_copy
from msgbus.failure.retry_queues import dead_letter_queue
from msgbus.operations.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence

    from msgbus.adapter import DeadLetterStore
    from msgbus.adapter.envelope import Delivery
    from msgbus.connection import BrokerConnection
    from msgbus.errors import BrokerError
    from msgbus.message import Message

__all__ = ["EVERYTHING", "DeadLetter", "DeadLetterFilter", "DeadLetters", "RedriveResult", "parse_dead_letter"]


LOOPING_AFTER_REDRIVES: Final = 3
"""Redrives after which a dead letter counts as looping; ``redrive()`` skips it by default."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter: the message as it was published, and why it was given up."""

    letter_id: str
    """Id of the dead letter itself, new each time a message is dead-lettered."""
    message: Message
    """Body, id, key and headers as they were published."""
    reason: str
    """Why the message was given up."""
    error_type: str
    """Qualified name of the last error's type."""
    error_message: str
    """Text of the last error."""
    traceback: str
    """Traceback of the last error; empty if the policy does not keep it."""
    attempts: int
    """Attempts that failed."""
    first_failure: datetime | None
    """Time of the first failure (UTC)."""
    last_failure: datetime | None
    """Time of the last failure (UTC)."""
    position: str
    """Place of the message when it failed first: ``topic-0@17`` on Kafka, ``1700-0`` on Redis."""
    redrives: int
    """How often the message was redriven before."""

    @property
    def looping(self) -> bool:
        """Whether it was redriven at least three times and given up again each time."""
        return self.redrives >= LOOPING_AFTER_REDRIVES

    def as_dict(self) -> dict[str, Any]:
        """Return all fields for JSON; a body that is not UTF-8 is ``body_base64``."""
        message = self.message
        try:
            body = {"body": message.body.decode()}
        except UnicodeDecodeError:
            body = {"body_base64": b64encode(message.body).decode()}
        return {
            "letter": self.letter_id,
            "id": message.id,
            "key": message.key,
            **body,
            "content_type": message.content_type,
            "headers": dict(message.headers),
            "published_at": message.published_at.isoformat(),
            "queue": message.queue,
            "group": message.group,
            "reason": self.reason,
            "error_type": self.error_type,
            "error_message": self.error_message,
            "traceback": self.traceback,
            "attempts": self.attempts,
            "first_failure": self.first_failure.isoformat() if self.first_failure else None,
            "last_failure": self.last_failure.isoformat() if self.last_failure else None,
            "position": self.position,
            "redrives": self.redrives,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Selects dead letters; a field that is not set matches all."""

    error: str = ""
    """Part of the error's type, its message or the reason, in any case."""
    key: str | None = None
    """The message's key."""
    id: str | None = None
    """The message's id, or the dead letter's."""
    since: datetime | None = None
    """Earliest last failure; a time without a zone is UTC."""
    until: datetime | None = None
    """Latest last failure; a time without a zone is UTC."""

    def matches(self, letter: DeadLetter) -> bool:
        """Return whether the filter selects a dead letter.

        Args:
            letter: The dead letter.
        """
        said = f"{letter.error_type}\n{letter.error_message}\n{letter.reason}".lower()
        if self.error.lower() not in said or self.id not in {None, letter.message.id, letter.letter_id}:
            return False
        return self.key in {None, letter.message.key} and self._in_time(letter.last_failure)

    def _in_time(self, at: datetime | None) -> bool:
        if at is None:
            return self.since is None and self.until is None
        return not (self.since is not None and at < _utc(self.since)) and not (
            self.until is not None and at > _utc(self.until)
        )


EVERYTHING: Final = DeadLetterFilter()


def parse_dead_letter(delivery: Delivery) -> DeadLetter:
    """Return the dead letter in ``delivery``."""
    message = delivery.message
    system = message.system
    return DeadLetter(
        letter_id=system.get(DEAD_LETTER_ID, ""),
        message=message,
        reason=system.get(REASON, ""),
        error_type=system.get(ERROR_TYPE, ""),
        error_message=system.get(ERROR_MESSAGE, ""),
        traceback=system.get(ERROR_TRACEBACK, ""),
        attempts=parse_number(system.get(ATTEMPTS, ""), 0),
        first_failure=_time(system.get(FIRST_FAILURE)),
        last_failure=_time(system.get(LAST_FAILURE)),
        position=system.get(ORIGIN_POSITION, ""),
        redrives=parse_number(system.get(REDRIVES, ""), 0),
    )


def _time(text: str | None) -> datetime | None:
    stamp = parse_number(text or "", -1)
    return datetime.fromtimestamp(stamp / 1000, UTC) if stamp >= 0 else None


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


PAGE_MESSAGES: Final = 100
"""Dead letters in one page of a store."""


@dataclass(slots=True)
class RedriveResult:
    """Result of a redrive. A dead letter that was taken has either arrived or is still in the queue."""

    taken: int = 0
    """Dead letters that the filter selected."""
    arrived: int = 0
    """Messages that the group's retry queue has confirmed."""
    skipped: int = 0
    """Looping dead letters that were left in the queue."""
    remaining: int = 0
    """Dead letters in the queue at the end, whatever the filter."""
    refused: list[BrokerError] = field(default_factory=list["BrokerError"])
    """Why messages did not arrive; their dead letters are still in the queue."""

    @property
    def complete(self) -> bool:
        """Whether everything that was taken has arrived."""
        return self.taken == self.arrived


class DeadLetters:
    """Dead letters of one queue and group; ``Broker.dead_letters()`` makes it."""

    def __init__(self, connection: BrokerConnection, queue: str, group: str, clock: Callable[[], float]) -> None:
        self.address = dead_letter_queue(queue, group)
        self._connection = connection
        self._clock = clock

    async def count(self) -> int:
        """Count the dead letters.

        Returns:
            The number of dead letters. On RabbitMQ those that another lock holder has are not counted.

        Raises:
            QueueNotFound: The group has no dead-letter queue of this queue.
            BrokerUnavailable: The server did not answer within the deadline.
            DeadLettersLocked: Another lock holder has the dead letters (RabbitMQ only).
        """
        async with self._open() as letters:
            return DeadLetterCount(*await letters.count()).number

    async def look(
        self, which: DeadLetterFilter = EVERYTHING, *, limit: int | None = None
    ) -> AsyncIterator[DeadLetter]:
        """Iterate over the dead letters, oldest first, without changing anything.

        On RabbitMQ no other process can look or redrive meanwhile.

        Args:
            which: Selects dead letters; default: all.
            limit: Dead letters to return, at most; None is no limit.

        Yields:
            The dead letters that ``which`` selects.

        Raises:
            QueueNotFound: The group has no dead-letter queue of this queue.
            BrokerUnavailable: The server did not answer within the deadline.
            DeadLettersLocked: Another lock holder has the dead letters.
        """
        found = 0
        async with self._open() as letters:
            async for page in _pages(letters.look):
                for one in map(parse_dead_letter, page):
                    if found == limit:
                        return
                    if which.matches(one):
                        found += 1
                        yield one

    async def redrive(  # noqa: PLR0913 - by keyword
        self,
        which: DeadLetterFilter = EVERYTHING,
        *,
        limit: int | None = None,
        rate: float | None = None,
        batch: int = 1,
        looping: bool = False,
        dry_run: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> RedriveResult:
        """Redrive dead letters: send them back to their group, and to no other, with the same id and key.

        Their attempts begin at 1 again. The group's retry queue confirms each message before its dead letter is
        removed. So a redrive that is killed loses nothing, and at most ``batch`` messages may be handled twice.

        Args:
            which: Selects dead letters; default: all.
            limit: Dead letters to redrive, at most; None is no limit.
            rate: Messages a second, at most; None is no limit.
            batch: Messages that are sent together. More is faster.
            looping: Whether to redrive looping dead letters as well.
            dry_run: Whether to only count.
            progress: Called with the number of further messages that have arrived.

        Returns:
            Numbers of dead letters: taken, arrived, skipped, and remaining.

        Raises:
            ConfigurationError: ``rate`` or ``batch`` is out of range.
            DeadLettersLocked: Another lock holder has the dead letters.
            DeadLetterLockLost: The lock was lost meanwhile.
            QueueNotFound: The group has no dead-letter queue of this queue.
            BrokerUnavailable: The server did not answer within the deadline.
        """
        self._check(rate, batch)
        redriven = RedriveResult()
        limiter = RateLimiter(rate)
        async with self._open() as letters:
            async for page in _pages(letters.look if dry_run else letters.take):
                chosen = self._choose(page, which, redriven, limit=limit, looping=looping)
                for some in _pieces([] if dry_run else chosen, batch):
                    await limiter.wait(len(some))
                    arrived = await self._send(letters, some, redriven)
                    redriven.arrived += arrived
                    progress(arrived)
                if limit is not None and redriven.taken >= limit:
                    break
            redriven.remaining = DeadLetterCount(*await letters.count()).number
        return redriven

    def _check(self, rate: float | None, batch: int) -> None:
        if rate is not None and rate <= 0:
            raise ConfigurationError(f"queue {self.address}: rate must be above 0, not {rate:g}")
        if batch < 1:
            raise ConfigurationError(f"queue {self.address}: batch must be at least 1, not {batch}")

    async def purge(
        self, which: DeadLetterFilter = EVERYTHING, *, limit: int | None = None, dry_run: bool = False
    ) -> int:
        """Delete dead letters permanently.

        Args:
            which: Selects dead letters; default: all.
            limit: Dead letters to delete, at most; None is no limit.
            dry_run: Whether to only count.

        Returns:
            How many were deleted, or would be.

        Raises:
            DeadLettersLocked: Another lock holder has the dead letters.
            DeadLetterLockLost: The lock was lost meanwhile.
            QueueNotFound: The group has no dead-letter queue of this queue.
            BrokerUnavailable: The server did not answer within the deadline.
        """
        redriven = RedriveResult()
        async with self._open() as letters:
            async for page in _pages(letters.look if dry_run else letters.take):
                chosen = self._choose(page, which, redriven, limit=limit, looping=True)
                if chosen and not dry_run:
                    await letters.remove(chosen)
                if limit is not None and redriven.taken >= limit:
                    break
        return redriven.taken

    async def export(self, file: TextIO, which: DeadLetterFilter = EVERYTHING, *, limit: int | None = None) -> int:
        """Write dead letters to a file as JSON lines. They stay in the queue.

        Args:
            file: The file to write to.
            which: Selects dead letters; default: all.
            limit: Dead letters to write, at most; None is no limit.

        Returns:
            How many were written.

        Raises:
            QueueNotFound: As :meth:`look`, which also lists BrokerUnavailable and DeadLettersLocked.
        """
        written = 0
        async for one in self.look(which, limit=limit):
            file.write(json.dumps(one.as_dict(), ensure_ascii=True) + "\n")
            written += 1
        return written

    def _choose(
        self,
        page: Sequence[Delivery],
        which: DeadLetterFilter,
        redriven: RedriveResult,
        *,
        limit: int | None,
        looping: bool,
    ) -> list[Delivery]:
        chosen: list[Delivery] = []
        for one in page:
            read = parse_dead_letter(one)
            if not which.matches(read) or (limit is not None and redriven.taken >= limit):
                continue
            if read.looping and not looping:
                redriven.skipped += 1
                continue
            redriven.taken += 1
            chosen.append(one)
        return chosen

    async def _send(self, letters: DeadLetterStore, chosen: Sequence[Delivery], redriven: RedriveResult) -> int:
        results = await self._connection.publish([redriven_copy(one.message, self._clock()) for one in chosen])
        arrived = [one for one, result in zip(chosen, results, strict=True) if result is None]
        redriven.refused += [result for result in results if result is not None]
        if arrived:
            await letters.remove(arrived)
        return len(arrived)

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[DeadLetterStore]:
        doing = f"queue {self.address}"
        letters = await self._connection.call(doing, lambda: self._connection.adapter.open_dead_letters(self.address))
        try:
            yield letters
        finally:
            await letters.close()


def _pieces(letters: Sequence[Delivery], size: int) -> Iterator[Sequence[Delivery]]:
    return (letters[at : at + size] for at in range(0, len(letters), size))


async def _pages(walk: Callable[[Any, int], Any]) -> AsyncIterator[Sequence[Delivery]]:
    cursor = None
    while True:
        page = Page(*await walk(cursor, PAGE_MESSAGES))
        yield page.dead_letters
        if (cursor := page.cursor) is None:
            return
