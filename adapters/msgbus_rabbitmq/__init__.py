"""The adapter for RabbitMQ 3.10 or later.

How the words of msgbus map to RabbitMQ's:

- A *queue* of msgbus is a durable topic **exchange** of that name.
- A *group* is a durable quorum **queue** named ``queue.group``, bound to that exchange with ``#``. So every group gets
  a copy of each message, and the members of a group compete for them.
- ``exchange=`` in msgbus is a prefix of queue names. It does not name an exchange of RabbitMQ's.
- A retry queue or dead-letter queue is a quorum queue that messages reach through the default exchange.
- A *session* is one AMQP channel with one consumer on one queue. Its prefetch is the limit of deliveries in flight.
  Closing the channel gives back, in order, what is not acknowledged.

A publish is persistent and mandatory. It has succeeded when the publisher confirm has arrived. An unroutable message
is reported as `NoRoute`. A member has one connection for consuming and one for publishing. When a quorum queue gives
up on a message (``x-delivery-limit``), the server dead-letters it, at least once, to ``queue.group.dlq``.
"""

from msgbus_rabbitmq.adapter import RabbitAdapter
from msgbus_rabbitmq.options import RabbitOptions

__all__ = ["RabbitAdapter", "RabbitOptions"]
