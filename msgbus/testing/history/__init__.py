"""Was the promise kept? Record what happens, with faults, and have the recording judged.

A broker made by recorded() writes down what it is told and what it does, into a Recorder's file or a list; check() is a
pure function over all events of all processes. On files: ``python -m msgbus.testing.history FILE…``.
"""

from msgbus.testing.history.checks import check
from msgbus.testing.history.events import Event, Kind, UnreadableRecording, read
from msgbus.testing.history.finding import Finding, Verdict
from msgbus.testing.history.recorder import Recorder
from msgbus.testing.history.recording import Pen, RecordedBroker, recorded
from msgbus.testing.history.report import report

__all__ = [
    "Event",
    "Finding",
    "Kind",
    "Pen",
    "RecordedBroker",
    "Recorder",
    "UnreadableRecording",
    "Verdict",
    "check",
    "read",
    "recorded",
    "report",
]
