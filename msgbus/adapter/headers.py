"""Headers: names and limits of message headers on the wire.

Headers of msgbus itself begin with ``msgbus-`` and are strings; times are milliseconds since 1970 in UTC.
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
"""Prefix of the names of msgbus' own headers. A user's header must not begin with it."""
ID: Final = "msgbus-id"
TIME: Final = "msgbus-time"
KEY: Final = "msgbus-key"
ATTEMPTS: Final = "msgbus-attempts"
"""Attempts that failed so far; absent means 0."""
FREE_TRIES: Final = "msgbus-free"
"""Free tries: tries that failed during an outage and cost no attempt; absent means 0."""
FAILING_MILLISECONDS: Final = "msgbus-failing"
"""Milliseconds from the first failure until a message with free tries is due. Each member adds its own time, so that
clocks that disagree do not matter."""
NOT_BEFORE: Final = "msgbus-not-before"
"""When the message is due: no callback gets it earlier."""
TIER_DEADLINE: Final = "msgbus-hop"
"""Tier deadline: when the message's time in this retry queue is over. Further tiers may follow."""
DEAD_LETTER_ID: Final = "msgbus-letter"
"""Id of a dead letter: new each time a message is dead-lettered, and never the message's id."""
ORIGIN_QUEUE: Final = "msgbus-origin-queue"
ORIGIN_GROUP: Final = "msgbus-origin-group"
ORIGIN_POSITION: Final = "msgbus-origin-position"
FIRST_FAILURE: Final = "msgbus-first-failure"
LAST_FAILURE: Final = "msgbus-last-failure"
ERROR_TYPE: Final = "msgbus-error-type"
ERROR_MESSAGE: Final = "msgbus-error-message"
ERROR_TRACEBACK: Final = "msgbus-error-traceback"
REASON: Final = "msgbus-reason"
"""Why the message was given up."""
REDRIVES: Final = "msgbus-redrives"
"""How often the message was redriven."""
TOMBSTONE: Final = "msgbus-tombstone"
CONTENT_TYPE: Final = "content-type"
BODY_MAX_BYTES: Final = 1024 * 1024
"""Bytes of a body, at most: 1 MiB. Every broker accepts it, by default or by what ``create_queue()`` sets."""
HEADERS_MAX_BYTES: Final = 32 * 1024
"""Bytes of all names and values of a message's headers together, at most."""
