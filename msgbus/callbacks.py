"""Checks of callbacks: an async function that can be called with one Message, and that expects one. Pure."""

from __future__ import annotations

import functools
import inspect
import re
from types import MethodType, UnionType
from typing import Annotated, Any, Final, ForwardRef, TypeVar, Union, get_args, get_origin, get_type_hints

from msgbus.errors import ConfigurationError
from msgbus.message import Message

__all__ = ["check_callback"]

_BY_NAME: Final = re.compile(r"['\"]?([\w.]+\.)?(Message|Any|object)(\s*\|\s*None)?['\"]?")
"""Annotations that are right although their names are imported for type checkers only."""


def check_callback(where: str, callback: object) -> None:
    """Check that ``callback`` is an async function of one message.

    A parameter without an annotation is welcome. A decorated function is not looked at further: only its decorator
    knows what it is called with.

    Args:
        where: What it is for, for the error's text.
        callback: A function, method, partial, or an object with an async ``__call__``.

    Raises:
        ConfigurationError: It is not async, cannot be called with one argument, or expects something else.
    """
    of_object = getattr(callback, "__call__", None)  # noqa: B004 - an object with an async __call__ is welcome
    if not (inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(of_object)):
        raise ConfigurationError(f"{where}: the callback must be an async function of one message")
    function = _function(callback)
    if not callable(callback) or hasattr(function, "__wrapped__"):
        return
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):
        return  # no Python function: nothing is known of it
    try:
        bound = signature.bind(None)
    except TypeError as error:
        raise ConfigurationError(
            f"{where}: the callback must be an async function of one message: called with one: {error}"
        ) from None
    parameter = signature.parameters[next(iter(bound.arguments))]
    if not _expects_message(parameter.annotation, function):
        name, annotation = parameter.name, inspect.formatannotation(parameter.annotation)
        raise ConfigurationError(
            f"{where}: the callback gets a Message, and its parameter {name!r} is annotated {annotation}; annotate it "
            "Message, and read the body by message.parse(), json(), text or body"
        )


def _function(callback: object) -> object:
    """Return the function whose names the annotations use."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    if isinstance(callback, MethodType):
        return callback.__func__
    return callback if inspect.isfunction(callback) else getattr(type(callback), "__call__", callback)  # noqa: B004


def _expects_message(annotation: Any, function: object) -> bool:
    if not isinstance(annotation, str):
        return _is_message(annotation)
    holder = type("holder", (), {"__annotations__": {"parameter": annotation}})
    try:
        (resolved,) = get_type_hints(holder, getattr(function, "__globals__", None), include_extras=True).values()
    except Exception:  # noqa: BLE001 - any error of any expression: a name that is imported for type checkers only
        return _BY_NAME.fullmatch(annotation) is not None
    return _is_message(resolved)


def _is_message(annotation: Any) -> bool:
    """Return whether a Message fits the annotation, as far as it can be told without a type checker."""
    if any(annotation is one for one in (inspect.Parameter.empty, Any, object, Message)):
        return True
    origin = get_origin(annotation)
    if isinstance(annotation, str | ForwardRef):
        name = annotation if isinstance(annotation, str) else annotation.__forward_arg__
        fits = _BY_NAME.fullmatch(name) is not None
    elif isinstance(annotation, TypeVar):
        fits = annotation.__bound__ is None or _is_message(annotation.__bound__)
    elif origin is Annotated:
        fits = _is_message(get_args(annotation)[0])
    elif origin is Union or origin is UnionType:
        fits = any(_is_message(one) for one in get_args(annotation))
    elif hasattr(annotation, "__value__"):  # type Alias = …
        fits = _is_message(annotation.__value__)
    else:
        fits = bool(getattr(annotation, "_is_protocol", False))  # by structure: a type checker compares it
    return fits
