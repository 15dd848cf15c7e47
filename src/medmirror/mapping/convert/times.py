"""Dates and times: partial dates as they are, times in UTC beside the zone that the source gave.

A wall clock's time that a change of the clocks skips is moved forward by what was skipped (02:30 becomes 03:30); one
that there are two of is taken for the first. Both are noted as a Problem (``gap``, ``fold``).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any

from medmirror.clock import EPOCH
from medmirror.dates import iso as isotext
from medmirror.dates.grammar import Format, Moment, offset_text
from medmirror.dates.zones import zone_or_offset
from medmirror.mapping.convert.scope import UNKNOWN_ZONE, Scope, Unusable

_PARTIAL = re.compile(r"\d{4}(?:-\d\d(?:-\d\d)?)?", re.ASCII)
_LOOSE = re.compile(r"(\d{4})-(\d{0,2})(?:-(\d{0,2}))?", re.ASCII)


def partial(text: str) -> str:
    """*text* ("2012", "2012-05", "2012-05-07"), checked. ValueError when there is no such day."""
    if _PARTIAL.fullmatch(text) is None:
        raise ValueError("no date")
    date.fromisoformat(
        text + "-01-01"[: 10 - len(text)] if len(text) == 4 else text + "-01" if len(text) == 7 else text
    )
    return text


def day(text: str) -> str:
    """The date, perhaps partial, in the ISO text *text*; a time of day behind it is left out. A month or a day that is
    0 or not there (1984-00-00, 1984--12) is unknown; so is the day of an unknown month."""
    text = text.strip()
    if len(text) == 10 and text[4] == "-" == text[7]:  # as nearly all are
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            pass
    if len(text) > 10 and text[4] == "-" == text[7] and text[10] in "T ":
        isotext.moment(f"2000-01-01{text[10:]}")  # what stands behind the date is a time of day
        text = text[:10]
    match = _LOOSE.fullmatch(text)
    if match is None:  # a week or the day of a year are ISO 8601, too
        return partial(text)
    year, month, number = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    return day_of(Moment(year, month or None, number if month and number else None))


def day_of(moment: Moment) -> str:
    """*moment*'s date, perhaps partial. ValueError when there is no such day."""
    text = f"{moment.year:04d}"
    if moment.month is not None:
        text += f"-{moment.month:02d}"
        if moment.day is not None:
            text += f"-{moment.day:02d}"
    return partial(text)


def moment_of(text: str) -> Moment:
    """The partial date *text* as a Moment."""
    pieces = [int(piece) for piece in partial(text).split("-")]
    return Moment(pieces[0], pieces[1] if len(pieces) > 1 else None, pieces[2] if len(pieces) > 2 else None)


def utc_text(moment: datetime) -> str:
    """*moment* in UTC, ISO with Z; a fraction only where there is one."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def time(text: str, scope: Scope) -> dict[str, Any]:
    """The time in the ISO text *text*; one without an offset is the wall clock's time of the scope's zone."""
    if len(text) == 20 and text[19] == "Z" and text[10] == "T" and text[11:13] != "24":
        datetime.fromisoformat(text)
        return {"utc": text, "zone": "UTC"}
    text = text.strip()
    if len(text) <= 10:
        return {"utc": None, "zone": None, "date": partial(text)}
    return placed(isotext.moment(text), text.endswith(("Z", "z")), scope)


def placed(moment: datetime, is_utc: bool, scope: Scope) -> dict[str, Any]:
    """*moment*, naive or with an offset, as a canonical time. Raises Unusable when nobody knows the zone of its
    clock."""
    if is_utc:
        return {"utc": utc_text(moment), "zone": "UTC"}
    if moment.tzinfo is not None:
        offset = moment.utcoffset() or timedelta()
        return {"utc": utc_text(moment), "zone": offset_text(round(offset.total_seconds() / 60))}
    name = scope.zone
    if name == UNKNOWN_ZONE:
        raise Unusable("zone")
    if name is None:
        return {"utc": moment.isoformat() + "Z", "zone": None}
    return {"utc": _instant(moment, zone_or_offset(name), scope), "zone": name}


def _instant(wall: datetime, where: tzinfo, scope: Scope) -> str:
    first = wall.replace(tzinfo=where)
    instant = first.astimezone(UTC)
    if first.utcoffset() != wall.replace(tzinfo=where, fold=1).utcoffset():
        back = instant.astimezone(where).replace(tzinfo=None)
        scope.note("gap" if back != wall else "fold")
    return utc_text(instant)


def time_of(moment: Moment, scope: Scope) -> dict[str, Any]:
    """What a text of a declared format said, as a canonical time."""
    if moment.day is None or moment.month is None:
        return {"utc": None, "zone": None, "date": day_of(moment)}
    wall = moment.naive
    if moment.offset is not None:
        return placed(wall.replace(tzinfo=timezone(timedelta(minutes=moment.offset))), False, scope)
    return placed(wall, False, scope)


def from_microseconds(number: int) -> dict[str, Any]:
    """The moment *number* microseconds after 1970 as a canonical time. ValueError when no calendar has it."""
    try:
        return {"utc": utc_text(EPOCH + timedelta(microseconds=number)), "zone": "UTC"}
    except OverflowError:
        raise ValueError("no time of this calendar") from None


def instant_of(value: dict[str, Any]) -> datetime:
    """The moment of a canonical time. ValueError when it is only a date."""
    if value.get("utc") is None:
        raise ValueError("only a date")
    return datetime.fromisoformat(value["utc"])


def wall_of(value: dict[str, Any], scope: Scope) -> datetime:
    """A canonical time on the clock of the scope's zone (with its offset); on that of its own zone without one."""
    where = scope.zone or value.get("zone")
    return instant_of(value).astimezone(zone_or_offset(where) if where else UTC)


def iso(value: dict[str, Any], scope: Scope) -> str:
    """A canonical time as the ISO text that ``time`` reads the same."""
    if value.get("utc") is None:
        return partial(value.get("date") or "")
    name = value.get("zone")
    if name == "UTC":
        return str(value["utc"])
    wall = instant_of(value).astimezone(zone_or_offset(name) if name else UTC)
    if name is None or name == scope.zone:
        return wall.replace(tzinfo=None).isoformat()
    return wall.isoformat()


def written(value: dict[str, Any], pattern: Format, scope: Scope) -> str:
    """A canonical time in the format *pattern*. ValueError when the format asks for more than it tells."""
    if value.get("utc") is None:
        return pattern.write(moment_of(value.get("date") or ""))
    own = value.get("zone")
    wall = (
        wall_of(value, scope)
        if "%z" not in pattern.text or not own
        else instant_of(value).astimezone(zone_or_offset(own))
    )
    offset = wall.utcoffset() or timedelta()
    return pattern.write(Moment(*wall.timetuple()[:6], wall.microsecond, round(offset.total_seconds() / 60)))


def microseconds(text: str) -> int:
    """Microseconds since 1970 of the ISO text *text*; without an offset it is taken for UTC, a day for midnight."""
    text = text.strip()
    moment = isotext.moment(text if len(text) >= 10 else (text + "-01-01")[:10])
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(microseconds=1)
