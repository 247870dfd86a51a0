"""Was the promise kept? Record what happens, with faults, and have the recording judged.

A broker made by recorded() writes down what it is told and what it does, into a Recorder's file or a list; check() is a
pure function over all events of all processes. On files: ``python -m msgbus.testing.verification FILE…``.
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
