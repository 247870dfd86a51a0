"""Profile of hypothesis for all unit tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How fast an example is made or tried says how busy the machine is, and nothing of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
