"""Fetching: one task per consumer that is never cancelled, and gives each record to its session."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiokafka import errors as kafka

from msgbus.errors import AccessRefused, BrokerError, BrokerUnavailable, QueueNotFound
from msgbus_kafka.apart import Apart
from msgbus_kafka.failures import REFUSALS, reason
from msgbus_kafka.fetcher import adapt
from msgbus_kafka.waiting import within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from msgbus_kafka.sessions import Sessions
    from msgbus_kafka.starts import Starts

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
_HOPELESS: Final[Mapping[type[BaseException], str]] = {
    kafka.InvalidSessionTimeoutError: "session_timeout= is outside the server's group.min.session.timeout.ms and "
    "group.max.session.timeout.ms",
    kafka.InconsistentGroupProtocolError: "the group's other members have another assignor=",
}


class Fetching:
    """The fetch loop. ``failure`` says why it ended, if it did by itself."""

    def __init__(self, client: Any, sessions: Sessions, starts: Starts, fetched: Callable[[], None]) -> None:
        self._client = client
        self._starts = starts
        self._apart = Apart(client, starts)
        self._sessions = sessions
        self._fetched = fetched
        self._arrived = asyncio.Event()
        adapt(client, self._arrived)
        self._stopped = False
        self._errors = 0
        self.failure: BrokerError | None = None

    def stop(self) -> None:
        """End after the fetch in progress."""
        self._stopped = True
        self._sessions.hunger.set()
        self._arrived.set()

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
        except kafka.CorruptRecordException:
            await self._apart.begin(self._sessions.hungry(), RECORDS)
        except kafka.KafkaError as error:
            await self._count(error)

    async def _fetch(self) -> bool:
        """False if no partition is hungry."""
        hungry = self._sessions.hungry()
        if not hungry:
            return False
        records = dict(await self._fetch_together([one.partition for one in hungry if one.most is None]))
        for session in hungry:
            if session.most:
                records |= await self._apart.fetch(session)
        good = {one: some for one, some in records.items() if await self._continues(one, some[0].offset)}
        if good and self._sessions.bind(good):
            self._fetched()
        return True

    async def _fetch_together(self, partitions: Sequence[Any]) -> Mapping[Any, Sequence[Any]]:
        if not partitions:
            await asyncio.sleep(SHORT)  # fetching apart waits for nothing
            return {}
        everyone = len(partitions) == len(self._sessions)
        # A partition that is left out keeps what aiokafka has prefetched of it, and is fetched no further. Pausing it
        # would throw that away, and fetch it again at every turn.
        chosen = () if everyone else partitions
        self._arrived.clear()
        if not (fetched := await self._fetched_of(chosen)):
            await within(LONG if everyone else SHORT, self._arrived)
            fetched = await self._fetched_of(chosen)
        return fetched

    async def _fetched_of(self, partitions: Sequence[Any]) -> Mapping[Any, Sequence[Any]]:
        """What there is of these, or of all; waits for nothing but the end of a rebalance."""
        fetched: Mapping[Any, Sequence[Any]] = await self._client.getmany(
            *partitions, timeout_ms=0, max_records=RECORDS
        )
        return fetched

    async def _continues(self, partition: Any, first: int) -> bool:
        """Whether ``first`` is where this partition should go on, and not where aiokafka has jumped to."""
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
