"""Names and limits of message headers on the wire.

msgbus' own headers begin with ``msgbus-`` and are strings; times are milliseconds since 1970 in UTC.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ATTEMPTS",
    "BODY_MAX_BYTES",
    "CONTENT_TYPE",
    "DEAD_LETTER_ID",
    "ERROR_MESSAGE",
    "ERROR_TRACEBACK",
    "ERROR_TYPE",
    "FAILING_MILLISECONDS",
    "FIRST_FAILURE",
    "FREE_TRIES",
    "HEADERS_MAX_BYTES",
    "ID",
    "KEY",
    "LAST_FAILURE",
    "NOT_BEFORE",
    "ORIGIN_GROUP",
    "ORIGIN_POSITION",
    "ORIGIN_QUEUE",
    "REASON",
    "REDRIVES",
    "RESERVED_PREFIX",
    "TIER_DEADLINE",
    "TIME",
    "TOMBSTONE",
]


RESERVED_PREFIX: Final = "msgbus-"


ID: Final = "msgbus-id"


TIME: Final = "msgbus-time"


KEY: Final = "msgbus-key"


ATTEMPTS: Final = "msgbus-attempts"
"""Failures so far; absent is 0."""


FREE_TRIES: Final = "msgbus-free"
"""Tries that failed during an outage and cost no attempt; absent is 0."""


FAILING_MILLISECONDS: Final = "msgbus-failing"
"""Of a message that had free tries: milliseconds from its first failure until it is due, added up by the members that
had it, so that clocks which disagree do not matter."""


NOT_BEFORE: Final = "msgbus-not-before"
"""When it is due: nobody's callback sees it earlier."""


TIER_DEADLINE: Final = "msgbus-hop"
"""When its time in this retry queue is over; it may have others to wait in."""


DEAD_LETTER_ID: Final = "msgbus-letter"
"""Of a dead letter: fresh for every dead-lettering, never the message's id."""


ORIGIN_QUEUE: Final = "msgbus-origin-queue"


ORIGIN_GROUP: Final = "msgbus-origin-group"


ORIGIN_POSITION: Final = "msgbus-origin-position"


FIRST_FAILURE: Final = "msgbus-first-failure"


LAST_FAILURE: Final = "msgbus-last-failure"


ERROR_TYPE: Final = "msgbus-error-type"


ERROR_MESSAGE: Final = "msgbus-error-message"


ERROR_TRACEBACK: Final = "msgbus-error-traceback"


REASON: Final = "msgbus-reason"
"""Why it was given up."""


REDRIVES: Final = "msgbus-redrives"
"""How often a dead letter of it was sent back."""


TOMBSTONE: Final = "msgbus-tombstone"


CONTENT_TYPE: Final = "content-type"


BODY_MAX_BYTES: Final = 1024 * 1024
"""Bytes of a body: 1 MiB, what every broker takes with its own defaults or with what create_queue() sets."""


HEADERS_MAX_BYTES: Final = 32 * 1024
"""Bytes of all names and values of a message's headers together."""
