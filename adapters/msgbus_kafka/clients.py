"""Clients of aiokafka: created here only, with msgbus' patches and types, and not started yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient

from msgbus_kafka.aiokafka_internals.consumer_state import network_client
from msgbus_kafka.aiokafka_internals.install import install_patches
from msgbus_kafka.aiokafka_internals.producer_path import install_producer_path

if TYPE_CHECKING:
    from msgbus_kafka.aiokafka_internals.producer_path import Producer
    from msgbus_kafka.client_types.consumer import ConsumerClient
    from msgbus_kafka.client_types.network import NetworkClient
    from msgbus_kafka.connection import ConnectionSettings

__all__ = ["new_consumer", "new_network_client", "new_producer"]

CLIENT_ID: Final = "msgbus"
"""The name of each client in the logs and metrics of the servers."""


def new_network_client(access: ConnectionSettings, **settings: object) -> NetworkClient:
    """Return an AIOKafkaClient with the parameters ``settings``. Raises ConfigurationError for bad certificates."""
    arguments = {**access.client_arguments(), "client_id": CLIENT_ID, **settings}
    client = cast("NetworkClient", AIOKafkaClient(**arguments))
    install_patches(client, access.servers, access.fetch_metadata)
    return client


def new_consumer(access: ConnectionSettings, **settings: object) -> ConsumerClient:
    """Return an AIOKafkaConsumer that commits only when it is told to. Raises as new_network_client()."""
    arguments = {**access.client_arguments(), "client_id": CLIENT_ID, "enable_auto_commit": False, **settings}
    consumer = cast("ConsumerClient", AIOKafkaConsumer(**arguments))
    install_patches(network_client(consumer), access.servers, access.fetch_metadata)
    return consumer


def new_producer(access: ConnectionSettings, **settings: object) -> Producer:
    """Return an AIOKafkaProducer with the accumulator of its path. Raises as new_network_client()."""
    arguments = {**access.client_arguments(), "client_id": CLIENT_ID, **settings}
    producer = cast("Producer", AIOKafkaProducer(**arguments))
    install_patches(producer.client, access.servers, access.fetch_metadata)
    install_producer_path(producer)
    return producer
