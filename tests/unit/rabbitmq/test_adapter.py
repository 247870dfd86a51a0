"""What RabbitAdapter does without a server."""

from __future__ import annotations

import pytest

from msgbus.adapter import QueueSpec
from msgbus.adapter.address import Address
from msgbus.adapter.options import AdapterOptions
from msgbus.adapter.url import BrokerURL
from msgbus.errors import ConfigurationError, MsgbusError, Unsupported
from msgbus_rabbitmq import RabbitAdapter, RabbitOptions

NOWHERE = BrokerURL.parse("rabbitmq://127.0.0.1:1")


def test_a_url_without_a_host_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="host"):
        RabbitAdapter(BrokerURL.parse("rabbitmq://"), RabbitOptions())


def test_options_of_another_adapter_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="RabbitOptions"):
        RabbitAdapter(NOWHERE, AdapterOptions())


@pytest.mark.parametrize("wrong", [{"partitions": 3}, {"retention": 60.0}, {"compact": True}])
async def test_settings_that_rabbitmq_has_not_are_refused_before_anything_is_asked(wrong: dict[str, object]) -> None:
    adapter = RabbitAdapter(NOWHERE, RabbitOptions())
    with pytest.raises(Unsupported, match="q"):
        await adapter.create_queues([QueueSpec(address=Address("q"), **wrong)])  # type: ignore[arg-type]


async def test_no_queues_and_closing_need_no_server() -> None:
    adapter = RabbitAdapter(NOWHERE, RabbitOptions())
    await adapter.create_queues([])
    await adapter.open_dead_letters(Address("q", "g", "dlq"))
    await adapter.close()


async def test_a_server_that_is_not_there_is_an_error_of_ours() -> None:
    adapter = RabbitAdapter(NOWHERE, RabbitOptions())
    for call in (adapter.connect, adapter.ping, adapter.diagnose):
        with pytest.raises(MsgbusError, match=r"127\.0\.0\.1"):
            await call()
    with pytest.raises(MsgbusError, match=r"127\.0\.0\.1"):
        await adapter.lag(Address("q"), "g")
    await adapter.close()
