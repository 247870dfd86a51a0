"""msgbus: one small messaging interface for Kafka, RabbitMQ, Redis Streams and memory, with one proven promise."""

from msgbus.adapter import Lag
from msgbus.broker import Broker, Publication
from msgbus.errors import (
    AccessRefused,
    AdapterNotFound,
    BrokerClosed,
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    DuplicateSubscription,
    InvalidMessage,
    InvalidName,
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
from msgbus.message import Message
from msgbus.registry import connect
from msgbus.subscription import Subscription

__all__ = [
    "AccessRefused",
    "AdapterNotFound",
    "Broker",
    "BrokerClosed",
    "BrokerError",
    "BrokerUnavailable",
    "ConfigurationError",
    "DuplicateSubscription",
    "InvalidMessage",
    "InvalidName",
    "Lag",
    "Message",
    "MessageTooLarge",
    "MsgbusError",
    "NoRoute",
    "Publication",
    "PublishError",
    "PublishUnknown",
    "QueueConflict",
    "QueueNotFound",
    "Subscription",
    "Unsupported",
    "WouldDeadlock",
    "connect",
]
