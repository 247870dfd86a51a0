"""All uses of the internals of aio-pika and of aiormq, its protocol layer.

Replaced methods, private names and classes that depend on undocumented parts are here. No other module of this package
touches a private name of aio-pika, aiormq or pamqp. `verification` lists what is used and checks it when the adapter is
made. A part that has a fallback is switched off with one warning; without a fallback the adapter raises
ConfigurationError.

aio-pika calls aiormq's connection and channel under its own the *underlay*.
"""

from msgbus_rabbitmq.aio_pika_internals.connection import Channel, Connection
from msgbus_rabbitmq.aio_pika_internals.verification import Support, verify

__all__ = ["Channel", "Connection", "Support", "verify"]
