"""Options in the URL of Kafka, and the timeouts that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor

from msgbus.adapter.options import AdapterOptions
from msgbus.errors import ConfigurationError

__all__ = ["Assignor", "KafkaOptions", "Timing"]

MIN_SESSION_TIMEOUT_SECONDS: Final = 1.0
MAX_SESSION_TIMEOUT_SECONDS: Final = 1800.0
"""Kafka's own ``group.max.session.timeout.ms``."""
DEFAULT_SESSION_TIMEOUT_SECONDS: Final = 45.0
"""Kafka's default since 3.0; with 15 s a group did not survive a broker that stood still for 20 s."""


Assignor = Literal["range", "roundrobin", "sticky"] | type[AbstractPartitionAssignor]


class KafkaOptions(AdapterOptions):
    """``?session_timeout= &assignor= &mechanism=``."""

    session_timeout: float = DEFAULT_SESSION_TIMEOUT_SECONDS
    """Seconds after which a member that was killed is replaced. The broker's ``group.min.session.timeout.ms`` is 6 s
    unless it says otherwise."""
    assignor: Assignor = "roundrobin"
    """How a group shares its partitions; the same in every member. Changing it needs a full stop of the group. One of
    your own is a class, given to connect()."""
    mechanism: Literal["", "plain", "scram-sha-256", "scram-sha-512"] = ""
    """SASL mechanism; used if the URL has a user. Empty is scram-sha-512, which does not send the password."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Timeouts in seconds. Always drain + commit < rebalance < request < session.

    A member has ``rebalance`` to give up its partitions: a drain and a last commit. The broker answers its JoinGroup
    when the slowest member has done so, and aiokafka waits for that answer for ``request``, as for any other. A
    connection that is dead without an error must be noticed, by ``request`` again, before the session expires.
    """

    drain: float
    commit: float
    rebalance: float
    request: float
    session: float
    heartbeat: float

    def __post_init__(self) -> None:
        if not self.drain + self.commit < self.rebalance < self.request < self.session:
            raise ConfigurationError(
                f"kafka: of drain + commit ({self.drain + self.commit:g} s), rebalance ({self.rebalance:g} s), request "
                f"({self.request:g} s) and session ({self.session:g} s) each should be below the next"
            )

    @classmethod
    def of(cls, session: float) -> Timing:
        """Return 18, 5, 30 and 40 s for sessions of 45 s and more; below, all of them shrink with the session.

        Raises ConfigurationError naming the parameter.
        """
        if not MIN_SESSION_TIMEOUT_SECONDS <= session <= MAX_SESSION_TIMEOUT_SECONDS:
            raise ConfigurationError(
                f"kafka: session_timeout={session:g} should be {MIN_SESSION_TIMEOUT_SECONDS:g} to "
                f"{MAX_SESSION_TIMEOUT_SECONDS:g} seconds"
            )
        scale = min(session / DEFAULT_SESSION_TIMEOUT_SECONDS, 1.0)
        return cls(
            drain=18 * scale,
            commit=5 * scale,
            rebalance=30 * scale,
            request=40 * scale,
            session=session,
            # A member learns of a rebalance by its next heartbeat, while the others already wait for it. With a
            # heartbeat every 3 s that wait was the largest part of the pause.
            heartbeat=min(0.5, session / 6),
        )
