"""24:00 is the next day's midnight, whatever way a time is written, and 24:01 is no time."""

from __future__ import annotations

from datetime import datetime

import pytest

from medmirror.dates import iso
from medmirror.dates.grammar import Format
from medmirror.dates.instants import clock

MIDNIGHT = datetime(2026, 7, 2)


@pytest.mark.parametrize(
    "text", ["2026-07-01T24:00:00", "2026-07-01 24:00", "2026-07-01T24:00:00.000", "20260701T240000", "2026-07-01T24"]
)
def test_iso(text: str) -> None:
    assert iso.moment(text) == MIDNIGHT
    assert clock(("iso",), "UTC")(text) == clock(("iso",), "UTC")("2026-07-02T00:00:00")


def test_iso_with_an_offset() -> None:
    assert iso.moment("2026-12-31T24:00:00+10:00").isoformat() == "2027-01-01T00:00:00+10:00"
    assert iso.moment("2026-12-31T24:00:00Z").isoformat() == "2027-01-01T00:00:00+00:00"


@pytest.mark.parametrize("text", ["2026-07-01T24:01:00", "2026-07-01T24:00:01", "2026-07-01T25:00", "9999-12-31T24:00"])
def test_no_time_of_a_day(text: str) -> None:
    with pytest.raises(ValueError):
        iso.moment(text)


def test_a_format() -> None:
    form = Format("%d/%m/%Y %H:%M:%S")
    assert form.read("01/07/2026 24:00:00").naive == MIDNIGHT
    with pytest.raises(ValueError):
        assert form.read("01/07/2026 24:00:01").naive
    read = clock(("%d/%m/%Y %H:%M",), "America/New_York")
    assert read("31/12/2026 24:00") == read("01/01/2027 00:00")
    assert read("31/12/2026 24:01") is None


def test_numbers_that_touch_need_all_their_digits() -> None:
    form = Format("%d%m%y")
    assert form.read("011268")[:3] == (1968 + 100, 12, 1)
    for text in ("11268", "1268"):  # 1 December or 11 February
        with pytest.raises(ValueError, match="declared format"):
            form.read(text)
    assert Format("%d/%m/%Y").read("1/2/1968")[:3] == (1968, 2, 1)
