"""A broker for tests, and the simplest kind of one: somebody else's, named by an environment variable."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

Origin = Literal["environment", "container", "native"]


class Server(ABC):
    """One broker that answers: `name` (redis, rabbitmq, kafka), msgbus `url` and where it comes from."""

    origin: ClassVar[Origin]

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url

    @property
    def pid(self) -> int | None:
        """The process that serves, if it is a native one of ours and runs."""
        return None

    @abstractmethod
    def stop(self) -> None:
        """End it and forget its data; a second call does nothing. The environment's server is left alone."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, origin={self.origin!r}, pid={self.pid})"


class GivenServer(Server):
    """The server that MSGBUS_TEST_<NAME>_URL names."""

    origin = "environment"

    def stop(self) -> None:
        """Nothing: it is not ours."""
