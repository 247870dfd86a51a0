"""Fetching: one task per consumer that is never cancelled, and gives each record to its session.

::

    hungry sessions -> fetched together, or apart (unreadable_records.py)
                    -> where each should begin (start_offsets.py)
                    -> nothing missing (offset_gaps.py, offset_continuity.py) -> bound to the session
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiokafka import errors as kafka

from msgbus.adapter.timeouts import within
from msgbus.errors import AccessRefused, BrokerError, BrokerUnavailable, QueueNotFound
from msgbus_kafka.aiokafka_internals.fetcher import adapt
from msgbus_kafka.consumer.offset_gaps import Gaps
from msgbus_kafka.consumer.unreadable_records import Apart, whole
from msgbus_kafka.errors import REFUSALS, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from msgbus_kafka.consumer.group_state import Places
    from msgbus_kafka.consumer.partition_session import PartitionSession, Sessions

__all__ = ["Fetching"]

logger = logging.getLogger("msgbus.kafka")

LONG: Final = 0.2
"""Seconds that a fetch waits for records when every partition takes part in it."""
SHORT: Final = 0.05
"""The same when some do not: one of them may be hungry again before the end."""
RECORDS: Final = 500
"""Per fetch: they are parsed in one go, 1.4 us each, while nothing else runs."""
ENOUGH: Final = 5
"""Errors in a row after which a new consumer is better. aiokafka repeats some of its own for ever."""
AGAIN: Final = 0.1
SHOWN: Final = 3
"""Most partitions in trouble that are named."""
_HOPELESS: Final[Mapping[type[BaseException], str]] = {
    kafka.InvalidSessionTimeoutError: "session_timeout= is outside the server's group.min.session.timeout.ms and "
    "group.max.session.timeout.ms",
    kafka.InconsistentGroupProtocolError: "the group's other members have another assignor=",
}


class Fetching:
    """The fetch loop. ``failure`` says why it ended, if it did by itself."""

    def __init__(self, client: Any, sessions: Sessions, places: Places, fetched: Callable[[], None]) -> None:
        self._client = client
        self._starts = places.starts
        self._sessions = sessions
        self._fetched = fetched
        self._arrived = asyncio.Event()
        tap = adapt(client, self._arrived)
        self._apart = Apart(client, places.starts, tap)
        self._gaps = Gaps(client, tap, places)
        self._stopped = False
        self._errors = 0
        self.failure: BrokerError | None = None

    def stop(self) -> None:
        """End after the fetch in progress."""
        self._stopped = True
        self._sessions.hunger.set()
        self._arrived.set()

    def trouble(self) -> str:
        """Say which partitions are stopped or refused, and why; nothing where all are fetched."""
        found = [session.trouble for session in self._sessions.all() if session.trouble]
        more = [f"and {len(found) - SHOWN} more partitions"] if len(found) > SHOWN else []
        return "; ".join([*found[:SHOWN], *more])

    async def run(self) -> None:
        """Fetch until stop(), or until it is clear that this consumer will never fetch again."""
        try:
            while not self._stopped and self.failure is None:
                await self._round()
        except BrokerError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, receive() must say that nothing comes any more
            self.fail(BrokerUnavailable(f"kafka: fetching failed: {error!r}"), error)

    async def _round(self) -> None:
        try:
            if not await self._fetch():
                await self._idle()
            self._errors = 0
        except kafka.ConsumerStoppedError:
            self._stopped = True
        except REFUSALS as error:
            self.fail(AccessRefused(f"kafka: {reason(error)}"), error)
        except kafka.KafkaError as error:
            await self._count(error)

    async def _fetch(self) -> bool:
        """False if no partition is hungry."""
        self._apart.due(self._sessions.all())
        hungry = self._sessions.hungry()
        if not hungry:
            return False
        self._arrived.clear()
        if not await self._look(hungry):
            everyone = all(one.most is None for one in hungry) and len(hungry) == self._sessions.fetchable
            await within(LONG if everyone else SHORT, self._arrived)
            await self._look(hungry)
        return True

    async def _look(self, hungry: Sequence[PartitionSession]) -> bool:
        """Take what there is of these; waits for nothing but the end of a rebalance. False if there was nothing.

        What was taken is given to its session before anything else is asked, which could fail.
        """
        together = [one for one in hungry if one.most is None]
        found = bool(together) and await self._give(await self._fetched_together(together))
        for session in hungry:
            if session.most:
                found = await self._give(await self._apart.fetch(session)) or found
        return found

    async def _fetched_together(self, sessions: Sequence[PartitionSession]) -> Mapping[Any, Sequence[Any]]:
        # A partition that is left out keeps what aiokafka has prefetched of it, and is fetched no further. Pausing it
        # would throw that away, and fetch it again at every turn. Those that nothing is fetched of are paused.
        everyone = len(sessions) == self._sessions.fetchable
        chosen = () if everyone else [session.partition for session in sessions]
        try:
            fetched: Mapping[Any, Sequence[Any]] = await self._client.getmany(
                *chosen, timeout_ms=0, max_records=RECORDS
            )
        except Exception as error:
            if whole(self._client, error):
                raise
            self._apart.begin(sessions, error, RECORDS)
            return {}
        return fetched

    async def _give(self, fetched: Mapping[Any, Sequence[Any]]) -> bool:
        if not fetched:
            return False
        begun, fresh = self._gaps.split(fetched, self._sessions)
        if begun and self._sessions.bind(begun):
            self._fetched()
        for partition, records in fresh.items():
            if await self._begins(partition, records[0].offset):
                good = await self._gaps.filled(self._sessions.living(partition), records)
                if good and self._sessions.bind({partition: good}):
                    self._fetched()
        return True

    async def _begins(self, partition: Any, first: int) -> bool:
        """Whether a session may go on with ``first``, as far as the group's commits and the log can tell."""
        session = self._sessions.living(partition)
        if session is None:
            return False
        if session.reached >= first:
            raise BrokerUnavailable(
                f"kafka: {partition.topic}-{partition.partition} went back from {session.reached} to {first}: "
                "it was made anew, or cut off"
            )
        if session.reached >= 0:
            return True
        try:
            return await self._starts.check(self._client, partition, first)
        except QueueNotFound:
            return True  # it was deleted meanwhile; what was fetched of it is good
        except BrokerError as error:
            logger.debug("%s: where it should begin is not known, trying again: %s", partition.topic, error)
            if self._sessions.living(partition) is session:
                self._client.seek(partition, first)
            return False

    async def _idle(self) -> None:
        self._client._coordinator.check_errors()  # noqa: SLF001 - else only getmany() would tell what ended the group
        self._sessions.hunger.clear()
        await within(LONG, self._sessions.hunger)

    async def _count(self, error: kafka.KafkaError) -> None:
        self._errors += 1
        logger.debug("fetching failed, %d in a row: %s", self._errors, reason(error))
        if type(error) in _HOPELESS:
            self.fail(BrokerUnavailable(f"kafka: {_HOPELESS[type(error)]}"), error)
        elif self._errors >= ENOUGH and not error.retriable:
            self.fail(BrokerUnavailable(f"kafka: fetching fails again and again: {reason(error)}"), error)
        await asyncio.sleep(AGAIN)

    def fail(self, failure: BrokerError, cause: BaseException | None = None) -> None:
        """This consumer is of no use any more: receive() says so, and why."""
        failure.__cause__ = cause or failure.__cause__
        self.failure = failure
        self._fetched()
