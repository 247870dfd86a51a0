"""Waiting for something to become true, with a deadline."""

import time
from collections.abc import Callable

_PAUSE = 0.02  # seconds between two questions


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again until it is true (True) or the time is over (False)."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE)
    return True
