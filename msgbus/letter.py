"""A dead letter: the message as it was, why it lies there, and which of them somebody means. Pure."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from msgbus.message import (
    ATTEMPTS,
    ERROR_MESSAGE,
    ERROR_TRACEBACK,
    ERROR_TYPE,
    FIRST_FAILURE,
    LAST_FAILURE,
    LETTER,
    ORIGIN_POSITION,
    REASON,
    REDRIVES,
    number,
)

if TYPE_CHECKING:
    from msgbus.message import Delivery, Message

__all__ = ["EVERYTHING", "Filter", "Letter", "letter"]

LOOPING: Final = 3
"""Redrives after which a letter that came back each time is left where it is, unless it is asked for."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: the message as it was, and why it lies here."""

    letter: str
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
        return self.redrives >= LOOPING

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON can say it; a body that is no UTF-8 is ``body_base64``."""
        message = self.message
        try:
            body = {"body": message.body.decode()}
        except UnicodeDecodeError:
            body = {"body_base64": b64encode(message.body).decode()}
        return {
            "letter": self.letter,
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
class Filter:
    """Which letters; what is not given matches all."""

    error: str = ""
    """A part of the error's type, its message or the reason; case counts not."""
    key: str | None = None
    id: str | None = None
    """The message's id, or the letter's."""
    since: datetime | None = None
    until: datetime | None = None
    """By the last failure; times without a zone are UTC."""

    def matches(self, letter: Letter) -> bool:
        """Whether ``letter`` is meant."""
        said = f"{letter.error_type}\n{letter.error_message}\n{letter.reason}".lower()
        if self.error.lower() not in said or self.id not in {None, letter.message.id, letter.letter}:
            return False
        return self.key in {None, letter.message.key} and self._in_time(letter.last_failure)

    def _in_time(self, at: datetime | None) -> bool:
        if at is None:
            return self.since is None and self.until is None
        return not (self.since is not None and at < _utc(self.since)) and not (
            self.until is not None and at > _utc(self.until)
        )


EVERYTHING: Final = Filter()


def letter(delivery: Delivery) -> Letter:
    """The letter that an adapter handed over."""
    message = delivery.message
    system = message.system
    return Letter(
        letter=system.get(LETTER, ""),
        message=message,
        reason=system.get(REASON, ""),
        error_type=system.get(ERROR_TYPE, ""),
        error_message=system.get(ERROR_MESSAGE, ""),
        traceback=system.get(ERROR_TRACEBACK, ""),
        attempts=number(system.get(ATTEMPTS, ""), 0),
        first_failure=_time(system.get(FIRST_FAILURE)),
        last_failure=_time(system.get(LAST_FAILURE)),
        position=system.get(ORIGIN_POSITION, ""),
        redrives=number(system.get(REDRIVES, ""), 0),
    )


def _time(text: str | None) -> datetime | None:
    stamp = number(text or "", -1)
    return datetime.fromtimestamp(stamp / 1000, UTC) if stamp >= 0 else None


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)
