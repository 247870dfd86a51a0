"""The RabbitMQ adapter's URL parameters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from msgbus.adapter.options import AdapterOptions

__all__ = ["RabbitOptions"]


class RabbitOptions(AdapterOptions):
    """RabbitMQ's own URL parameters."""

    consumer_timeout: Annotated[float, Field(ge=1)] = 1800.0
    """Seconds after which the server takes back what a member has not acknowledged; its own setting has the same name,
    and cannot be asked for."""
