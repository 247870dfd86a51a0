"""Positions in a topic, in words."""

from __future__ import annotations

import pytest

from msgbus.errors import (
    ConfigurationError,
)
from msgbus_kafka.history import parse_origin


def test_positions_are_read_in_kafkas_words_and_stay_within_what_is_kept() -> None:
    bounds = {0: (5, 20), 1: (0, 9)}
    assert parse_origin("a-1.b", "a-1.b-0@17", bounds) == {0: 17}
    assert parse_origin("q", "12", bounds) == {0: 12, 1: 9}
    assert parse_origin("q", "q-0@1", bounds) == {0: 5}
    for wrong in ("r-0@1", "q-2@1", "q-0", "q-0@", "-1", "yesterday"):
        with pytest.raises(ConfigurationError):
            parse_origin("q", wrong, bounds)
