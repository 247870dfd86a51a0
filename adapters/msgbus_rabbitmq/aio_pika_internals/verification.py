"""The table of aio-pika's and aiormq's internals that this package uses, checked when the adapter is made.

Each `Requirement` belongs to a `Part`. A part with a fallback is switched off with one warning when a requirement does
not hold. For a part without a fallback, verify() raises ConfigurationError.

Names are checked by verify(), without an event loop. Behaviour is checked by `rehearsal`, once per adapter, before its
first connection.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aio_pika
import aio_pika.abc
import aio_pika.tools
import aiormq
import aiormq.connection
from aiormq import abc
from pamqp.decode import embedded_value

from msgbus.errors import ConfigurationError
from msgbus_rabbitmq.aio_pika_internals.rehearsal import rehearse_batch_publish, rehearse_frame_reader
from msgbus_rabbitmq.aio_pika_internals.vhost import recognizes_vhost_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

__all__ = [
    "BATCH_PUBLISH",
    "BLOCK_REASON",
    "CHANNEL_CALLBACKS",
    "FRAME_READER",
    "REQUIREMENTS",
    "Part",
    "Requirement",
    "Support",
    "verify",
]

logger = logging.getLogger("msgbus.rabbitmq")

SUPPORTED_VERSIONS: Final = ">=10.2,<11"
TESTED_VERSIONS: Final = "aio-pika 10.2 with aiormq 7.2"


class Part(NamedTuple):
    """A feature of this package that depends on internals of aio-pika or aiormq."""

    name: str
    fallback: str = ""
    """What is done without it; empty where the adapter cannot work without it."""


FRAME_READER: Final = Part("fast frame reader", "using aiormq's own reader, about 4x slower")
BATCH_PUBLISH: Final = Part("batch publish", "publishing each message by a write of its own, about 3x slower")
BLOCK_REASON: Final = Part("reason of a blocked connection", "a blocked connection is reported without its reason")
VHOST_REFUSAL: Final = Part(
    "detection of a refused virtual host", "a refused virtual host is reported as BrokerUnavailable"
)
CHANNEL_CALLBACKS: Final = Part(
    "removal of channel callbacks", "each channel that was closed keeps about 4 kB until its connection ends"
)
CONNECTIONS: Final = Part("connections and channels")


class Requirement(NamedTuple):
    """One name of the client's, and whether it is as this package needs it."""

    part: Part
    name: str
    holds: Callable[[], bool]


def _parameters(owner: object, name: str) -> tuple[str, ...]:
    """Return the parameter names of a function; empty if it does not exist."""
    function = getattr(owner, name, None)
    return tuple(inspect.signature(function).parameters) if callable(function) else ()


def _is_coroutine(owner: object, name: str, *parameters: str) -> bool:
    return inspect.iscoroutinefunction(getattr(owner, name, None)) and _parameters(owner, name) == parameters


def _accepts(owner: object, name: str, *parameters: str) -> bool:
    return set(parameters) <= set(_parameters(owner, name))


def _keeps_reader() -> bool:
    stream: Any = object()
    return getattr(aiormq.connection.FrameReceiver(stream), "reader", None) is stream


REQUIREMENTS: Final = (
    Requirement(
        FRAME_READER,
        "Connection.__reader(frame_receiver)",
        lambda: _is_coroutine(aiormq.Connection, "_Connection__reader", "self", "frame_receiver"),
    ),
    Requirement(FRAME_READER, "FrameReceiver.reader", _keeps_reader),
    Requirement(
        FRAME_READER,
        "pamqp.decode.embedded_value(bytes)",
        lambda: embedded_value(b"I\x00\x00\x00\x07") == (5, 7),
    ),
    Requirement(
        BLOCK_REASON,
        "Connection.__handle_connection_blocked(frame)",
        lambda: _is_coroutine(aiormq.Connection, "_Connection__handle_connection_blocked", "self", "frame"),
    ),
    Requirement(VHOST_REFUSAL, "Connection._rpc()'s error", recognizes_vhost_refusal),
    Requirement(
        BATCH_PUBLISH,
        "ChannelFrame(payload, should_close, drain_future)",
        lambda: _parameters(abc, "ChannelFrame") == ("payload", "should_close", "drain_future"),
    ),
    Requirement(BATCH_PUBLISH, "Channel.lock", lambda: "lock" in vars(aiormq.Channel)),
    Requirement(BATCH_PUBLISH, "Channel.create_future()", lambda: hasattr(aiormq.Channel, "create_future")),
    Requirement(
        CHANNEL_CALLBACKS,
        "Channel._channel.close_callback",
        lambda: (
            "_channel" in inspect.get_annotations(aio_pika.Channel)
            and {"channel", "close_callback"} <= inspect.get_annotations(aio_pika.abc.UnderlayChannel).keys()
        ),
    ),
    Requirement(
        CONNECTIONS,
        "aio_pika.Connection(url, client_properties=)",
        lambda: _accepts(aio_pika.Connection, "__init__", "url", "client_properties"),
    ),
    Requirement(
        CONNECTIONS,
        "aio_pika.Connection._on_connection_close(closing)",
        lambda: _is_coroutine(aio_pika.Connection, "_on_connection_close", "self", "closing"),
    ),
    Requirement(
        CONNECTIONS,
        "aio_pika.Connection._on_connected()",
        lambda: _is_coroutine(aio_pika.Connection, "_on_connected", "self"),
    ),
    Requirement(
        CONNECTIONS,
        "aio_pika.Connection.channel(channel_number, publisher_confirms, on_return_raises)",
        lambda: (
            _parameters(aio_pika.Connection, "channel")[1:]
            == ("channel_number", "publisher_confirms", "on_return_raises")
        ),
    ),
    Requirement(
        CONNECTIONS, "aio_pika.Connection.CHANNEL_CLASS", lambda: hasattr(aio_pika.Connection, "CHANNEL_CLASS")
    ),
    Requirement(
        CONNECTIONS,
        "aio_pika.abc.UnderlayConnection(connection, close_callback)",
        lambda: _parameters(aio_pika.abc, "UnderlayConnection") == ("connection", "close_callback"),
    ),
    Requirement(
        CONNECTIONS,
        "aio_pika.tools.OneShotCallback(callback)",
        lambda: _parameters(aio_pika.tools, "OneShotCallback") == ("callback",),
    ),
    Requirement(
        CONNECTIONS,
        "aio_pika.Channel.get_underlay_channel()",
        lambda: _is_coroutine(aio_pika.Channel, "get_underlay_channel", "self"),
    ),
    Requirement(
        CONNECTIONS,
        "TransportFactory.create(url)",
        lambda: _accepts(aiormq.connection.TransportFactory, "create", "url"),
    ),
    Requirement(
        CONNECTIONS,
        "Connection(transport_factory=)",
        lambda: _accepts(aiormq.Connection, "__init__", "transport_factory"),
    ),
    Requirement(
        CONNECTIONS,
        "Connection.connect(client_properties=)",
        lambda: _accepts(aiormq.Connection, "connect", "client_properties"),
    ),
    Requirement(
        CONNECTIONS,
        "Connection.channel(channel_number, publisher_confirms, frame_buffer_size)",
        lambda: (
            _parameters(aiormq.Connection, "channel")[1:4]
            == ("channel_number", "publisher_confirms", "frame_buffer_size")
        ),
    ),
    Requirement(
        CONNECTIONS,
        "Channel(on_return_raises=)",
        lambda: _accepts(aiormq.Channel, "__init__", "on_return_raises"),
    ),
    Requirement(CONNECTIONS, "Connection.ready()", lambda: hasattr(aiormq.Connection, "ready")),
    Requirement(CONNECTIONS, "Connection.is_opened", lambda: hasattr(aiormq.Connection, "is_opened")),
    Requirement(CONNECTIONS, "Channel.closing", lambda: hasattr(aiormq.Channel, "closing")),
    Requirement(
        CONNECTIONS,
        "Channel.basic_ack(multiple=, wait=)",
        lambda: _accepts(aiormq.Channel, "basic_ack", "multiple", "wait"),
    ),
)


class Support:
    """Which parts the installed client supports. Shared by all connections of one adapter."""

    def __init__(self, *, frame_reader: bool = True, batch_publish: bool = True) -> None:
        self.frame_reader = frame_reader
        self.batch_publish = batch_publish
        self._rehearsal: asyncio.Future[None] | None = None

    async def rehearse(self) -> None:
        """Check the behaviour of the client once; switch off, with a warning, the parts that it does not fit."""
        if self._rehearsal is None or self._rehearsal.cancelled():
            self._rehearsal = asyncio.ensure_future(self._rehearse())
        await asyncio.shield(self._rehearsal)

    async def _rehearse(self) -> None:
        if self.frame_reader:
            self.frame_reader = await _passes(FRAME_READER, rehearse_frame_reader())
        if self.batch_publish:
            self.batch_publish = await _passes(BATCH_PUBLISH, rehearse_batch_publish())


async def _passes(part: Part, rehearsal: Awaitable[str]) -> bool:
    if problem := await rehearsal:
        _warn(part, problem)
    return not problem


def verify() -> Support:
    """Check the table against the installed client. Needs no event loop.

    Returns:
        Which of the optional parts can be used. One warning has been logged for each that cannot.

    Raises:
        ConfigurationError: A part without a fallback does not fit the installed version.
    """
    missing: dict[Part, list[str]] = {}
    for part, name in _unmet():
        missing.setdefault(part, []).append(name)
    if names := missing.pop(CONNECTIONS, None):
        raise ConfigurationError(
            f"{_installed()} is not supported: {', '.join(names)} is missing or has changed; "
            f"install aio-pika{SUPPORTED_VERSIONS}, tested with {TESTED_VERSIONS}"
        )
    for part, names in missing.items():
        _warn(part, f"{', '.join(names)} is missing or has changed")
    return Support(frame_reader=FRAME_READER not in missing, batch_publish=BATCH_PUBLISH not in missing)


def _unmet() -> Iterator[tuple[Part, str]]:
    for requirement in REQUIREMENTS:
        try:
            holds = requirement.holds()
        except Exception:  # noqa: BLE001 - a check that cannot be carried out is a name that has changed
            holds = False
        if not holds:
            yield requirement.part, requirement.name


def _warn(part: Part, problem: str) -> None:
    logger.warning(
        "%s is not supported by the %s (%s); %s. Tested with %s",
        _installed(),
        part.name,
        problem,
        part.fallback,
        TESTED_VERSIONS,
    )


def _installed() -> str:
    return " with ".join(f"{package} {_version(package)}" for package in ("aio-pika", "aiormq"))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of an unknown version"
