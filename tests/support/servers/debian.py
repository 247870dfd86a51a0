"""Debian 13 in a folder, with its Redis, Valkey and RabbitMQ, made by a debootstrap that itself is only unpacked."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import cache, sets
from .commands import Failed, run

SUITE = "trixie"
PACKAGES = ("redis-server", "valkey-server", "rabbitmq-server")
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))


def build(say: Callable[[str], None]) -> None:
    """Make the folder: 45 s, 390 MB. One that exists is complete. Failed: it could not be made."""
    root = sets.root()
    if root is None or root.path.is_dir():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failed("it takes root and apt-get")
    say(f"debootstrap fetches Debian 13 with {', '.join(PACKAGES)} ...")
    cache.folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.folder()) as place:
        complete = _debootstrap(Path(place))
        if not root.path.exists():  # somebody else may have been quicker
            complete.rename(root.path)


def _debootstrap(place: Path) -> Path:
    run(["apt-get", "download", "-q", "debootstrap"], folder=place)
    run(["dpkg", "-x", str(next(place.glob("debootstrap_*.deb"))), str(place / "tool")])
    tool, root = place / "tool/usr", place / "root"
    options = ["--variant=minbase", f"--include={','.join(PACKAGES)}", f"--keyring={_KEYS}"]
    program = [str(tool / "sbin/debootstrap"), *options, SUITE, str(root), _mirror()]
    run(program, {"DEBOOTSTRAP_DIR": str(tool / "share/debootstrap")})
    return root


def _mirror() -> str:
    """Where this machine has its own packages from."""
    text = "".join(path.read_text(encoding="utf-8") for path in _SOURCES if path.exists())
    found = re.search(r"^(?:URIs:|deb(?: \[[^\]]*\])?)\s*(\S+)", text, re.MULTILINE)
    if not found:
        raise Failed("this machine's apt has no mirror of Debian")
    return found[1]
