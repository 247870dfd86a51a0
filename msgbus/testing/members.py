"""Members that can be killed and frozen.

Where the broker is durable, a member is a process of its own. Elsewhere it is a broker of this process whose adapter is
severed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Protocol, cast

from msgbus.adapter.url import BrokerURL
from msgbus.broker import Broker
from msgbus.registry import adapter_type, connect
from msgbus.testing.probe import DEADLINE_SECONDS, Probe, within

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.subscription import Callback

__all__ = ["Behaviour", "KillableMember", "ProcessMember", "SeveredMember", "forwarding"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Behaviour of the callback of a killable member."""

    url: str
    queue: str
    group: str
    hanging: str = ""
    """Id of the message whose callback never returns; empty: no callback returns."""
    forward_to: str = ""
    """Queue to which the callback publishes first; empty: none."""

    def hangs(self, message: Message) -> bool:
        """Return whether the callback for this message never returns."""
        return self.hanging in {"", message.id}

    def callback(self, broker: Broker, probe: Probe) -> Callback:
        """Return the callback; ``probe`` records its calls and holds them."""
        probe.hold(self.hangs)
        forward = forwarding(broker, self.forward_to) if self.forward_to else None

        async def call(message: Message) -> None:
            if forward is not None:
                await forward(message)
            await probe(message)

        return call


def forwarding(broker: Broker, queue: str) -> Callback:
    """Return a callback that publishes a message to ``queue``, with the same id at every attempt."""

    async def forward(message: Message) -> None:
        await broker.publish(queue, message.body, message_id=f"made-of-{message.id}", key=message.key)

    return forward


class KillableMember(Protocol):
    """A member with a given behaviour."""

    async def start(self) -> None:
        """Start the member; return when it is ready."""

    async def until_entered(self, count: int) -> set[str]:
        """Wait until its callback was called for ``count`` messages, and return their ids."""
        ...

    async def kill(self) -> None:
        """Kill the member at once, without a drain."""

    async def freeze(self) -> None:
        """Freeze the member: it keeps its connections and sends nothing."""

    async def thaw(self) -> None:
        """Let a frozen member continue: its callbacks return, and it leaves with a drain."""

    async def end(self) -> None:
        """End the member whatever its state."""


class ProcessMember:
    """``python -m msgbus.testing.members URL QUEUE GROUP HANGING FORWARD_TO``, ended by SIGKILL."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._process: asyncio.subprocess.Process | None = None
        self._entered: set[str] = set()

    async def start(self) -> None:
        """Implement :meth:`KillableMember.start`."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__, *astuple(self._behaviour)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with within(DEADLINE_SECONDS, "the member's process being ready"):
            assert await self._line() == "ready"

    async def until_entered(self, count: int) -> set[str]:
        """Implement :meth:`KillableMember.until_entered`."""
        async with within(DEADLINE_SECONDS, f"{count} calls in the member's process"):
            while len(self._entered) < count:
                self._entered.add(await self._line())
        return self._entered

    async def kill(self) -> None:
        """Implement :meth:`KillableMember.kill`."""
        self._running.kill()
        assert await self._running.wait() == -9

    async def freeze(self) -> None:
        """Implement :meth:`KillableMember.freeze`."""
        self._running.send_signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        """Implement :meth:`KillableMember.thaw`."""
        self._running.send_signal(signal.SIGCONT)
        assert self._running.stdin is not None
        self._running.stdin.write(b"go on\n")
        async with within(DEADLINE_SECONDS, "the member's process going on, and leaving"):
            while await self._line() != "left":
                pass

    async def end(self) -> None:
        """Implement :meth:`KillableMember.end`."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.communicate()

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def _line(self) -> str:
        assert self._running.stdout is not None
        line = await self._running.stdout.readline()
        assert line, "the member's process ended by itself"
        return cast("str", json.loads(line))


class _Severable(Protocol):
    def sever(self) -> None: ...


class SeveredMember:
    """A broker of this process whose adapter can be severed."""

    def __init__(self, behaviour: Behaviour) -> None:
        parsed = BrokerURL.parse(behaviour.url)
        kind = adapter_type(parsed.scheme)
        self._adapter = kind(parsed, kind.Options())
        self._broker = Broker(self._adapter, group=behaviour.group, grace=0)
        self._probe = Probe()
        self._behaviour = behaviour

    async def start(self) -> None:
        """Implement :meth:`KillableMember.start`."""
        await self._broker.__aenter__()
        callback = self._behaviour.callback(self._broker, self._probe)
        subscription = await self._broker.consume(self._behaviour.queue, callback)
        await subscription.ready()

    async def until_entered(self, count: int) -> set[str]:
        """Implement :meth:`KillableMember.until_entered`."""
        await self._probe.until(lambda: len(self._ids) >= count, f"calls for {count} messages")
        return self._ids

    @property
    def _ids(self) -> set[str]:
        return {one.id for one in self._probe.entered}

    async def kill(self) -> None:
        """Implement :meth:`KillableMember.kill`."""
        cast("_Severable", self._adapter).sever()

    async def freeze(self) -> None:
        """Implement :meth:`KillableMember.freeze`.

        Other members cannot tell a severed adapter from a frozen process.
        """
        await self.kill()

    async def thaw(self) -> None:
        """Implement :meth:`KillableMember.thaw`."""
        await self._probe.release()
        await self._probe.until(lambda: not self._probe.running, "its calls returning")
        await self._broker.close()

    async def end(self) -> None:
        """Implement :meth:`KillableMember.end`."""
        await self._broker.close()


class _Telling(Probe):
    """A probe that prints the id of each message, for the process that started this one."""

    async def __call__(self, message: Message) -> None:
        _say(message.id)
        await super().__call__(message)


async def _serve(behaviour: Behaviour) -> None:
    probe = _Telling()
    async with connect(behaviour.url, group=behaviour.group) as broker:
        subscription = await broker.consume(behaviour.queue, behaviour.callback(broker, probe))
        await subscription.ready()
        _say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        await probe.release()
        await probe.until(lambda: not probe.running, "its calls returning")
    _say("left")


def _say(word: str) -> None:
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(Behaviour(*sys.argv[1:])))
