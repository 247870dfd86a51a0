"""Diagnosis of a server, for its operators: adapters find it, ``connect()`` logs it, ``msgbus doctor`` shows it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Diagnosis", "Finding", "Severity"]

Severity = Literal["error", "warning", "note"]
"""How serious a finding is.

- ``error``: msgbus does not work with this server, or would lose messages in normal operation.
- ``warning``: messages may be lost or repeated by a fault that msgbus otherwise survives.
- ``note``: information.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of a server, and its remedy."""

    severity: Severity
    """How serious it is."""
    what: str
    """The problem, in words."""
    remedy: str = ""
    """What to do, in the imperative; empty if nothing needs to be done."""

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a server is, and the findings."""

    server: str
    """Name, version and address, without secrets: ``Redis 7.0.15 at h:6379``."""
    findings: tuple[Finding, ...] = ()
    """All findings."""

    @property
    def passed(self) -> bool:
        """Whether no finding is an error."""
        return not any(one.severity == "error" for one in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as a dict for JSON."""
        return {"server": self.server, "passed": self.passed, "findings": [asdict(one) for one in self.findings]}
