"""Compression codecs of this installation. aiokafka takes gzip from Python, the other codecs from cramjam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka import codec

from msgbus.adapter.diagnostics import Finding
from msgbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["COMPRESSION_TYPE", "INSTALL_COMMAND", "check_codec", "codec_findings", "missing_codecs"]

COMPRESSION_TYPE: Final = "compression.type"
"""The setting of a topic; the node's default has the same name."""
INSTALL_COMMAND: Final = 'pip install "msgbus[kafka]"'


def missing_codecs() -> frozenset[str]:
    """Return the codecs that are not installed."""
    known = {"gzip": codec.has_gzip, "lz4": codec.has_lz4, "snappy": codec.has_snappy, "zstd": codec.has_zstd}
    return frozenset(name for name, there in known.items() if not there())


def check_codec(name: str, settings: Mapping[str, str]) -> None:
    """Raise ConfigurationError where topic ``name`` has its records compressed with a codec that is not installed."""
    if (used := settings.get(COMPRESSION_TYPE, "")) in missing_codecs():
        raise ConfigurationError(
            f"queue {name}: {COMPRESSION_TYPE} is {used}, and that codec is not installed here: what is published "
            f"could not be consumed; {INSTALL_COMMAND}, or choose another {COMPRESSION_TYPE}"
        )


def codec_findings(topics: Mapping[str, str]) -> Iterator[Finding]:
    """Yield findings about codecs that are not installed; ``topics`` maps names to their compression.type. Pure."""
    lacking = missing_codecs()
    if stopped := sorted(name for name, used in topics.items() if used in lacking):
        used = ", ".join(sorted({topics[name] for name in stopped}))
        more = f" and {len(stopped) - 3} more" if len(stopped) > 3 else ""  # noqa: PLR2004 - the finding names three
        yield Finding(
            "error",
            f"topics whose compression.type ({used}) is a codec that is not installed here: "
            f"{', '.join(stopped[:3])}{more}",
            INSTALL_COMMAND,
        )
    if lacking:
        yield Finding(
            "warning",
            f"codecs that are not installed: {', '.join(sorted(lacking))}; a record that another client has compressed "
            "with one of them stops its partition",
            INSTALL_COMMAND,
        )
