"""Classification of the offset that a partition starts at."""

from __future__ import annotations

import pytest

from msgbus_kafka.consumer.start_offsets import classify_start


@pytest.mark.parametrize(
    ("first", "commit", "kept", "end", "seek", "says"),
    [
        (7, 7, 0, 9, None, ""),
        (0, 7, 0, 9, 7, "sent back"),
        (0, 7, 0, 5, None, "delivered again"),  # cut off, or made anew
        (5, 2, 5, 9, None, "3 records were deleted"),
        (5, 2, 0, 9, None, ""),  # compaction, or another member was further
        (0, None, 0, 9, None, ""),  # rewound by nobody's commit
    ],
)
def test_a_partition_that_begins_elsewhere_is_sent_back_or_explained(  # noqa: PLR0913, PLR0917 - a row of the table
    first: int, commit: int | None, kept: int, end: int, seek: int | None, says: str
) -> None:
    verdict = classify_start(first, commit, kept, end)
    assert verdict.seek == seek
    assert says in verdict.warning
    assert bool(verdict.warning) == bool(says)
