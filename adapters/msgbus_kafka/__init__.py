"""Kafka: topics, partitions, consumer groups, offsets.

A queue is a topic of the same name, a group is a consumer group, and a message is a record: its key chooses the
partition (murmur2), its id and time are record headers. Publishing is an idempotent produce with ``acks=all``. A member
is one consumer of the group over all its topics; each assigned partition in one generation is a session. Acknowledging
moves a watermark per partition, which is committed every 200 ms and when the partition is revoked.
"""

from msgbus_kafka.adapter import KafkaAdapter
from msgbus_kafka.options import KafkaOptions

__all__ = ["KafkaAdapter", "KafkaOptions"]
