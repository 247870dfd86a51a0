"""What it takes to run a server as a plain process: each broker has a recipe."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Command:
    """A program with its arguments, and the environment it needs beside ours."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


class Recipe(ABC):
    """One server: its folder, its ports and its commands. All paths are below `folder`, all ports on the loopback.

    `settings` are lines of the broker's own configuration which win over the recipe's.
    """

    name: ClassVar[str]
    way_out: ClassVar[str]  # how a person gets the server
    patience: ClassVar[float]  # seconds until it must answer; several times what was seen

    def __init__(self, folder: Path, password: str = "", settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.password = password
        self.settings = dict(settings or {})
        self.log = folder / "server.log"
        self.port = 0

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """What this machine lacks to run it, in one sentence; "" if nothing."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Its msgbus URL."""

    @abstractmethod
    def prepare(self) -> None:
        """Choose ports and write the configuration. Called once: a restart finds everything as it was."""

    def helpers(self) -> Sequence[Command]:
        """What must run before it and longer than it."""
        return ()

    @abstractmethod
    def command(self) -> Command:
        """The server itself, in the foreground."""
