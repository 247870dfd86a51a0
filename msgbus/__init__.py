"""msgbus: one small messaging interface for Kafka, RabbitMQ, Redis Streams and memory, with one proven promise."""

from msgbus.adapter import Lag
from msgbus.adapter.diagnostics import Diagnosis, Finding
from msgbus.broker import Broker
from msgbus.consuming.session_metrics import SessionCounts
from msgbus.errors import (
    AccessRefused,
    AdapterNotFound,
    BrokerClosed,
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    DeadLetterLockLost,
    DeadLettersLocked,
    DuplicateSubscription,
    GroupActive,
    InvalidMessage,
    InvalidName,
    InvalidPayload,
    MessageTooLarge,
    MsgbusError,
    NoRoute,
    PublishError,
    PublishUnknown,
    QueueConflict,
    QueueNotFound,
    Unsupported,
    WouldDeadlock,
)
from msgbus.health import Health, QueueHealth
from msgbus.message import Message
from msgbus.operations.dead_letters import DeadLetter, DeadLetterFilter, DeadLetters, RedriveResult
from msgbus.operations.history import History, ReplayResult
from msgbus.outage_errors import network_failure
from msgbus.publishing.publication import Publication
from msgbus.registry import connect
from msgbus.retry import Backoff, Reject, RetryLater, RetryPolicy
from msgbus.subscription import Subscription

__all__ = [
    "AccessRefused",
    "AdapterNotFound",
    "Backoff",
    "Broker",
    "BrokerClosed",
    "BrokerError",
    "BrokerUnavailable",
    "ConfigurationError",
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetterLockLost",
    "DeadLetters",
    "DeadLettersLocked",
    "Diagnosis",
    "DuplicateSubscription",
    "Finding",
    "GroupActive",
    "Health",
    "History",
    "InvalidMessage",
    "InvalidName",
    "InvalidPayload",
    "Lag",
    "Message",
    "MessageTooLarge",
    "MsgbusError",
    "NoRoute",
    "Publication",
    "PublishError",
    "PublishUnknown",
    "QueueConflict",
    "QueueHealth",
    "QueueNotFound",
    "RedriveResult",
    "Reject",
    "ReplayResult",
    "RetryLater",
    "RetryPolicy",
    "SessionCounts",
    "Subscription",
    "Unsupported",
    "WouldDeadlock",
    "connect",
    "network_failure",
]
