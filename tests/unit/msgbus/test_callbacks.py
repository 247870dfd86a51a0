"""Which callbacks are accepted, by what their parameter is annotated with."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional, Protocol, TypeVar
from unittest.mock import AsyncMock

import pytest

from msgbus import ConfigurationError, connect
from msgbus import message as messages
from msgbus.callbacks import check_callback
from msgbus.message import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from msgbus import Message as Unimportable

AnyMessage = TypeVar("AnyMessage", bound="Message")
Alias = Message
NOTHING: Any = None


@dataclass
class Purchase:
    cents: int


class HasBody(Protocol):
    @property
    def body(self) -> bytes: ...


async def plain(message: Message) -> None: ...
async def unannotated(message) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001
async def anything(message: Any) -> None: ...
async def an_object(message: object) -> None: ...
async def qualified(message: messages.Message) -> None: ...
async def aliased(message: Alias) -> None: ...
async def optional(message: Message | None) -> None: ...
async def old_optional(message: Optional[Message]) -> None: ...  # noqa: UP045
async def either(message: Purchase | Message) -> None: ...
async def annotated(message: Annotated[Message, "of a purchase"]) -> None: ...
async def generic(message: AnyMessage) -> AnyMessage: ...  # type: ignore[empty-body]
async def structural(message: HasBody) -> None: ...
async def quoted(message: "Message") -> None: ...  # noqa: UP037
async def more(message: Message, *, retries: int = 3) -> None: ...
async def many(*messages: Message) -> None: ...
async def bound_first(ledger: dict[str, int], message: Message) -> None: ...


def at_runtime(annotation: Any) -> Callable[[Any], Awaitable[None]]:
    """A callback of a module without ``from __future__ import annotations``."""

    async def callback(message: Any) -> None: ...

    callback.__annotations__ = {"message": annotation}
    return callback


class Service:
    async def method(self, message: Message) -> None: ...
    async def wrong_method(self, purchase: Purchase) -> None: ...

    @staticmethod
    async def static(message: Message) -> None: ...

    @classmethod
    async def of_class(cls, message: Message) -> None: ...


class Called:
    async def __call__(self, message: Message) -> None: ...


class WronglyCalled:
    async def __call__(self, purchase: Purchase) -> None: ...


def typed(handler: Callable[[Purchase], Awaitable[None]]) -> Callable[[Message], Awaitable[None]]:
    """A decorator of the user's that makes something of the message."""

    @functools.wraps(handler)
    async def wrapper(purchase: Message) -> None:
        await handler(purchase.parse(Purchase))

    return wrapper


@typed
async def decorated(purchase: Purchase) -> None: ...


@pytest.mark.parametrize(
    "callback",
    [
        *(plain, unannotated, anything, an_object, qualified, aliased, optional, old_optional, either, annotated),
        *(generic, structural, quoted, more, many, decorated, AsyncMock()),
        *(Service().method, Service.static, Service().static, Service.of_class, Called()),
        *(functools.partial(bound_first, {}), functools.partial(functools.partial(bound_first), {})),
        *(at_runtime(Message), at_runtime("Message"), at_runtime(Message | None), at_runtime(Optional["Message"])),
    ],
)
def test_a_callback_of_a_message_is_accepted(callback: object) -> None:
    check_callback("queue q", callback)


def of_another_module(annotation: str, **names: object) -> Callable[[Any], Awaitable[None]]:
    """A callback of a module with ``from __future__ import annotations`` and these names."""
    module: dict[str, Any] = dict(names)
    exec("async def callback(message): ...", module)  # noqa: S102 - a module of its own
    callback: Callable[[Any], Awaitable[None]] = module["callback"]
    callback.__annotations__ = {"message": annotation}
    return callback


def test_a_name_that_is_imported_for_type_checkers_only_is_taken_by_its_name() -> None:
    check_callback("queue q", of_another_module("Message"))
    check_callback("queue q", of_another_module("msgbus.Message | None"))


def test_another_class_of_the_same_name_is_refused() -> None:
    """A service may have a model of its own named Message."""
    with pytest.raises(ConfigurationError, match="'message' is annotated"):
        check_callback("queue q", of_another_module("Message", Message=Purchase))


async def a_purchase(purchase: Purchase) -> None: ...
async def text(body: str) -> None: ...
async def raw(body: bytes) -> None: ...
async def a_list(purchases: list[Purchase]) -> None: ...
async def either_wrong(purchase: Purchase | None) -> None: ...
async def annotated_wrong(purchase: Annotated[Purchase, Message]) -> None: ...
async def nothing(nothing: None) -> None: ...
async def unresolvable(message: Unimportable) -> None: ...
async def misspelt(message: Mesage) -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def bound_wrong(message: Message, purchase: Purchase) -> None: ...


@pytest.mark.parametrize(
    "callback",
    [
        *(a_purchase, text, raw, a_list, either_wrong, annotated_wrong, nothing, unresolvable, misspelt),
        *(Service().wrong_method, WronglyCalled(), functools.partial(bound_wrong, NOTHING)),
        *(at_runtime(Purchase), at_runtime("Purchase"), at_runtime(dict[str, Any]), at_runtime([Message])),
    ],
)
def test_a_callback_of_something_else_is_refused_and_told_what_it_gets(callback: object) -> None:
    with pytest.raises(ConfigurationError, match=r"queue q: the callback gets a Message, and its parameter '\w+'"):
        check_callback("queue q", callback)


async def none() -> None: ...
async def two(message: Message, session: object) -> None: ...
async def by_keyword(*, message: Message) -> None: ...


@pytest.mark.parametrize("callback", [none, two, by_keyword, functools.partial(plain, NOTHING), Service.method])
def test_a_callback_that_cannot_be_called_with_one_message_is_refused(callback: object) -> None:
    with pytest.raises(ConfigurationError, match="queue q: the callback must be an async function of one message"):
        check_callback("queue q", callback)


@pytest.mark.parametrize("callback", [print, lambda message: message, Purchase, None, "award", Purchase(1)])
def test_what_is_not_async_is_refused(callback: object) -> None:
    with pytest.raises(ConfigurationError, match="must be an async function"):
        check_callback("queue q", callback)


async def test_it_is_checked_when_consuming_and_decorating() -> None:
    broker = connect("memory://", group="g")
    with pytest.raises(ConfigurationError, match=r"queue purchases: .*'purchase' is annotated"):
        await broker.consume("purchases", a_purchase)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"queue purchases: .*'purchase' is annotated"):
        broker.consumes("purchases")(a_purchase)  # type: ignore[type-var]
