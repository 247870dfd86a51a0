"""All uses of aiormq's internals: replaced methods, private names and classes that depend on its undocumented parts.

No other module of this package touches a private name of aiormq or pamqp. `verification` lists what is used and checks
it when the adapter is made. A part that has a fallback is switched off with one warning; without a fallback the
adapter raises ConfigurationError.
"""

from msgbus_rabbitmq.aiormq_internals.verification import Support, verify

__all__ = ["Support", "verify"]
