"""Free ports on the loopback interface."""

import random
import socket
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel serves outgoing connections (32768 and up), so that a port is still free
# when a killed server comes back on it.
_FIRST, _LAST = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """That many different ports which nothing holds at this moment."""
    with ExitStack() as held:
        return [_take(held) for _ in range(count)]


def _take(held: ExitStack) -> int:
    while True:
        port = random.SystemRandom().randint(_FIRST, _LAST)
        candidate = held.enter_context(socket.socket())
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            continue
        return port
