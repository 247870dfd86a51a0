"""Planted bugs: classic mistakes, each a change of a few lines, that the tests must catch.

``old`` stands in ``file`` exactly once; ``new`` is the mistake. Which test catches it is in ``caught.json``.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["BUGS", "Bug"]


class Bug(NamedTuple):
    """One planted bug."""

    name: str
    file: str
    old: str
    new: str


BUGS: Final = (
    # Acknowledging.
    Bug(
        "acknowledges before the callback has run",
        "msgbus/consuming/worker_pool.py",
        "                held.session.mark_started(held)\n                try:\n",
        (
            "                held.session.mark_started(held)\n                self.outcomes.acknowledge(held)\n                try:\n"  # noqa: E501
        ),
    ),
    Bug(
        "commits the highest position instead of the contiguous one",
        "msgbus/adapter/watermark.py",
        "        if position != self._open[0]:\n            self._done.add(position)\n            return False\n",
        "        while self._open[0] < position:\n            self._open.popleft()\n",
    ),
    Bug(
        "acknowledges the first of a batch in place of each",
        "adapters/msgbus_memory/consumer.py",
        "session.group.acknowledge(delivery.receipt, session)",
        "session.group.acknowledge(deliveries[0].receipt, session)",
    ),
    Bug(
        "acknowledges a message before its dead letter is published",
        "msgbus/consuming/outcome_sink.py",
        "            trace = subscription.policy.traceback\n",
        "            trace = subscription.policy.traceback\n            self.acknowledge(held)\n",
    ),
    Bug(
        "forgets acknowledgements that failed once",
        "msgbus/consuming/acknowledger.py",
        "            self._batch = batch + self._batch\n            raise\n",
        "            return\n",
    ),
    # Leaving.
    Bug(
        "acknowledges on leaving what was never started",
        "msgbus/consuming/session_tracker.py",
        "            held.runner.give_up(held)\n        for held in",
        "            self._outcomes.copy_confirmed(held)\n        for held in",
    ),
    Bug(
        "drops at a stop what waits for its next try in place",
        "msgbus/consuming/worker_pool.py",
        "        elif held.state is DeliveryState.SUSPENDED:\n            self.run_again(held)\n",
        "        elif held.state is DeliveryState.SUSPENDED:\n            self.outcomes.copy_confirmed(held)\n",
    ),
    Bug(
        "leaves without waiting for running callbacks",
        "msgbus/consuming/session_tracker.py",
        "                    await session.wait_until_empty()\n",
        "                    await asyncio.sleep(0)\n",
    ),
    Bug(
        "waits for hanging callbacks for ever",
        "msgbus/consuming/session_tracker.py",
        "            async with asyncio.timeout(budget):\n",
        "            async with asyncio.timeout(None):\n",
    ),
    Bug(
        "counts a shutdown as an attempt",
        "msgbus/adapter/envelope.py",
        "    made.attempt = parse_number(more[ATTEMPTS], 0) + 1 if ATTEMPTS in more else 1\n",
        "    made.attempt = (parse_number(more[ATTEMPTS], 0) + 1 if ATTEMPTS in more else 1) + redelivered\n",
    ),
    Bug(
        "gives back in the wrong order",
        "adapters/msgbus_memory/server.py",
        "            taken.append(heapq.heappop(self._back))\n",
        "            taken.append(self._back.pop())\n",
    ),
    Bug(
        "cancel() returns before what runs has ended",
        "msgbus/subscription.py",
        "        if self._cancel_finished is not None:\n            await asyncio.shield(self._cancel_finished)\n",
        "        return\n",
    ),
    # Callbacks and lanes.
    Bug(
        "takes a CancelledError for success",
        "msgbus/consuming/worker_pool.py",
        "                except (Exception, asyncio.CancelledError) as raised:",
        "                except asyncio.CancelledError:\n                    pass\n"
        "                except Exception as raised:",
    ),
    Bug(
        "runs messages of one key in the wrong order",
        "msgbus/in_flight/key_scheduler.py",
        "            item = behind.popleft()\n",
        "            item = behind.pop()\n",
    ),
    Bug(
        "runs messages of one key side by side",
        "msgbus/in_flight/key_scheduler.py",
        "        if key is None:\n            self._ready.append(item)\n",
        "        if key is None or len(self._ready) > 5:\n            self._ready.append(item)\n",
    ),
    Bug(
        "lets the next message of a key overtake one that failed",
        "msgbus/consuming/worker_pool.py",
        "            self.scheduler.suspend()  # its worker is free, its ordering key is not\n",
        "            self.scheduler.finish(held)\n",
    ),
    Bug(
        "never frees the lane of a message that was given up",
        "msgbus/consuming/outcome_sink.py",
        "        self.finish(held)\n        held.runner.release_key(held)\n",
        "        self.finish(held)\n",
    ),
    Bug(
        "runs one callback more than it may",
        "msgbus/in_flight/key_scheduler.py",
        "        self.concurrency = concurrency\n",
        "        self.concurrency = concurrency + 1\n",
    ),
    Bug(
        "takes all there is in hand",
        "msgbus/in_flight/flow_control.py",
        "        return max(self.limit - self.in_flight, 0)\n",
        "        return MAX_LIMIT\n",
    ),
    Bug(
        "receives nothing while one queue has no room",
        "msgbus/consuming/assignment.py",
        "{address: room for address, room in rooms.items() if room}",
        "{address: room for address, room in rooms.items() if all(rooms.values())}",
    ),
    Bug(
        "gives every message to the first queue's callback",
        "msgbus/consuming/assignment.py",
        "        intake = self._intakes.get(address)\n",
        "        intake = next(iter(self._intakes.values()), None)\n",
    ),
    Bug(
        "lets a callback wait for its own drain",
        "msgbus/subscription.py",
        "        if self._owner is not None and running_member.get(None) is self._owner:\n",
        "        if self._owner is None and running_member.get(None) is self._owner:\n",
    ),
    # Publishing.
    Bug(
        "publishes everything twice",
        "adapters/msgbus_memory/server.py",
        "                queue.append(together, now)\n",
        "                queue.append(together, now)\n                queue.append(together, now)\n",
    ),
    Bug(
        "returns although nothing was published",
        "msgbus/broker.py",
        "        if result is not None:\n            raise result\n",
        "        if result is not None:\n            return\n",
    ),
    Bug(
        "repeats the whole batch because of one",
        "msgbus/publishing/retry_until_deadline.py",
        "        pending = failed\n",
        "        pending = range(len(messages))\n",
    ),
    Bug(
        "says unavailable where nobody knows",
        "msgbus/publishing/retry_until_deadline.py",
        "    if not uncertain:\n",
        "    if uncertain or not uncertain:\n",
    ),
    Bug(
        "sends the caller's own buffer, which may change",
        "msgbus/publishing/codec.py",
        '        return bytes(cast("bytearray", body)), _BYTES\n',
        '        return cast("bytes", body), _BYTES\n',
    ),
    Bug(
        "takes an empty key for none",
        "msgbus/publishing/publication.py",
        "        if key is not None:\n",
        "        key = key or None\n        if key is not None:\n",
    ),
    Bug(
        "lets users write our headers",
        "msgbus/publishing/codec.py",
        "    if name.lower().startswith(RESERVED_PREFIX):\n",
        "    if name.startswith(RESERVED_PREFIX.upper()):\n",
    ),
    Bug(
        "sends text in another encoding",
        "msgbus/publishing/codec.py",
        "        return text.encode()\n",
        "        return text.encode('utf-16')\n",
    ),
    # Retries and delays.
    Bug(
        "loses the headers on the way to a retry queue",
        "msgbus/failure/copies.py",
        "    headers = dict(message.headers)\n",
        "    headers: dict[str, str] = {}\n",
    ),
    Bug(
        "takes the time of the retry for that of the publish",
        "msgbus/failure/copies.py",
        "    return Outgoing(address, message.id, message.time,",
        "    import time as now\n\n    return Outgoing(address, message.id, round(now.time() * 1000),",
    ),
    Bug(
        "retries through the queue itself, so that every group gets it again",
        "msgbus/failure/retry_queues.py",
        "    return Address(queue, group, fitting[-1] if fitting else SHORTEST_TIER)\n",
        "    return Address(queue)\n",
    ),
    Bug(
        "does not count the attempt that goes to a retry queue",
        "msgbus/failure/copies.py",
        "        ATTEMPTS: str(message.attempt),\n",
        "        ATTEMPTS: str(message.attempt - 1),\n",
    ),
    Bug(
        "retries before the delay is over",
        "msgbus/failure/copies.py",
        "    return min(max(until - now, 0.0), TIER_DELAY_SECONDS.get(address.part, 0.0) + MAX_WAIT_IN_MEMORY_SECONDS)\n",  # noqa: E501
        "    return min(max(until - now, 0.0), TIER_DELAY_SECONDS.get(address.part, 0.0))\n",
    ),
    Bug(
        "ignores the delay of a publish",
        "msgbus/consuming/worker_pool.py",
        "        if NOT_BEFORE in message.system and (left := initial_delay(message, now := self.clock())) > 0:\n",
        "        if NOT_BEFORE in message.system and (left := initial_delay(message, now := self.clock())) > 1e9:\n",
    ),
    Bug(
        "takes the publisher's clock for its own",
        "msgbus/failure/copies.py",
        "    return min(due - now, due - message.time / 1000)\n",
        "    return due - now\n",
    ),
    Bug(
        "lets what waits for its retry use up the room of what is fresh",
        "msgbus/consuming/retry_intake.py",
        "        self.flow = FlowController(MAX_IN_FLIGHT // 2)\n",
        "        self.flow = pool.flow\n",
    ),
    Bug(
        "never gives up",
        "msgbus/retry.py",
        '    return GiveUp(f"failed {attempt} times")\n',
        "    return RetryImmediately()\n",
    ),
    Bug(
        "tries again what the callback rejects",
        "msgbus/retry.py",
        '        if isinstance(one, Reject):\n            return GiveUp(f"rejected: {one.reason}")\n',
        "",
    ),
    Bug(
        "tries again what no further try will make readable",
        "msgbus/retry.py",
        '        if isinstance(one, InvalidPayload):\n            return GiveUp(f"invalid payload: {one}")\n',
        "",
    ),
    Bug(
        "goes on losing attempts while everything fails",
        "msgbus/failure/outage.py",
        "        self._set_aside(held, error)\n        return True\n",
        "        return False\n",
    ),
    Bug(
        "stays paused when everything works again",
        "msgbus/failure/circuit_breaker.py",
        "        was_open = self.phase is Phase.OPEN\n",
        "        was_open = self.phase is Phase.EXHAUSTED\n",
    ),
    Bug(
        "pauses for what is the messages' own fault",
        "msgbus/retry.py",
        "    return any(matches(one, policy.outage) for one in errors)\n",
        "    return True\n",
    ),
    Bug(
        "never loses patience",
        "msgbus/failure/circuit_breaker.py",
        "        return now >= self.failing_since + self.patience\n",
        "        return False\n",
    ),
    Bug(
        "forgets which tries were free",
        "msgbus/failure/copies.py",
        "ATTEMPTS: str(message.attempt - 1), FREE_TRIES:",
        "FREE_TRIES:",
    ),
    Bug(
        "gives up in a drain what a pause holds below what was handled",
        "msgbus/in_flight/deliveries.py",
        "        while cut in waiting:\n            cut -= 1\n        return cut\n",
        "        return -1\n",
    ),
    # Dead letters.
    Bug(
        "removes a letter before it has sent it back",
        "msgbus/operations/dead_letters.py",
        "        results = await self._connection.publish(",
        "        await letters.remove(chosen)\n        results = await self._connection.publish(",
    ),
    Bug(
        "sends a letter back with its old attempts",
        "msgbus/failure/copies.py",
        "    return _again(letter, now, {REDRIVES:",
        "    return _again(letter, now, {ATTEMPTS: letter.system.get(ATTEMPTS, '0'), REDRIVES:",
    ),
    Bug(
        "forgets how often a letter was sent back",
        "msgbus/failure/copies.py",
        "    ORIGIN_POSITION,\n    REDRIVES,\n    TOMBSTONE,\n)\n",
        "    ORIGIN_POSITION,\n    TOMBSTONE,\n)\n",
    ),
    Bug(
        "says that all were redriven when some were left behind",
        "msgbus/operations/dead_letters.py",
        "redriven.taken >= limit:\n                    break\n            redriven.remaining",
        "redriven.taken >= limit:\n                    pass\n                break\n            redriven.remaining",
    ),
    # Groups.
    Bug(
        "has all groups share one place in the queue",
        "adapters/msgbus_memory/server.py",
        "        if name not in self.groups:\n",
        "        name = next(iter(self.groups), name)\n        if name not in self.groups:\n",
    ),
    Bug(
        "begins a new group behind what was kept for it",
        "adapters/msgbus_memory/server.py",
        "self.end if at_end else self.first)",
        "self.first if at_end else self.end)",
    ),
    # Adapters of real servers, in what they decide without one.
    Bug(
        "takes a commit on Kafka that was overtaken for the last one",
        "adapters/msgbus_kafka/consumer/partition_session.py",
        "        if position == self.position:\n            self.dirty = False\n",
        "        self.dirty = False\n",
    ),
    Bug(
        "commits on Kafka what is finished after its generation has ended",
        "adapters/msgbus_kafka/consumer/partition_session.py",
        "        moved = not self.over and self._watermark.finished(offset)\n",
        "        moved = self._watermark.finished(offset)\n",
    ),
    Bug(
        "hands out on Kafka what was fetched of a partition that is being revoked",
        "adapters/msgbus_kafka/consumer/partition_session.py",
        "        self.live = False\n        self._fetch_buffer.clear()\n",
        "        self.live = False\n",
    ),
    Bug(
        "replaces on Kafka the bytes of a header that are no text",
        "adapters/msgbus_kafka/codec.py",
        '    return data.decode("utf-8", "surrogateescape")\n',
        '    return data.decode("utf-8", "replace")\n',
    ),
    Bug(
        "names a message on Redis after its entry",
        "adapters/msgbus_redis/codec.py",
        "    message_id = origin if identity is None else decode_text(identity)\n",
        "    message_id = origin\n",
    ),
)
