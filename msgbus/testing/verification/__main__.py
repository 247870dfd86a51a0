"""``python -m msgbus.testing.verification FILE…``: check a recording.

Exit code 0: the promise was kept, 1: it was broken, 2: a file cannot be read.
"""

from __future__ import annotations

import sys
from pathlib import Path

from msgbus.testing.verification.checker import check
from msgbus.testing.verification.events import UnreadableRecording, read
from msgbus.testing.verification.report import report


def main(files: list[str]) -> int:
    """Check the recording in ``files`` and return the exit code."""
    if not files or files[0].startswith("-"):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        events = read(*map(Path, files))
    except (UnreadableRecording, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    findings = check(events)
    sys.stdout.write(report(events, findings) + "\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
