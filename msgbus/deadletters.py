"""Dead letters in a person's hands: looked at, sent back to the one group that failed, exported, purged."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TextIO

from msgbus.copies import redriven
from msgbus.errors import ConfigurationError
from msgbus.ladder import dead_letter_queue
from msgbus.letter import EVERYTHING, Filter, Letter, letter
from msgbus.pace import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence

    from msgbus.adapter import Letters
    from msgbus.errors import BrokerError
    from msgbus.link import Link
    from msgbus.message import Delivery

__all__ = ["Account", "DeadLetters"]

PAGE: Final = 100
"""Letters read at once."""


@dataclass(slots=True)
class Account:
    """What became of a redrive: what was taken either arrived or is still there."""

    taken: int = 0
    arrived: int = 0
    skipped: int = 0
    """Looping, and not asked for."""
    left: int = 0
    """In the queue at the end, whatever the filter."""
    refused: list[BrokerError] = field(default_factory=list["BrokerError"])
    """Why what was taken did not arrive; it is still there."""

    @property
    def adds_up(self) -> bool:
        """All that was taken has arrived."""
        return self.taken == self.arrived


class DeadLetters:
    """The dead letters of one queue and group; Broker.dead_letters() makes it."""

    def __init__(self, link: Link, queue: str, group: str, clock: Callable[[], float]) -> None:
        self.address = dead_letter_queue(queue, group)
        self._link = link
        self._clock = clock

    async def count(self) -> int:
        """How many there are. Raises QueueNotFound, BrokerUnavailable, LettersBusy (RabbitMQ)."""
        async with self._open() as letters:
            return (await letters.count())[0]

    async def look(self, which: Filter = EVERYTHING, *, limit: int | None = None) -> AsyncIterator[Letter]:
        """The letters, oldest first. Looking changes nothing.

        On RabbitMQ nobody else can look or redrive meanwhile. Raises QueueNotFound, BrokerUnavailable, LettersBusy.
        """
        found = 0
        async with self._open() as letters:
            async for page in _pages(letters.look):
                for one in map(letter, page):
                    if found == limit:
                        return
                    if which.matches(one):
                        found += 1
                        yield one

    async def redrive(  # noqa: PLR0913 - by keyword
        self,
        which: Filter = EVERYTHING,
        *,
        limit: int | None = None,
        rate: float | None = None,
        batch: int = 1,
        looping: bool = False,
        dry_run: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Account:
        """Send letters back to their group, and to no other, with the same id and key and no attempts.

        ``rate``: messages a second at most. ``looping``: also those that came back again and again. ``dry_run``: only
        count. ``progress`` is told how many more have arrived. Each is confirmed in the group's retry queue before it
        is removed here, ``batch`` together: a redrive that dies loses nothing, and what it had in hand, so many at
        most, may be handled twice. Raises ConfigurationError, LettersBusy while another is at work, LettersLost,
        QueueNotFound, BrokerUnavailable.
        """
        self._check(rate, batch)
        account = Account()
        pace = Pace(rate)
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
            account.left = (await letters.count())[0]
        return account

    def _check(self, rate: float | None, batch: int) -> None:
        if rate is not None and rate <= 0:
            raise ConfigurationError(f"queue {self.address}: rate must be above 0, not {rate:g}")
        if batch < 1:
            raise ConfigurationError(f"queue {self.address}: batch must be at least 1, not {batch}")

    async def purge(self, which: Filter = EVERYTHING, *, limit: int | None = None, dry_run: bool = False) -> int:
        """Delete letters for good; how many. Raises as redrive()."""
        account = Account()
        async with self._open() as letters:
            async for page in _pages(letters.look if dry_run else letters.take):
                chosen = self._choose(page, which, account, limit=limit, looping=True)
                if chosen and not dry_run:
                    await letters.remove(chosen)
                if limit is not None and account.taken >= limit:
                    break
        return account.taken

    async def export(self, file: TextIO, which: Filter = EVERYTHING, *, limit: int | None = None) -> int:
        """Write letters as JSON lines; how many. They stay where they are. Raises as look()."""
        written = 0
        async for one in self.look(which, limit=limit):
            file.write(json.dumps(one.as_dict(), ensure_ascii=True) + "\n")
            written += 1
        return written

    def _choose(
        self, page: Sequence[Delivery], which: Filter, account: Account, *, limit: int | None, looping: bool
    ) -> list[Delivery]:
        chosen: list[Delivery] = []
        for one in page:
            read = letter(one)
            if not which.matches(read) or (limit is not None and account.taken >= limit):
                continue
            if read.looping and not looping:
                account.skipped += 1
                continue
            account.taken += 1
            chosen.append(one)
        return chosen

    async def _send(self, letters: Letters, chosen: Sequence[Delivery], account: Account) -> int:
        verdicts = await self._link.publish([redriven(one.message, self._clock()) for one in chosen])
        arrived = [one for one, verdict in zip(chosen, verdicts, strict=True) if verdict is None]
        account.refused += [verdict for verdict in verdicts if verdict is not None]
        if arrived:
            await letters.remove(arrived)
        return len(arrived)

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Letters]:
        doing = f"queue {self.address}"
        letters = await self._link.call(doing, lambda: self._link.adapter.open_letters(self.address))
        try:
            yield letters
        finally:
            await letters.close()


def _pieces(letters: Sequence[Delivery], size: int) -> Iterator[Sequence[Delivery]]:
    return (letters[at : at + size] for at in range(0, len(letters), size))


async def _pages(walk: Callable[[Any, int], Any]) -> AsyncIterator[Sequence[Delivery]]:
    cursor = None
    while True:
        page, cursor = await walk(cursor, PAGE)
        yield page
        if cursor is None:
            return
