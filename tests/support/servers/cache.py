"""The folder outside git where jars lie and where it is remembered what `up` started."""

import os
from pathlib import Path


def folder() -> Path:
    """`$XDG_CACHE_HOME/msgbus`, by default `~/.cache/msgbus`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "msgbus"
