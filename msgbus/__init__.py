"""msgbus: one small messaging interface for Kafka, RabbitMQ, Redis Streams and memory, with one proven promise."""

from msgbus.adapter import Lag
from msgbus.adapter.diagnostics import Checkup, Finding
from msgbus.broker import Broker
from msgbus.consuming.session_metrics import SessionCounts
from msgbus.errors import (
    AccessRefused,
    AdapterNotFound,
    BrokerClosed,
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    DuplicateSubscription,
    GroupActive,
    InvalidMessage,
    InvalidName,
    InvalidPayload,
    LettersBusy,
    LettersLost,
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
from msgbus.operations.dead_letters import Account, DeadLetters, Filter, Letter
from msgbus.operations.history import History, Replay
from msgbus.outage_errors import network_failure
from msgbus.publishing.publication import Publication
from msgbus.registry import connect
from msgbus.retry import Backoff, Reject, RetryLater, RetryPolicy
from msgbus.subscription import Subscription

__all__ = [
    "AccessRefused",
    "Account",
    "AdapterNotFound",
    "Backoff",
    "Broker",
    "BrokerClosed",
    "BrokerError",
    "BrokerUnavailable",
    "Checkup",
    "ConfigurationError",
    "DeadLetters",
    "DuplicateSubscription",
    "Filter",
    "Finding",
    "GroupActive",
    "Health",
    "History",
    "InvalidMessage",
    "InvalidName",
    "InvalidPayload",
    "Lag",
    "Letter",
    "LettersBusy",
    "LettersLost",
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
    "Reject",
    "Replay",
    "RetryLater",
    "RetryPolicy",
    "SessionCounts",
    "Subscription",
    "Unsupported",
    "WouldDeadlock",
    "connect",
    "network_failure",
]
