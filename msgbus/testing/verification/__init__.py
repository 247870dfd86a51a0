"""Verification: record what brokers do, under faults, and check that the promise was kept.

A broker made by :func:`recorded` writes its events into the file of a :class:`Recorder` or into a list.
:func:`check` is a pure function over all events of all processes. For files there is a command:
``python -m msgbus.testing.verification FILE…``.
"""

from msgbus.testing.verification.checker import check
from msgbus.testing.verification.events import Event, Kind, UnreadableRecording, read
from msgbus.testing.verification.recorder import Recorder
from msgbus.testing.verification.recording import EventWriter, RecordedBroker, recorded
from msgbus.testing.verification.report import report
from msgbus.testing.verification.violation import Violation, ViolationKind

__all__ = [
    "Event",
    "EventWriter",
    "Kind",
    "RecordedBroker",
    "Recorder",
    "UnreadableRecording",
    "Violation",
    "ViolationKind",
    "check",
    "read",
    "recorded",
    "report",
]
