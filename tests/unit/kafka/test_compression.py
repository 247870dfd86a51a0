"""Compression codecs that are not installed."""

from __future__ import annotations

import aiokafka.codec
import pytest

from msgbus.errors import ConfigurationError
from msgbus_kafka import compression


def test_codecs_that_are_missing_are_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not compression.missing_codecs()
    assert not [*compression.codec_findings({"q": "zstd"})]
    for one in ("lz4", "zstd"):
        monkeypatch.setattr(aiokafka.codec, f"has_{one}", lambda: False)
    error, warning = compression.codec_findings({"a": "zstd", "b": "producer", "c": "lz4", "d": "gzip"})
    assert (error.severity, warning.severity) == ("error", "warning")
    assert "(lz4, zstd)" in error.what
    assert error.what.endswith(": a, c")
    assert "lz4, zstd" in warning.what
    compression.check_codec("q", {"compression.type": "gzip"})
    compression.check_codec("q", {})
    with pytest.raises(ConfigurationError, match=r'queue q: compression.type is zstd.*pip install "msgbus\[kafka\]"'):
        compression.check_codec("q", {"compression.type": "zstd"})
