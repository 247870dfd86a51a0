"""What it takes to run a server as a plain process: each broker has a recipe."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from . import sets
from .ports import LOOPBACK
from .probes import Probe
from .security import ADMIN, Security


@dataclass(frozen=True)
class Command:
    """A program with its arguments, and the environment it needs beside ours."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """What a test wants of its server beyond the usual.

    `password`: of the default user (Redis, RabbitMQ). `settings`: lines of the broker's own configuration, which win
    over the recipe's. `secured`: TLS on `port`, clear text on `clear_port`, both with users (see `security`).
    """

    password: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    secured: bool = False


class Recipe(ABC):
    """One server: its folder, its ports and its commands. All paths are below `folder`, all ports on the loopback."""

    name: ClassVar[str]
    schemes: ClassVar[tuple[str, str]]  # of its URLs: in clear text, with TLS
    way_out: ClassVar[str]  # how a person gets the server
    patience: ClassVar[float]  # seconds until it must answer; several times what was seen
    LEAST: ClassVar[Sequence[str]]  # what `allow()` must be told for a service with the contract suite's queues
    nodes: ClassVar[int]  # of its usual cluster
    ahead: ClassVar[int] = 0  # nodes of a cluster that start one after the other, before all others together
    port: int
    clear_port: int  # of a secured server

    def __init__(self, folder: Path, wish: Wish) -> None:
        self.folder = folder
        self.wish = wish
        self.log = folder / "server.log"
        self.security = Security.made(folder) if wish.secured else None
        self.peers: Sequence[Recipe] = ()  # all nodes of its cluster, itself included, in the same order everywhere

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """What this machine lacks to run it, in one sentence; "" if nothing."""

    @abstractmethod
    def prepare(self) -> None:
        """Write the configuration. Called once, `peers` being known: a restart finds everything as it was."""

    @property
    def url(self) -> str:
        """Its msgbus URL; that of the administrator where it is secured."""
        if self.security:
            return self.url_as(ADMIN)
        return f"{self.schemes[0]}://{self.login()}{LOOPBACK}:{self.port}{self.path}"

    def url_as(self, user: str, password: str | None = None, *, tls: bool = True, **query: str) -> str:
        """A secured server's URL for `user`, with the right password unless another is given."""
        security = self._secured()
        port = self.port if tls else self.clear_port
        place = f"{security.login(user, password)}@{LOOPBACK}:{port}{self.path}"
        return f"{self.schemes[tls]}://{place}{security.query(query, tls=tls)}"

    def cluster_url(self) -> str:
        """The msgbus URL of the cluster that it is a node of."""
        hosts = ",".join(f"{LOOPBACK}:{peer.port}" for peer in self.peers)
        return f"{self.schemes[0]}://{self.login()}{hosts}{self.path}"

    @property
    def behind_proxy(self) -> tuple[int, int]:
        """The port that a proxy leads to, and the one it must listen on itself: 0 for any."""
        return self.port, 0

    def login(self) -> str:
        """`user:password@` of a server that is not secured; "" if it asks for none."""
        return ""

    @property
    def path(self) -> str:
        """What follows the host in its URL."""
        return ""

    @abstractmethod
    def probe(self) -> Probe:
        """A question to the server: True when it is ready to serve."""

    def here(self, *argv: str, env: Mapping[str, str] | None = None) -> Command:
        """A command of this machine, or of the chosen set's root."""
        root = sets.root()
        return Command(root.entering(self.folder, argv) if root else argv, env or {})

    def helpers(self) -> Sequence[Command]:
        """What must run before it and longer than it."""
        return ()

    @abstractmethod
    def command(self) -> Command:
        """The server itself, in the foreground."""

    def started(self) -> None:
        """It answers for the first time: what only a running server can be told."""
        return

    @abstractmethod
    def allow(self, user: str, *rights: str) -> None:
        """Give `user` of the running, secured server these rights beside those it has, in the broker's own words."""

    @abstractmethod
    def forbid(self, user: str) -> None:
        """Take all rights from `user` of the running, secured server; it may still log in."""

    def _secured(self) -> Security:
        if self.security is None:
            raise ValueError(f"this {self.name} has no users: start_native({self.name!r}, secured=True) has")
        return self.security
