"""Dead letters in a person's hands: looked at, sent back to the one group that failed, exported, purged."""

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
"""Redrives after which a letter that came back each time is left where it is, unless it is asked for."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter: the message as it was, and why it lies here."""

    letter_id: str
    """Its own id, fresh for every dead-lettering."""
    message: Message
    """Body, id, key and headers as they were published."""
    reason: str
    error_type: str
    error_message: str
    traceback: str
    attempts: int
    first_failure: datetime | None
    last_failure: datetime | None
    position: str
    """Where the message lay when it failed first: ``topic-0@17`` on Kafka, ``1700-0`` on Redis."""
    redrives: int

    @property
    def looping(self) -> bool:
        """It was sent back again and again, and came back each time."""
        return self.redrives >= LOOPING_AFTER_REDRIVES

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON can say it; a body that is no UTF-8 is ``body_base64``."""
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
    """Which letters; what is not given matches all."""

    error: str = ""
    """A part of the error's type, its message or the reason; case counts not."""
    key: str | None = None
    id: str | None = None
    """The message's id, or the letter's."""
    since: datetime | None = None
    until: datetime | None = None
    """By the last failure; times without a zone are UTC."""

    def matches(self, letter: DeadLetter) -> bool:
        """Whether ``letter`` is meant."""
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
    """The letter that an adapter handed over."""
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
"""Letters read at once."""


@dataclass(slots=True)
class RedriveResult:
    """What became of a redrive: what was taken either arrived or is still there."""

    taken: int = 0
    arrived: int = 0
    skipped: int = 0
    """Looping, and not asked for."""
    remaining: int = 0
    """In the queue at the end, whatever the filter."""
    refused: list[BrokerError] = field(default_factory=list["BrokerError"])
    """Why what was taken did not arrive; it is still there."""

    @property
    def complete(self) -> bool:
        """All that was taken has arrived."""
        return self.taken == self.arrived


class DeadLetters:
    """The dead letters of one queue and group; Broker.dead_letters() makes it."""

    def __init__(self, link: BrokerConnection, queue: str, group: str, clock: Callable[[], float]) -> None:
        self.address = dead_letter_queue(queue, group)
        self._connection = link
        self._clock = clock

    async def count(self) -> int:
        """How many there are. Raises QueueNotFound, BrokerUnavailable, DeadLettersLocked (RabbitMQ)."""
        async with self._open() as letters:
            return DeadLetterCount(*await letters.count()).number

    async def look(
        self, which: DeadLetterFilter = EVERYTHING, *, limit: int | None = None
    ) -> AsyncIterator[DeadLetter]:
        """The letters, oldest first. Looking changes nothing.

        On RabbitMQ nobody else can look or redrive meanwhile. Raises QueueNotFound, BrokerUnavailable,
        DeadLettersLocked.
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
        """Send letters back to their group, and to no other, with the same id and key and no attempts.

        ``rate``: messages a second at most. ``looping``: also those that came back again and again. ``dry_run``: only
        count. ``progress`` is told how many more have arrived. Each is confirmed in the group's retry queue before it
        is removed here, ``batch`` together: a redrive that dies loses nothing, and what it had in hand, so many at
        most, may be handled twice. Raises ConfigurationError, DeadLettersLocked while another is at work,
        DeadLetterLockLost, QueueNotFound, BrokerUnavailable.
        """
        self._check(rate, batch)
        account = RedriveResult()
        pace = RateLimiter(rate)
        async with self._open() as letters:
            async for page in _pages(letters.look if dry_run else letters.take):
                chosen = self._choose(page, which, account, limit=limit, looping=looping)
                for some in _pieces([] if dry_run else chosen, batch):
                    await pace.wait(len(some))
                    arrived = await self._send(letters, some, account)
                    account.arrived += arrived
                    progress(arrived)
                if limit is not None and account.taken >= limit:
                    break
            account.remaining = DeadLetterCount(*await letters.count()).number
        return account

    def _check(self, rate: float | None, batch: int) -> None:
        if rate is not None and rate <= 0:
            raise ConfigurationError(f"queue {self.address}: rate must be above 0, not {rate:g}")
        if batch < 1:
            raise ConfigurationError(f"queue {self.address}: batch must be at least 1, not {batch}")

    async def purge(
        self, which: DeadLetterFilter = EVERYTHING, *, limit: int | None = None, dry_run: bool = False
    ) -> int:
        """Delete letters for good; how many. Raises as redrive()."""
        account = RedriveResult()
        async with self._open() as letters:
            async for page in _pages(letters.look if dry_run else letters.take):
                chosen = self._choose(page, which, account, limit=limit, looping=True)
                if chosen and not dry_run:
                    await letters.remove(chosen)
                if limit is not None and account.taken >= limit:
                    break
        return account.taken

    async def export(self, file: TextIO, which: DeadLetterFilter = EVERYTHING, *, limit: int | None = None) -> int:
        """Write letters as JSON lines; how many. They stay where they are. Raises as look()."""
        written = 0
        async for one in self.look(which, limit=limit):
            file.write(json.dumps(one.as_dict(), ensure_ascii=True) + "\n")
            written += 1
        return written

    def _choose(
        self,
        page: Sequence[Delivery],
        which: DeadLetterFilter,
        account: RedriveResult,
        *,
        limit: int | None,
        looping: bool,
    ) -> list[Delivery]:
        chosen: list[Delivery] = []
        for one in page:
            read = parse_dead_letter(one)
            if not which.matches(read) or (limit is not None and account.taken >= limit):
                continue
            if read.looping and not looping:
                account.skipped += 1
                continue
            account.taken += 1
            chosen.append(one)
        return chosen

    async def _send(self, letters: DeadLetterStore, chosen: Sequence[Delivery], account: RedriveResult) -> int:
        verdicts = await self._connection.publish([redriven_copy(one.message, self._clock()) for one in chosen])
        arrived = [one for one, verdict in zip(chosen, verdicts, strict=True) if verdict is None]
        account.refused += [verdict for verdict in verdicts if verdict is not None]
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
