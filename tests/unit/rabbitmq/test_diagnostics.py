"""Findings from what a RabbitMQ server reports of itself, and from a publish that it does not confirm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.errors import AccessRefused, BrokerUnavailable, MsgbusError
from msgbus_rabbitmq import diagnostics as rabbitmq

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aio_pika import Message


class Link:
    """A connection to a server that ends each publish with ``error``."""

    servers = "h:5672"
    where = "rabbitmq h:5672"

    def __init__(self, error: MsgbusError | None = None, blocked_by: str = "") -> None:
        self.published: list[str] = []
        self._error = error
        self._connection = SimpleNamespace(
            server_properties={"product": b"RabbitMQ", "version": b"3.10.8"}, blocked_by=blocked_by, ready=self._ready
        )

    async def _ready(self) -> None:
        """Return at once: the server does not block this connection."""

    async def ensure_connected(self) -> Any:
        return self._connection

    async def channel(self, *, confirms: bool) -> Any:
        assert confirms
        return SimpleNamespace(default_exchange=SimpleNamespace(publish=self._publish))

    async def _publish(self, message: Message, routing_key: str, *, mandatory: bool) -> None:
        assert (message.body, mandatory) == (b"", False)
        self.published.append(routing_key)

    async def bounded(self, call: Awaitable[Any], doing: str, seconds: float) -> Any:
        assert doing
        assert seconds > 0
        await call
        if self._error is not None:
            raise self._error


def link(error: MsgbusError | None = None) -> Any:
    return Link(error)


@pytest.mark.parametrize(
    ("version", "old"), [("3.9.29", True), ("3.10.0", False), ("3.13.0-rc.1", False), ("4.0.5", False), ("", False)]
)
def test_a_rabbitmq_is_old_by_its_numbers(version: str, old: bool) -> None:
    assert [one.severity for one in rabbitmq.findings({"version": version})] == ["error"] * old


async def test_a_server_that_confirms_two_publishes_to_no_queue_has_no_findings() -> None:
    healthy = link()
    diagnosis = await rabbitmq.diagnose(healthy)
    assert (diagnosis.server, diagnosis.findings) == ("RabbitMQ 3.10.8 at h:5672", ())
    assert len(healthy.published) == 2
    assert healthy.published[0].startswith("msgbus.doctor.")


async def test_a_user_who_may_not_publish_to_the_default_exchange_is_a_finding() -> None:
    diagnosis = await rabbitmq.diagnose(link(AccessRefused("write refused")))
    assert diagnosis.findings == (rabbitmq.PUBLISH_REFUSED_FINDING,)


async def test_a_server_that_blocks_publishes_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async def reason(_: object) -> str:
        return "low on memory"

    monkeypatch.setattr(rabbitmq, "why_blocked", reason)
    (found,) = (await rabbitmq.diagnose(link(BrokerUnavailable("no answer")))).findings
    assert found.severity == "error"
    assert found.what == "the server takes no publishes: low on memory"


async def test_a_server_that_does_not_answer_and_blocks_nothing_is_unavailable() -> None:
    with pytest.raises(BrokerUnavailable, match="no answer"):
        await rabbitmq.diagnose(link(BrokerUnavailable("no answer")))
