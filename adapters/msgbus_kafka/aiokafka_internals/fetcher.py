"""What aiokafka's fetcher does differently here.

Fetched records reach their callbacks before anything else is done about them. It tells who waits for records four turns
of the event loop after it has them, and builds the next request before that is over: 0.2 ms, as long as all the rest of
a message's way to its callback. So we are told at once, and the next request waits for us.

Where nothing has come, the next request waits for longer: the server answers it at once when there is something.

What a response says beside its records is kept (see ``Tap``). aiokafka 0.14 only logs an error of one partition that it
does not know, and asks again at once, for ever.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from msgbus_kafka.aiokafka_internals.lenient_headers import LenientRecords
from msgbus_kafka.errors import Refused
from msgbus_kafka.offset_continuity import Gap, Source

__all__ = ["Tap", "adapt"]

logger = logging.getLogger("msgbus.kafka")

AGAIN: Final = 0.1
"""Seconds before a node is asked again whose response could not be taken in."""

TURNS: Final = 2
"""Of the event loop: from the fetch loop to receive(), and from there to a callback."""
IDLE: Final = 500
"""Milliseconds that a node keeps a request when its last one brought nothing and no records wait to be taken.

Else a partition that is not in the request, since its records wait, would have to wait for its end.
"""
_NO_LOG_START: Final = 4
"""The last version of FetchResponse whose partitions do not tell the first offset of their log."""
_OUT_OF_RANGE: Final = 1
_FORBIDDEN: Final = 29
_PASSING: Final = frozenset({0, 3, 5, 6, 7, 9, 13, 74, 75, 78, 100, 103})
"""No error, or one that ends when the client has looked again who leads the partition."""


class Tap:
    """What the responses of one fetcher say beside their records."""

    def __init__(self, fetcher: Any) -> None:
        self._fetcher = fetcher
        self._assignment: Any = None
        self._sources: dict[Any, Source] = {}
        self._lenient: set[Any] = set()
        self.refused: set[Any] = set()
        """Partitions for which the last response was an error that does not pass by itself."""

    def lenient(self, partition: Any) -> bool:
        """Read header names of ``partition`` leniently from the next fetch on; False if they are already."""
        if partition in self._lenient:
            return False
        self._lenient.add(partition)
        return True

    def source(self, partition: Any) -> Source | None:
        """Return what the records of ``partition`` that were taken last came from."""
        return self._sources.get(partition)

    def passed(self, partition: Any, reached: int) -> int:
        """Return the offset that should come after ``reached``, once records of ``partition`` were taken.

        It is further away where the log explains the offsets between. Forgets what was read to its end.
        """
        if partition in self._fetcher._records:  # noqa: SLF001 - more of it waits to be taken
            if (source := self._sources.get(partition)) is not None:
                source.handed = reached + 1
            return reached + 1
        source = self._sources.pop(partition, None)
        position = self._position(partition)
        if source is None or position <= reached + 1 or source.unexplained(Gap(reached + 1, position)) is not None:
            return reached + 1
        return position

    def _position(self, partition: Any) -> int:
        state = self._assignment.state_value(partition) if self._assignment is not None else None
        return int(state.position) if state is not None and state.has_valid_position else -1

    def answered(self, assignment: Any, response: Any) -> bool:
        """Look at a response that aiokafka has just read. True if it has overlooked something to be taken."""
        if assignment is not self._assignment:
            self._assignment = assignment
            self._sources.clear()
        overlooked = False
        for topic, rows in response.topics:
            for number, code, _, *rest in rows:
                if code == 0 and not rest[-1] and not self.refused:
                    continue
                partition = TopicPartition(topic, number)
                if code in _PASSING:
                    self.refused.discard(partition)
                    if rest[-1]:
                        self._arrived(partition, response.API_VERSION, rest)
                elif code != _OUT_OF_RANGE:
                    self.refused.add(partition)
                    overlooked = self._refuse(partition, code) or overlooked
        return overlooked

    def _arrived(self, partition: Any, version: int, rest: Any) -> None:
        read = getattr(self._fetcher._records.get(partition), "_partition_records", None)  # noqa: SLF001
        if read is None:
            return  # aiokafka has no use for it: the position has changed meanwhile
        aborted = rest[1 if version <= _NO_LOG_START else 2]
        source = Source(read.next_fetch_offset, rest[-1], aborted)
        if (before := self._sources.get(partition)) is not None:
            source.follows(before)
        self._sources[partition] = source
        if partition in self._lenient:
            read._records = LenientRecords(rest[-1])  # noqa: SLF001 - nobody has begun to iterate

    def _refuse(self, partition: Any, code: int) -> bool:
        if code == _FORBIDDEN or partition in self._fetcher._records:  # noqa: SLF001
            return False  # aiokafka tells it, or what came before is to be taken first
        refused = Refused(partition, f"{kafka.for_code(code).__name__}, code {code}")
        self._fetcher._set_error(partition, refused)  # noqa: SLF001
        return True


def adapt(consumer: Any, arrived: asyncio.Event) -> Tap:
    """Set ``arrived`` whenever an AIOKafkaConsumer, which was started, has fetched something."""
    fetcher = consumer._fetcher  # noqa: SLF001
    fetch = fetcher._proc_fetch_request  # noqa: SLF001
    idle: set[Any] = set()
    tap = Tap(fetcher)
    client = fetcher._client  # noqa: SLF001
    send = client.send
    responses: dict[int, Any] = {}

    async def tapped(node: Any, request: Any, **how: Any) -> Any:
        response = await send(node, request, **how)
        if id(request) in responses:
            responses[id(request)] = response
        return response

    client.send = tapped

    async def adapted(assignment: Any, node: Any, request: Any) -> bool:
        if node in idle and not fetcher._records:  # noqa: SLF001
            request._max_wait_ms = IDLE  # noqa: SLF001
        responses[id(request)] = None
        fetched = False
        try:
            fetched = await fetch(assignment, node, request)
        except Exception as error:  # noqa: BLE001 - else aiokafka's fetcher would end, and nothing would say so
            logger.debug("a response of node %s could not be taken in, trying again: %r", node, error)
            await asyncio.sleep(AGAIN)
        finally:
            response = responses.pop(id(request))
        if response is not None and assignment.active:
            fetched = tap.answered(assignment, response) or fetched
        if fetched:
            idle.discard(node)
            arrived.set()
            # That records are taken now shall not have the next request built: the end of this will.
            fetcher._wait_consume_future = None  # noqa: SLF001
            for _ in range(TURNS):
                await asyncio.sleep(0)
        else:
            idle.add(node)
        # aiokafka does it a turn later, and were it woken in between by anything else, it would not ask this node again
        # before 0.2 s are over.
        fetcher._in_flight.discard(node)  # noqa: SLF001
        return fetched

    fetcher._proc_fetch_request = adapted  # noqa: SLF001
    _keep_what_is_there(fetcher)
    return tap


def _keep_what_is_there(fetcher: Any) -> None:
    """Drop a second refusal of a partition. aiokafka 0.14 asserts that there is none, which ends its fetcher."""
    set_error: Any = getattr(fetcher, "_set_error", None)

    def kept(partition: Any, error: Exception) -> None:
        if partition not in fetcher._records:  # noqa: SLF001
            set_error(partition, error)

    if set_error is not None:
        fetcher._set_error = kept  # noqa: SLF001
