"""What somebody who runs a server should know of it: found by adapters, said at the start, and by ``msgbus doctor``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Diagnosis", "Finding", "Severity"]

Severity = Literal["error", "warning", "note"]
"""``error``: msgbus does not work with it, or would lose messages in ordinary service. ``warning``: a fault that the
promise covers could break it. ``note``: good to know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing, and the way out."""

    severity: Severity
    what: str
    remedy: str = ""
    """What to do, as an order; empty where nothing need be done."""

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a server is, and what was found."""

    server: str
    """Its name, version and place, nothing secret: ``Redis 7.0.15 at h:6379``."""
    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> bool:
        """No finding is an error."""
        return not any(one.severity == "error" for one in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"server": self.server, "passed": self.passed, "findings": [asdict(one) for one in self.findings]}
