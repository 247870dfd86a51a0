"""Parts of the demo: the data set, points, and a ledger that counts each purchase once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examples.loyalty.ledger import Ledger
from examples.loyalty.points import differences, points_for, totals
from examples.notification.outbox import Outbox
from examples.purchases import MOST, DataError, Purchase, read
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DATA = ROOT / "examples" / "data" / "CDNOW_sample.txt"


def test_the_sample_has_6919_purchases_of_2357_customers() -> None:
    purchases = read(DATA)
    assert len(purchases) == len({one.id for one in purchases}) == 6919
    assert len({one.customer for one in purchases}) == 2357
    assert sum(one.cents for one in purchases) == 24_409_194


def test_a_header_line_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("id sample date cds amount\n\n 7 1 19970101 2 29.33\n")
    assert read(file) == [Purchase(3, "7", 2933)]


@pytest.mark.parametrize(
    "line", ["7 1 19970101 2", "7 1 19970101 2 x", "7 1 19970101 2 NaN", "7 1 19970101 2 1.005", "7 1 19970101 2 -1"]
)
def test_a_malformed_line_is_an_error_with_its_number(line: str, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text(f"7 1 19970101 2 1.00\n{line}\n")
    with pytest.raises(DataError, match="line 2"):
        read(file)


def test_too_many_purchases_or_none_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "data"
    for count in (0, MOST + 1):
        file.write_text("7 1 19970101 2 1.00\n" * count)
        with pytest.raises(DataError, match="purchases"):
            read(file)


def test_points_are_whole_dollars() -> None:
    assert [points_for(cents) for cents in (0, 99, 100, 2933)] == [0, 0, 1, 29]


def test_what_differs_is_named() -> None:
    expected = totals([Purchase(1, "a", 250), Purchase(2, "a", 150), Purchase(3, "b", 100)])
    assert expected == {"a": 3, "b": 1}
    assert differences(expected, {"a": 3, "b": 1}) == []
    assert len(differences(expected, {"a": 4, "c": 1})) == 3


def test_a_purchase_counts_once_whichever_process_writes_it(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as one, Ledger(tmp_path / "ledger") as other:
        assert one.award("1", "a", 5, "one")
        assert not other.award("1", "a", 5, "other")
        assert other.award("2", "a", 7, "other")
        assert one.totals() == {"a": 12}
        assert dict(one.shares()) == {"one": 1, "other": 1}


def test_an_award_is_written_about_once(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox") as outbox:
        assert outbox.write("award-1", "a", 5)
        assert not outbox.write("award-1", "a", 5)
        assert outbox.totals() == {"a": 5}
