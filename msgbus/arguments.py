"""Checks of arguments that are easily given in another form: lengths of time, and lists of names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from msgbus.errors import ConfigurationError

__all__ = ["CENTURY_SECONDS", "check_listed", "to_seconds"]

CENTURY_SECONDS: Final = 100 * 366 * 86_400.0
"""Longest time that an argument may say: every server can store it in milliseconds."""


def to_seconds(where: str, name: str, value: object, *, least: float, most: float = CENTURY_SECONDS) -> float:
    """Return a length of time in seconds.

    Args:
        where: What the argument concerns, for the error's text.
        name: The argument's name.
        value: A number of seconds or a timedelta.
        least: The shortest time, in seconds.
        most: The longest time, in seconds.

    Raises:
        ConfigurationError: It is neither, or out of range.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not least <= seconds <= most:
        raise ConfigurationError(
            f"{where}: {name} must be seconds or a timedelta, from {least:g} to {most:g} s, not {value!r}"
        )
    return float(seconds)


def check_listed(where: str, name: str, values: object, example: str) -> None:
    """Check that an argument of several values is not a single text, whose letters would be the values, nor a mapping.

    Raises:
        ConfigurationError: It is; the text shows ``example`` as the right form.
    """
    single = isinstance(values, str | bytes | bytearray | memoryview | Mapping)
    if single or not isinstance(values, Iterable):
        kind = type(values).__name__  # pyright: ignore[reportUnknownArgumentType]
        raise ConfigurationError(f"{where}: {name} must be a list, such as {example}, not {kind}")
