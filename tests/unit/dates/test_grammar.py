"""One grammar of dates: what `[file] updated` reads, a field of `[[mapper]]` reads as the same time."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import places
from medmirror.dates.grammar import MONTHS, compiled
from medmirror.dates.instants import EPOCHS, clock
from medmirror.mapping.convert.moments import date, time
from medmirror.mapping.convert.scope import Scope
from medmirror.mapping.schema.kinds import Field

FIELD = Field("starts", "time", "when it begins")


def mapped(formats: str | list[str], text: str, zone: str = "Asia/Kolkata") -> int | None:
    """What a mapper's field makes of *text*, in microseconds; None when it cannot be read."""
    try:
        value: dict[str, Any] = time({"format": formats}, FIELD).up(text, Scope(zone))
    except ValueError:
        return None
    moment = datetime.fromisoformat(value["utc"])
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


FORMATS = [
    "%d-%b-%Y",
    "%d %B %Y %H:%M",
    "%Y%m%d%H%M%S%f",
    "%d/%m/%y %I:%M:%S %p",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%m/%d/%Y %I%p",
    "%d.%m.%Y 100%%",
    "iso",
    "unix",
    "unix ms",
    "epoch",
    "epoch_ms",
    "epoch_us",
    "excel",
]


WRITTEN = (
    r"[0-3]?[0-9][-/. ]([01]?[0-9]|[A-Z][a-z]{2,8}\.?)[-/. ](20)?[0-9]{2}"
    r"( [0-2]?[0-9](:[0-5][0-9]){0,2})?( ?[AaPp][Mm])?"
)


@given(
    formats=st.lists(st.sampled_from(FORMATS), min_size=1, max_size=3),
    text=st.one_of(
        st.from_regex(WRITTEN, fullmatch=True),
        st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(datetime.isoformat),
        st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(lambda moment: f"{moment:%Y%m%d%H%M%S%f}789"),
        st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(lambda moment: f"{moment:%d-%B-%Y}"),
        st.integers(0, 10**13).map(str),
    ),
)  # fmt: skip
def test_both_places_read_the_same(formats: list[str], text: str) -> None:
    assert mapped(formats, text) == clock(tuple(formats), "Asia/Kolkata")(text)


@pytest.mark.parametrize("directive", ["%b", "%B"])
@pytest.mark.parametrize("number", range(1, 13))
def test_a_month_has_a_short_and_a_long_name(directive: str, number: int) -> None:
    name = MONTHS[number - 1]
    for text in (name, name.upper(), name[:3], f"{name[:3].lower()}."):
        assert compiled(f"%d {directive} %Y").read(f"7 {text} 2026").month == number


def test_what_is_not_unambiguous_is_not_read() -> None:
    for form, text in {"%d %b %Y": "7 Ma 2026", "%d/%m/%Y": "7/13/2026", "%Y %f": "2026 1234567890"}.items():
        with pytest.raises(ValueError, match="declared format"):
            compiled(form).read(text)


def test_a_date_is_read_past_any_time_of_day() -> None:
    day = date({"format": "%Y-%m-%d %H:%M:%S"}, Field("birth_date", "date", "day of birth"))
    assert day.up("2026-05-07 24:00:00", Scope()) == "2026-05-07"


@pytest.mark.parametrize(("form", "text"), [("%Y-%m", "2026-05"), ("%Y", "2026"), (["%d/%m/%Y", "%b %Y"], "May 2026")])
def test_a_date_may_be_partial(form: str | list[str], text: str) -> None:
    pair = date({"format": form}, Field("birth_date", "date", "day of birth"))
    assert pair.down(pair.up(text, Scope()), Scope()) == text


@pytest.mark.parametrize("form", ["unix", "epoch_ms", "epoch_us", "excel", "iso", ["%d/%m/%Y %H:%M", "excel"]])
def test_a_named_format_is_written_as_it_is_read(form: str | list[str]) -> None:
    pair, scope = time({"format": form}, FIELD), Scope("Asia/Kolkata")
    written = pair.down({"utc": "2026-02-01T06:30:00Z", "zone": "Asia/Kolkata"}, scope)
    assert pair.up(written, scope)["utc"] == "2026-02-01T06:30:00Z"


def test_excel_days_are_dates_too() -> None:
    pair = date({"format": ["%d/%m/%Y", "excel"]}, Field("birth_date", "date", "day of birth"))
    assert pair.up("46054", Scope()) == pair.up("1/2/2026", Scope()) == "2026-02-01"
    assert date({"format": "excel"}, Field("birth_date", "date", "day of birth")).down("2026-02-01", Scope()) == 46054


@pytest.mark.parametrize("make", [date, time])
@pytest.mark.parametrize("form", ["seconds", "%Q", "%d %d", ""])
def test_a_format_that_is_none_is_refused(make: Any, form: str) -> None:
    with pytest.raises(ValueError, match="format"):
        make({"format": form}, FIELD)


def test_the_page_names_every_format_and_directive() -> None:
    page = (places.ROOT / "docs" / "mapping.md").read_text(encoding="utf-8")
    section = page.partition("\n## Dates and times\n")[2].partition("\n## ")[0]
    tables = "".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`([^`]+)`", tables)) | {"iso"}
    assert {name for name in named if "%" not in name} == {"iso", "excel", *EPOCHS}
    assert {name for name in named if re.fullmatch("%.", name)} == {"%%", *(f"%{letter}" for letter in "YymdHIMSfpbBz")}
    for name in sorted(named - {"%%"}):
        form = name if "%" not in name or "/" in name else f"%Y %m {name}" if name not in ("%Y", "%m") else "%Y %m"
        assert clock((form,), "UTC") is not None
