"""msgbus on RabbitMQ.

A queue is a durable topic exchange of its name, and a group is a durable quorum queue ``queue.group`` bound to it with
``#``, so that every group gets a copy and the members of one compete. A publish is persistent, mandatory and done when
the publisher confirm has come; unroutable is `NoRoute`, and a retry or dead-letter queue is reached through the default
exchange. A member has a connection for consuming and one for publishing, and on the first a channel with one consumer
for each queue: that channel is the session, its prefetch the limit, closing it gives back in order what is not
acknowledged. What a quorum queue gives up on (``x-delivery-limit``) it dead-letters, at least once, to
``queue.group.dlq``.
"""

from msgbus_rabbitmq.adapter import RabbitAdapter
from msgbus_rabbitmq.options import RabbitOptions

__all__ = ["RabbitAdapter", "RabbitOptions"]
