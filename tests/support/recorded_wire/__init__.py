"""Records of everything that msgbus writes to each server: the scenario, raw clients, and the comparison.

``tests/data/recorded/*.json`` were made before modules, classes and functions were moved and renamed. Renew them only
when the wire format is changed on purpose: see ``__main__``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.recorded_wire.kafka_raw import KafkaRaw
from tests.support.recorded_wire.rabbitmq_raw import RabbitmqRaw
from tests.support.recorded_wire.redis_raw import RedisRaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.recorded_wire.raw import Raw

__all__ = ["RAWS"]

RAWS: Final[Mapping[str, type[Raw]]] = {"redis": RedisRaw, "rabbitmq": RabbitmqRaw, "kafka": KafkaRaw}
