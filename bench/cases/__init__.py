"""The cases that are measured. Each is a coroutine over the methods of a contender, and says why it is fair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.cases import consuming, own, publishing, standing, starting
from bench.cases.case import OURS, Case

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORT: Final = ("raw", "msgbus")
VARIANTS: Final = ("raw", "raw batch", "faststream", "msgbus")

CASES: Final[Mapping[str, Case]] = {
    "import": Case(starting.importing, {"memory": 10}, who=OURS, least=3),
    "start to first message": Case(starting.first_message, {"redis": 1, "rabbitmq": 1, "kafka": 1}, least=1),
    "there and back": Case(consuming.there_and_back, {"memory": 30_000}, who=OURS),
    "one after another": Case(consuming.through, {"memory": 10_000}, who=OURS, quick=1),
    "keyed": Case(consuming.through, {"memory": 10_000}, at_once=100, who=OURS, quick=1),
    "publish, awaiting each": Case(
        publishing.awaiting,
        {"memory": 50_000, "redis": 10_000, "rabbitmq": 1500, "kafka": 5000},
        apart={"memory": OURS},
    ),
    "publish, 100 in flight": Case(
        publishing.in_flight_100,
        {"redis": 20_000, "rabbitmq": 8000, "kafka": 80_000},
        apart={"kafka": ("raw", "raw enveloped", "floor", "faststream", "msgbus")},
        share={("redis", "msgbus"): 2},
    ),
    "publish, 1000 in flight": Case(
        publishing.in_flight_1000,
        {"redis": 20_000, "rabbitmq": 8000, "kafka": 30_000},
        share={("redis", "msgbus"): 2, ("redis", "faststream"): 0.5, ("kafka", "faststream"): 0.7},
        quick_who=SHORT,
    ),
    "publish_many": Case(
        publishing.many,
        {"redis": 60_000, "rabbitmq": 10_000, "kafka": 50_000},
        share={("redis", "faststream"): 0.4, ("rabbitmq", "faststream"): 0.6, ("kafka", "faststream"): 0.6},
        quick_who=SHORT,
    ),
    "consume, trivial callback": Case(
        consuming.trivial,
        {"redis": 60_000, "rabbitmq": 10_000, "kafka": 60_000},
        who=VARIANTS,
        apart={"kafka": (*VARIANTS[:3], "faststream auto-commit", "msgbus")},
        share={
            ("redis", "raw"): 0.2,
            ("redis", "faststream"): 0.06,
            ("rabbitmq", "faststream"): 0.5,
            ("rabbitmq", "msgbus"): 5,
            ("kafka", "raw"): 0.005,
            ("kafka", "faststream"): 0.005,
            ("kafka", "faststream auto-commit"): 0.5,
        },
    ),
    "consume, 10 ms, 1000 keys": Case(
        consuming.keyed,
        {"redis": 10_000, "rabbitmq": 10_000, "kafka": 15_000},
        at_once=100,
        share={("redis", "faststream"): 0.4, ("rabbitmq", "faststream"): 0.5, ("kafka", "faststream"): 0.05},
    ),
    "latency at 200 a second": Case(
        consuming.latency,
        {"redis": 300, "rabbitmq": 300, "kafka": 300},
        apart={"kafka": ("raw ticking", "faststream auto-commit", "msgbus")},
    ),
    "CPU by owner": Case(
        own.cpu_by_owner, {"memory": 50_000, "redis": 50_000, "rabbitmq": 50_000, "kafka": 50_000}, who=OURS
    ),
    "10,000 retries waiting": Case(
        standing.retries, {"redis": 10_000, "rabbitmq": 10_000, "kafka": 10_000}, who=OURS, once=True
    ),
    "a backlog of 1,000,000": Case(
        standing.backlog,
        {"redis": 1_000_000, "rabbitmq": 1_000_000, "kafka": 1_000_000},
        who=OURS,
        quick=0.01,
        once=True,
        patience=600,
    ),
    "50 idle queues": Case(
        standing.idle,
        {"redis": 50, "rabbitmq": 50, "kafka": 50},
        quick=0.1,
        quick_who=OURS,
        least=5,
        once=True,
        patience=200,
    ),
}
