"""URL parameters of the RabbitMQ adapter."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from msgbus.adapter.options import AdapterOptions

__all__ = ["RabbitOptions"]


class RabbitOptions(AdapterOptions):
    """URL parameters that only RabbitMQ has."""

    consumer_timeout: Annotated[float, Field(ge=1)] = 1800.0
    """Seconds after which the server takes back what a member has not acknowledged.

    Set it to the server's setting of the same name, which AMQP cannot read.
    """
