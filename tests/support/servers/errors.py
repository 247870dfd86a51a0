"""What can go wrong when a test asks for a real broker.

ServersError
  ServerUnavailable   there is none, and here is how to get one: the fixture skips (fails where CI=true)
  ServerNotReady      it was started and does not answer; carries the end of its log
"""


class ServersError(Exception):
    """Base of everything `tests.support.servers` raises on purpose."""


class ServerUnavailable(ServersError):
    """No server of this broker can be had here.

    `reason` says what was tried and why it failed, `way_out` what a person can do about it.
    """

    def __init__(self, name: str, reason: str, way_out: str) -> None:
        self.name, self.reason, self.way_out = name, reason, way_out
        super().__init__(f"no {name} server for tests: {reason}. Way out: {way_out}")


class ServerNotReady(ServersError):
    """A server was started and did not answer within its time, or ended before it did."""

    def __init__(self, name: str, what: str, log_tail: str) -> None:
        self.name, self.what, self.log_tail = name, what, log_tail
        super().__init__(f"{name} {what}; the end of its log:\n{log_tail or '(empty)'}")
