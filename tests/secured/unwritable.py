"""One queue of a server that cannot be written for a while, by the server's own means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from msgbus.broker import Broker
from msgbus.errors import AccessRefused
from msgbus.registry import adapter_type, connect
from msgbus.url import BrokerURL
from tests.servers import start_native
from tests.servers.fixtures import or_skip
from tests.servers.kafka_native import KafkaRecipe
from tests.servers.rabbitmq_native import VHOST, RabbitmqRecipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from msgbus.adapter import Adapter
    from msgbus.errors import BrokerError
    from msgbus.message import Outgoing
    from tests.servers import NativeServer

__all__ = ["PLACES", "Place", "place"]

USER = "app"
GROUP = "g"


class Place(Protocol):
    """A server, and the broker objects of a user whose rights can be changed."""

    url: str
    """Of somebody who may do everything."""

    def broker(self) -> Broker:
        """One that is not started."""
        ...

    def deny(self, queue: str, part: str) -> None:
        """Nobody can write the group's part of ``queue``."""

    def allow(self) -> None:
        """Everything can be written again."""


class _Secured:
    """A secured server's."""

    def __init__(self, server: NativeServer) -> None:
        self.url = server.url
        self.server = server

    def broker(self) -> Broker:
        return connect(self.server.recipe.url_as(USER), group=GROUP)


class Redis(_Secured):
    """The user may no longer write to the stream; to the retry queue, which is read by writing, no longer add."""

    _RULES: ClassVar[dict[str, Sequence[str]]] = {
        # Keys by their endings, of all that the queue and the group have.
        "dlq": ("resetkeys", "~msgbus:*[^q]}", "~msgbus:bell:*", "~msgbus:taker:*", "%R~msgbus:*"),
        "retry.1s": ("-xadd", "(+xadd ~msgbus:*[^s]})", "(+xadd ~msgbus:*[^1]s})", "(+xadd ~msgbus:bell:*)"),
    }

    def deny(self, queue: str, part: str) -> None:
        del queue
        self.server.recipe.allow(USER, *self._RULES[part])

    def allow(self) -> None:
        self.server.recipe.allow(USER, "clearselectors", "resetkeys", "~msgbus:*", "+xadd")


class Rabbit(_Secured):
    """A policy: the queue is full, and says so to publishers, after the first. Channels may cache permissions."""

    _full = False

    def deny(self, queue: str, part: str) -> None:
        full = json.dumps({"max-length": 0, "overflow": "reject-publish"})
        pattern = f"^{queue}.{GROUP}.{part}$".replace(".", r"\.")
        self._full = True
        self._ctl("set_policy", "--vhost", VHOST, "--apply-to", "queues", "full", pattern, full)

    def allow(self) -> None:
        if self._full:
            self._ctl("clear_policy", "--vhost", VHOST, "full")
        self._full = False

    def _ctl(self, *words: str) -> None:
        recipe = self.server.recipe
        assert isinstance(recipe, RabbitmqRecipe)
        recipe.ctl(*words)


class Kafka(_Secured):
    """A right that is denied."""

    def deny(self, queue: str, part: str) -> None:
        self._deny(f"write topic {queue}.{GROUP}.{part}")

    def allow(self) -> None:
        self._deny()

    def _deny(self, *rights: str) -> None:
        recipe = self.server.recipe
        assert isinstance(recipe, KafkaRecipe)
        recipe.deny(USER, *rights)


class Memory:
    """An injected fault: the adapter's verdict."""

    url = "memory://unwritable"

    def __init__(self) -> None:
        self._denied = ""

    def broker(self) -> Broker:
        parsed = BrokerURL.parse(self.url)
        kind = adapter_type(parsed.scheme)
        return Broker(self._refusing(kind(parsed, kind.Options())), group=GROUP)

    def deny(self, queue: str, part: str) -> None:
        self._denied = f"{queue}.{GROUP}.{part}"

    def allow(self) -> None:
        self._denied = ""

    def _refusing(self, adapter: Any) -> Adapter:
        publish = adapter.publish

        async def published(messages: Sequence[Outgoing], timeout: float) -> list[BrokerError | None]:
            refused = [str(one.address) == self._denied for one in messages]
            sent = iter(await publish([one for one, no in zip(messages, refused, strict=True) if not no], timeout))
            return [AccessRefused("told to") if no else next(sent) for no in refused]

        adapter.publish = published
        made: Adapter = adapter
        return made


PLACES: dict[str, Callable[[NativeServer], Place]] = {"redis": Redis, "rabbitmq": Rabbit, "kafka": Kafka}


def place(name: str) -> Iterator[Place]:
    """The body of a fixture."""
    if name == "memory":
        yield Memory()
        return
    server = or_skip(lambda: start_native(name, secured=True))
    yield PLACES[name](server)
    server.stop()
