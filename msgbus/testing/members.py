"""Members that can be killed and frozen: another process where messages outlive one, a severed adapter elsewhere."""

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
    """What a killable member's callback does."""

    url: str
    queue: str
    group: str
    hanging: str = ""
    """The one message whose call does not return; empty: no call returns."""
    forward_to: str = ""
    """Publish to this queue first."""

    def hangs(self, message: Message) -> bool:
        """Whether this call does not return."""
        return self.hanging in {"", message.id}

    def callback(self, broker: Broker, probe: Probe) -> Callback:
        """The callback, whose calls are recorded by ``probe`` and held there."""
        probe.hold(self.hangs)
        forward = forwarding(broker, self.forward_to) if self.forward_to else None

        async def call(message: Message) -> None:
            if forward is not None:
                await forward(message)
            await probe(message)

        return call


def forwarding(broker: Broker, queue: str) -> Callback:
    """A callback that publishes what it makes of a message, under an id that is the same each time."""

    async def forward(message: Message) -> None:
        await broker.publish(queue, message.body, message_id=f"made-of-{message.id}", key=message.key)

    return forward


class KillableMember(Protocol):
    """A member that behaves as told."""

    async def start(self) -> None:
        """Returns when it is ready."""

    async def until_entered(self, count: int) -> set[str]:
        """Wait for calls for ``count`` messages; their ids."""
        ...

    async def kill(self) -> None:
        """Now, without a goodbye."""

    async def freeze(self) -> None:
        """It stands still, and says nothing to anybody."""

    async def thaw(self) -> None:
        """It goes on: its calls return, and it leaves in good order."""

    async def end(self) -> None:
        """Clean up."""


class ProcessMember:
    """``python -m msgbus.testing.members URL QUEUE GROUP HANGING FORWARD_TO``, ended by SIGKILL."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._process: asyncio.subprocess.Process | None = None
        self._entered: set[str] = set()

    async def start(self) -> None:
        """See KillableMember."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__, *astuple(self._behaviour)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with within(DEADLINE_SECONDS, "the member's process being ready"):
            assert await self._line() == "ready"

    async def until_entered(self, count: int) -> set[str]:
        """See KillableMember."""
        async with within(DEADLINE_SECONDS, f"{count} calls in the member's process"):
            while len(self._entered) < count:
                self._entered.add(await self._line())
        return self._entered

    async def kill(self) -> None:
        """See KillableMember."""
        self._running.kill()
        assert await self._running.wait() == -9

    async def freeze(self) -> None:
        """See KillableMember."""
        self._running.send_signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        """See KillableMember."""
        self._running.send_signal(signal.SIGCONT)
        assert self._running.stdin is not None
        self._running.stdin.write(b"go on\n")
        async with within(DEADLINE_SECONDS, "the member's process going on, and leaving"):
            while await self._line() != "left":
                pass

    async def end(self) -> None:
        """See KillableMember."""
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
    """A broker in this process whose adapter is cut off."""

    def __init__(self, behaviour: Behaviour) -> None:
        parsed = BrokerURL.parse(behaviour.url)
        kind = adapter_type(parsed.scheme)
        self._adapter = kind(parsed, kind.Options())
        self._broker = Broker(self._adapter, group=behaviour.group, grace=0)
        self._probe = Probe()
        self._behaviour = behaviour

    async def start(self) -> None:
        """See KillableMember."""
        await self._broker.__aenter__()
        callback = self._behaviour.callback(self._broker, self._probe)
        subscription = await self._broker.consume(self._behaviour.queue, callback)
        await subscription.ready()

    async def until_entered(self, count: int) -> set[str]:
        """See KillableMember."""
        await self._probe.until(lambda: len(self._ids) >= count, f"calls for {count} messages")
        return self._ids

    @property
    def _ids(self) -> set[str]:
        return {one.id for one in self._probe.entered}

    async def kill(self) -> None:
        """See KillableMember."""
        cast("_Severable", self._adapter).sever()

    async def freeze(self) -> None:
        """See KillableMember: cut off, as far as anybody else can tell."""
        await self.kill()

    async def thaw(self) -> None:
        """See KillableMember."""
        await self._probe.release()
        await self._probe.until(lambda: not self._probe.running, "its calls returning")
        await self._broker.close()

    async def end(self) -> None:
        """See KillableMember."""
        await self._broker.close()


class _Telling(Probe):
    """Tells whoever started the process of each call."""

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
