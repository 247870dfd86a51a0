"""An upgrade on one server, step by step: members of the old state are exchanged for new ones, and back."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final

from msgbus.testing.verification import EventWriter, Kind, Recorder, read
from tests.support.upgrade.judgement import judge, repeats, wrong_letters
from tests.support.upgrade.load import Load
from tests.support.upgrade.process_of_a_state import ORDERS, PAYMENTS
from tests.support.upgrade.processes import CommandFailed, Crew, UpgradeFailed
from tests.support.upgrade.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.upgrade.processes import Member, Operator
    from tests.support.upgrade.states import State

__all__ = ["upgrade"]

SOONER: Final = {"redis": "?visibility=2", "rabbitmq": "", "kafka": "?session_timeout=6"}
"""Settings by which a killed member is noticed soon."""
PARTITIONS: Final = {"kafka": 4}
MEMBERS: Final = 2
LETTERS: Final = 6
"""Dead letters that each state writes before the other takes them."""
REDRIVES_PER_SECOND: Final = 3.0
"""So slow that others meet it at work."""
FROZEN_SECONDS: Final = 10.0
"""Longer than SOONER says."""
ENOUGH: Final = 10
"""Messages after which a member has a part in the work."""
DRAIN: Final = 300.0
"""Seconds within which everything is handled at the end."""
LOCKED: Final = {"DeadLettersLocked", "LettersBusy"}
"""The names that the two states have for the error of the dead-letter lock."""


async def upgrade(  # noqa: PLR0913 - by keyword
    broker: str, url: str, states: tuple[State, State], folder: Path, *, say: Callable[[str], None], long: bool = False
) -> list[str]:
    """Run the steps on the server of ``url``.

    Args:
        broker: Name of the broker.
        url: The server's URL.
        states: The earlier state and the present one.
        folder: An empty folder, for recordings and logs.
        say: Takes a line for each step.
        long: Let some messages outlast all steps: longer delays, more than a hundred retries.

    Returns:
        What is wrong, a sentence each; nothing if the promise was kept.
    """
    run = Upgrade(broker, url, states, folder, say, long=long)
    try:
        async with run.crew:
            await run.steps()
    except (UpgradeFailed, CommandFailed) as error:
        run.violations.append(f"{type(error).__name__}: {error}")
    return [*run.violations, *run.crew.errors()]


class Upgrade:
    """One run on one server."""

    def __init__(  # noqa: PLR0913 - as upgrade()
        self,
        broker: str,
        url: str,
        states: tuple[State, State],
        folder: Path,
        say: Callable[[str], None],
        *,
        long: bool,
    ) -> None:
        """Make a run; the arguments are those of :func:`upgrade`."""
        run = secrets.token_hex(4)
        self.orders, self.payments = f"{ORDERS}-{run}", f"{PAYMENTS}-{run}"
        self.crew = Crew(f"{url}{SOONER[broker]}", (self.orders, self.payments), folder)
        self.violations: list[str] = []
        self._broker = broker
        self._old, self._new = states
        self._say = say
        self._long = long
        self._load = Load(self.orders, self.payments, long=long)
        self._progress = Progress(self.crew)
        self._members: list[Member] = []
        self._recorder = Recorder(folder / "faults.jsonl")

    async def steps(self) -> None:
        """Run all steps.

        Raises:
            UpgradeFailed: A step did not end.
            CommandFailed: An operator was refused something.
        """
        old, new = await asyncio.gather(self.crew.operator(self._old), self.crew.operator(self._new))
        with self._step("both create the queues, and old members begin"):
            await self._create(old, new)
            self._members = list(await asyncio.gather(*(self.crew.member(self._old) for _ in range(MEMBERS))))
        self._load.start(old, new)
        try:
            await self._roll(old, new)
        finally:
            self._load.cancel()
        with self._step("all leave in good order"):
            await asyncio.gather(*(one.stop() for one in self._members), old.leave(), new.leave())
        events = read(*self.crew.recordings(), self.crew.folder / "faults.jsonl")
        self.violations += judge(events, self._load.sent)
        faults = sum(1 for event in events if event.kind is Kind.FAULT)
        self._say(
            f"{self._broker}: {len(self._load.sent)} messages, {repeats(events)} repeated by {faults} faults, "
            f"{len(self.violations)} wrong"
        )

    async def _roll(self, old: Operator, new: Operator) -> None:
        with self._step("old members fail messages, and pause as the downstream is off"):
            await self._trouble(self._old)
        with self._step("forward: new members for old ones"):
            self._load.troubled = False
            await self._exchange(self._new)
            await self._resume(self._new)
        with self._step("dead letters of old members, redriven by new"):
            await self._take_letters(new, old)
        with self._step("new members fail messages, and pause as the downstream is off"):
            self._load.troubled = True
            await self._trouble(self._new)
        with self._step("back: old members for new ones, during a redrive"):
            self._load.troubled = False
            redrive = old.redrive(self.orders, rate=1.0, limit=LETTERS // 2)  # some are left for the next step
            await asyncio.gather(self._exchange(self._old, together=self._long), redrive)
            await self._resume(self._old)
        with self._step("dead letters of new members, redriven by old"):
            await self._take_letters(old, new)
        with self._step("killed: an old member, and a new one for it"):
            await self._kill(self._new)
        if self._long:
            with self._step("frozen: the new member, until others have what it had"):
                await self._freeze()
            with self._step("killed: the new member, and an old one for it"):
                await self._kill(self._old)
        with self._step("publishing ends, and nothing is left waiting"):
            await self._load.stop()
            await self._drain(old, new)

    def _step(self, what: str) -> _Step:
        return _Step(self, what)

    async def _create(self, old: Operator, new: Operator) -> None:
        """Each creates a queue that the other creates again, which changes nothing and is refused by nothing."""
        partitions = PARTITIONS.get(self._broker)
        for queue, first, second in ((self.orders, old, new), (self.payments, new, old)):
            await first.create(queue, partitions)
            await second.create(queue, partitions)

    async def _trouble(self, state: State) -> None:
        """Wait until members of ``state`` have written dead letters, and have paused."""
        self._progress.parked.clear()
        self.crew.down.touch()

        def letters() -> set[str]:
            return self._letters_by(state) & self._undead()

        await self._until(lambda: len(letters()) >= LETTERS, f"dead letters of {state.name} members")
        await self._until(lambda: self._parked_by(state), f"a pause of {state.name} members")

    async def _exchange(self, state: State, *, together: bool = False) -> None:
        """End members in good order with messages in flight, and start ones of ``state`` for them.

        One at a time, or ``together``: then there is no member for a while, and everything waits on the server.
        """
        if together:
            await asyncio.gather(*(self._stop(member) for member in self._members))
            await asyncio.gather(*(self._replace(place, state) for place in range(MEMBERS)))
            return
        for place, member in enumerate(self._members):
            await self._stop(member)
            await self._replace(place, state)

    async def _stop(self, member: Member) -> None:
        await self._until(lambda: self._progress.running[member.name], f"work in flight in {member.name}")
        await member.stop()

    async def _replace(self, place: int, state: State) -> None:
        member = self._members[place] = await self.crew.member(state)
        await self._until(lambda: self._progress.handled_by[member.name] >= ENOUGH, f"work done by {member.name}")

    async def _resume(self, state: State) -> None:
        """Let the downstream work again: members of ``state`` handle what others have parked."""
        await self._until(lambda: self._parked_by(state), f"a pause of {state.name} members")
        others = self._parked_by(self._old if state is self._new else self._new)
        self.crew.down.unlink()
        await self._until(lambda: others & self._progress.handled, "parked messages handled")

    async def _take_letters(self, by: Operator, other: Operator) -> None:
        """Read by both, redriven by one, while the other is locked out."""
        await self._until(lambda: self._undead() <= self._progress.dead_by.keys(), "dead letters")
        seen, letters = await other.letters(self.orders), await by.letters(self.orders)
        self._check("both read the same dead letters", seen == letters)
        self.violations += wrong_letters(letters, self._load.sent)
        expected = self._undead()
        self._check(f"{len(letters)} dead letters, not {len(expected)}", {one["id"] for one in letters} == expected)
        self._check("some are the other state's", self._letters_by(other.state) & expected)
        redriving = asyncio.ensure_future(by.redrive(self.orders, rate=max(REDRIVES_PER_SECOND, len(letters) / 3)))
        await self._until(lambda: by.name in {self._progress.redriven_by.get(id) for id in expected}, "a redrive")
        self._check("the dead-letter lock of the other state is respected", await _is_locked(other, self.orders))
        taken, arrived = await redriving
        self._check(f"{taken} taken, {arrived} arrived", taken == arrived == len(letters))
        await self._until(lambda: expected <= self._progress.handled, "redriven messages handled")

    async def _kill(self, state: State) -> None:
        """Kill a member with something in flight, and start one of ``state`` for it."""
        victim = self._members[0]
        await self._until(lambda: self._progress.running[victim.name], "work in flight")
        with EventWriter("upgrade", self._recorder).fault("killed", victim.name):
            await victim.kill()
        await self._replace(0, state)

    async def _freeze(self) -> None:
        """Freeze a member with something in flight for so long that it is taken for dead, and let it go on."""
        victim = self._members[0]
        await self._until(lambda: self._progress.running[victim.name], f"work in flight in {victim.name}")
        with EventWriter("upgrade", self._recorder).fault("frozen", victim.name):
            victim.freeze()
            await asyncio.sleep(FROZEN_SECONDS)
            victim.thaw()
            more = self._progress.handled_by[victim.name] + ENOUGH
            await self._until(lambda: self._progress.handled_by[victim.name] >= more, f"work done by {victim.name}")

    async def _drain(self, old: Operator, new: Operator) -> None:
        """Wait until everything is handled. A killed member may leave a dead letter twice: redrive all of them."""
        operators = [new, old]
        while True:
            await self._until(lambda: self._undead() <= self._progress.dead_by.keys(), "dead letters")
            await operators[0].redrive(self.orders)
            await self._until(lambda: self._load.sent.keys() <= self._progress.handled, "everything handled", DRAIN)
            await self._until_nothing_waits(operators[1])
            if not await operators[0].letters(self.orders) and not await operators[0].letters(self.payments):
                return
            operators.reverse()

    async def _until_nothing_waits(self, operator: Operator) -> None:
        left = {"": 1}
        try:
            async with asyncio.timeout(DRAIN):
                while left:
                    waiting = await operator.waiting([self.orders, self.payments])
                    left = {queue: number for queue, number in waiting.items() if number}
                    await asyncio.sleep(0.1)  # a server does not announce it
        except TimeoutError:
            raise UpgradeFailed(f"messages are left: {left}") from None

    def _check(self, what: str, right: object) -> None:
        if not right:
            self.violations.append(f"wrong: {what}")

    def _undead(self) -> set[str]:
        """Return the messages that are to be dead letters, or become some: nobody has redriven them yet."""
        dead = self._load.select(dead="rejected") | self._load.select(dead="exhausted")
        return dead - self._progress.redriven_by.keys()

    def _letters_by(self, state: State) -> set[str]:
        return {id for id, by in self._progress.dead_by.items() if by.startswith(state.name)}

    def _parked_by(self, state: State) -> set[str]:
        parked = {id for by, ids in self._progress.parked.items() if by.startswith(state.name) for id in ids}
        return parked & self._load.select(downstream=True)

    async def _until(self, condition: Callable[[], object], what: str, seconds: float = 90) -> None:
        def holds() -> object:
            self._load.check()
            return condition()

        await self._progress.until(holds, what, seconds)


class _Step:
    """Says what a step took, and how many messages were handled meanwhile."""

    def __init__(self, run: Upgrade, what: str) -> None:
        self._run = run
        self._what = what

    def __enter__(self) -> None:
        self._begun = time.monotonic()
        self._handled = len(self._run._progress.handled)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._run._progress.look()
        more = len(self._run._progress.handled) - self._handled
        how = "ok" if kind is None else f"FAILED: {error}"
        took = time.monotonic() - self._begun
        self._run._say(f"{self._run._broker}: {self._what}: {took:.1f} s, {more} handled: {how}")


async def _is_locked(operator: Operator, queue: str) -> bool:
    """Tell whether a redrive is refused, and looking does no harm meanwhile."""
    try:
        await operator.redrive(queue)
    except CommandFailed as error:
        locked = error.kind in LOCKED
    else:
        locked = False
    try:
        await operator.letters(queue)
    except CommandFailed as error:
        locked = locked and error.kind in LOCKED
    return locked
