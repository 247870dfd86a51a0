"""The contenders: one module per broker and library, found by `named()`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.contender import Contender

MODULES: Final[Mapping[str, Mapping[str, str]]] = {
    "memory": {"msgbus": "msgbus_:Msgbus"},
    "redis": {
        "raw": "redis_raw:RawRedis",
        "raw batch": "redis_raw:RawRedisBatch",
        "faststream": "redis_faststream:FastStreamRedis",
        "msgbus": "msgbus_:Msgbus",
    },
    "rabbitmq": {
        "raw": "rabbitmq_raw:RawRabbit",
        "raw batch": "rabbitmq_raw:RawRabbitBatch",
        "faststream": "rabbitmq_faststream:FastStreamRabbit",
        "msgbus": "msgbus_:Msgbus",
    },
    "kafka": {
        "raw": "kafka_raw:RawKafka",
        "raw batch": "kafka_raw:RawKafkaBatch",
        "raw ticking": "kafka_raw:RawKafkaTicking",
        "raw enveloped": "kafka_raw:RawKafkaEnveloped",
        "floor": "kafka_floor:KafkaFloor",
        "faststream": "kafka_faststream:FastStreamKafka",
        "faststream auto-commit": "kafka_faststream:FastStreamKafkaAuto",
        "msgbus": "msgbus_:Msgbus",
    },
}
"""Broker -> contender -> module and class. A module is imported only in the process that measures its figure."""


def named(broker: str, name: str) -> type[Contender]:
    """Return the contender's class."""
    module, _, kind = MODULES[broker][name].partition(":")
    found: type[Contender] = getattr(import_module(f"bench.contenders.{module}"), kind)
    return found
