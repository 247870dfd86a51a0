"""A server as a plain process of this machine, for tests that kill, freeze and restart it."""

import atexit
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import process
from .errors import ServerNotReady, ServerUnavailable
from .kafka_native import KafkaRecipe
from .rabbitmq_native import RabbitmqRecipe
from .recipe import Command, Recipe, Wish
from .redis_native import RedisRecipe
from .server import Server
from .waiting import until

RECIPES: Mapping[str, type[Recipe]] = {kind.name: kind for kind in (RedisRecipe, RabbitmqRecipe, KafkaRecipe)}
_POLITENESS = 15.0  # seconds from SIGTERM to SIGKILL; seen: 0.1 (Redis), 2 (RabbitMQ), 1 (Kafka)
_TAIL = 2000  # characters of a log that an error carries


class NativeServer(Server):
    """One server process with its port and its data, which survive `kill()` and `restart()` and end with `stop()`."""

    origin = "native"

    def __init__(self, recipe: Recipe, *, guarded: bool) -> None:
        super().__init__(recipe.name, recipe.url)
        self.folder = recipe.folder
        self.recipe = recipe
        self._guarded = guarded
        self._answers = recipe.probe()
        self._helpers = [self._spawn(command) for command in recipe.helpers()]
        self._main: process.Process | None = None
        if guarded:
            atexit.register(self.stop)

    @property
    def pid(self) -> int | None:
        return self._main.pid if self._main else None

    @property
    def pids(self) -> list[int]:
        """The leaders of all its sessions, the serving one first."""
        return [running.pid for running in (self._main, *self._helpers) if running]

    def run(self) -> None:
        """Start it where it is not running and wait until it answers. ServerNotReady: it does not."""
        self.launch()
        self.settle()

    def launch(self) -> None:
        """Start it where it is not running, and wait for nothing."""
        if not self._main:
            self._main = self._spawn(self.recipe.command())

    def settle(self) -> None:
        """Wait until it answers. ServerNotReady: it does not."""
        until(lambda: self._answers() or not self._alive(), self.recipe.patience)
        if not self._alive():
            raise ServerNotReady(self.name, "ended while starting", self._tail())
        if not self._answers():
            raise ServerNotReady(self.name, f"did not answer within {self.recipe.patience:.0f} s", self._tail())

    def kill(self) -> None:
        """SIGKILL, as a crash; port and data stay for `restart()`."""
        if self._main:
            self._main.kill()
            self._main = None

    def restart(self) -> None:
        """Start it again on the same port with the same data; one that still runs is stopped in good order first."""
        if self._main:
            self._main.end(_POLITENESS)
            self._main = None
        self.run()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay, nobody answers."""
        if self._main:
            process.send(process.family(self._main.pid), signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen one go on (SIGCONT)."""
        if self._main:
            process.send(process.family(self._main.pid), signal.SIGCONT)

    def stop(self) -> None:
        """End the server, then its helpers, and remove its folder."""
        atexit.unregister(self.stop)
        if self._main:
            self._main.end(_POLITENESS)
            self._main = None
        while self._helpers:
            self._helpers.pop().end(_POLITENESS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _alive(self) -> bool:
        return self._main is not None and self._main.alive()

    def _spawn(self, command: Command) -> process.Process:
        return process.Process(command.argv, command.env, self.recipe.log, guarded=self._guarded)

    def _tail(self) -> str:
        return self.recipe.log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].strip()


def start_native(
    name: str,
    *,
    password: str = "",
    settings: Mapping[str, str] | None = None,
    secured: bool = False,
    guarded: bool = True,
) -> NativeServer:
    """A fresh server as a plain process, whatever the environment names.

    `password`, `settings` and `secured` are those of `recipe.Wish`; a secured server's `url` is the administrator's,
    and `recipe.url_as()`, `recipe.allow()` and `recipe.forbid()` are about its users.
    `guarded=False`: it outlives this Python. ServerUnavailable: not installed. ServerNotReady: does not come up.
    """
    recipe = RECIPES[name]
    wish = Wish(password, settings or {}, secured)
    if lack := lacks(name):
        raise ServerUnavailable(name, lack, recipe.way_out)
    try:
        return _boot(recipe, wish, guarded=guarded)
    except ServerNotReady:  # somebody may have taken a port between our look and its bind: once more with others
        return _boot(recipe, wish, guarded=guarded)


def lacks(name: str) -> str:
    """What this machine lacks to run the server natively; "" if nothing."""
    return RECIPES[name].missing() if Path("/proc/self/stat").exists() else "native servers need Linux's /proc"


def _boot(kind: type[Recipe], wish: Wish, *, guarded: bool) -> NativeServer:
    server = made(kind(folder_for(kind), wish), guarded=guarded)
    try:
        server.run()
        server.recipe.started()
    except BaseException:
        server.stop()
        raise
    return server


def folder_for(kind: type[Recipe]) -> Path:
    """A fresh folder for one server."""
    return Path(tempfile.mkdtemp(prefix=f"msgbus-{kind.name}-"))


def made(recipe: Recipe, *, guarded: bool) -> NativeServer:
    """A server that is prepared and not running yet; its folder is removed where that fails."""
    try:
        recipe.prepare()
        return NativeServer(recipe, guarded=guarded)
    except BaseException:
        shutil.rmtree(recipe.folder, ignore_errors=True)
        raise
