"""Members that can be killed: another process where messages outlive one, a severed adapter where they do not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Protocol, cast

from msgbus.broker import Broker
from msgbus.registry import adapter_type, connect
from msgbus.testing.probe import DEADLINE, Probe, within
from msgbus.url import BrokerURL

if TYPE_CHECKING:
    from msgbus.message import Message

__all__ = ["KillableMember", "ProcessMember", "SeveredMember"]


class KillableMember(Protocol):
    """A member whose callbacks are entered and never return."""

    async def start(self) -> None:
        """Returns when it is ready."""

    async def until_entered(self, count: int) -> set[str]:
        """Wait for ``count`` calls; the ids."""
        ...

    async def kill(self) -> None:
        """Now, without a goodbye."""

    async def end(self) -> None:
        """Clean up."""


class ProcessMember:
    """``python -m msgbus.testing.members URL QUEUE GROUP``, ended by SIGKILL."""

    def __init__(self, url: str, queue: str, group: str) -> None:
        self._arguments = (url, queue, group)
        self._process: asyncio.subprocess.Process | None = None
        self._entered: set[str] = set()

    async def start(self) -> None:
        """See KillableMember."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, *self._arguments, stdout=asyncio.subprocess.PIPE
        )
        async with within(DEADLINE, "the member's process being ready"):
            assert await self._line() == "ready"

    async def until_entered(self, count: int) -> set[str]:
        """See KillableMember."""
        async with within(DEADLINE, f"{count} calls in the member's process"):
            while len(self._entered) < count:
                self._entered.add(await self._line())
        return self._entered

    async def kill(self) -> None:
        """See KillableMember."""
        assert self._process is not None
        self._process.kill()
        assert await self._process.wait() == -9

    async def end(self) -> None:
        """See KillableMember."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.communicate()

    async def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the member's process ended by itself"
        return cast("str", json.loads(line))


class _Severable(Protocol):
    def sever(self) -> None: ...


class SeveredMember:
    """A broker in this process whose adapter is cut off."""

    def __init__(self, url: str, queue: str, group: str) -> None:
        parsed = BrokerURL.parse(url)
        kind = adapter_type(parsed.scheme)
        self._adapter = kind(parsed, kind.Options())
        self._broker = Broker(self._adapter, group=group, grace=0)
        self._queue = queue
        self._probe = Probe()

    async def start(self) -> None:
        """See KillableMember."""
        self._probe.hold()
        await self._broker.__aenter__()
        subscription = await self._broker.consume(self._queue, self._probe)
        await subscription.ready()

    async def until_entered(self, count: int) -> set[str]:
        """See KillableMember."""
        await self._probe.until_entered(count)
        return {one.id for one in self._probe.entered}

    async def kill(self) -> None:
        """See KillableMember."""
        cast("_Severable", self._adapter).sever()

    async def end(self) -> None:
        """See KillableMember."""
        await self._broker.close()


async def _serve(url: str, queue: str, group: str) -> None:
    async def enter(message: Message) -> None:
        _say(message.id)
        await asyncio.Event().wait()

    async with connect(url, group=group) as broker:
        subscription = await broker.consume(queue, enter)
        await subscription.ready()
        _say("ready")
        await asyncio.Event().wait()


def _say(word: str) -> None:
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
