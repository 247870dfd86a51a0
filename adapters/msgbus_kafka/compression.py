"""The codecs that this installation can read. aiokafka takes gzip from Python, the others from cramjam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka import codec

from msgbus.adapter.diagnostics import Finding
from msgbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["COMPRESSION", "INSTALL", "check", "missing", "without_codecs"]

COMPRESSION: Final = "compression.type"
"""The setting of a topic; the node's default has the same name."""
INSTALL: Final = 'pip install "msgbus[kafka]"'


def missing() -> frozenset[str]:
    """Return the codecs that are not installed."""
    known = {"gzip": codec.has_gzip, "lz4": codec.has_lz4, "snappy": codec.has_snappy, "zstd": codec.has_zstd}
    return frozenset(name for name, there in known.items() if not there())


def check(name: str, settings: Mapping[str, str]) -> None:
    """Raise ConfigurationError where topic ``name`` has its records compressed with a codec that is not installed."""
    if (used := settings.get(COMPRESSION, "")) in missing():
        raise ConfigurationError(
            f"queue {name}: {COMPRESSION} is {used}, and that codec is not installed here: what is published could not "
            f"be consumed; {INSTALL}, or choose another {COMPRESSION}"
        )


def without_codecs(topics: Mapping[str, str]) -> Iterator[Finding]:
    """Find what cannot be read; ``topics`` are names and their compression.type. Pure."""
    lacking = missing()
    if stopped := sorted(name for name, used in topics.items() if used in lacking):
        used = ", ".join(sorted({topics[name] for name in stopped}))
        more = f" and {len(stopped) - 3} more" if len(stopped) > 3 else ""  # noqa: PLR2004 - as many as are named
        yield Finding(
            "error",
            f"topics whose compression.type ({used}) is a codec that is not installed here: "
            f"{', '.join(stopped[:3])}{more}",
            INSTALL,
        )
    if lacking:
        yield Finding(
            "warning",
            f"codecs that are not installed: {', '.join(sorted(lacking))}; a record that another client has compressed "
            "with one of them stops its partition",
            INSTALL,
        )
