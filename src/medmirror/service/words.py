"""Numbers, times and steps as people read them on the status page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from medmirror.dates import zones

STEPS: Mapping[str, str] = {
    "held": "alone with the organisation",
    "opened": "connected",
    "fetched": "fetching",
    "stored": "storing",
    "committed": "a page is stored",
    "listed": "a list read to its end",
    "destination read": "destination read",
    "planned": "writes planned",
    "pushed": "writing to the destination",
    "based": "write agreed",
    "stated": "done, noting the state",
}
_FIRST, _UNSAID = "list kind upto read", frozenset({"run_id"})
_UNITS = ((86_400 * 2, 86_400, "days"), (3_600 * 2, 3_600, "h"), (90, 60, "min"))


def span(seconds: float) -> str:
    """*seconds* in the one unit that fits: ``42 s``, ``12 min``, ``3 h``, ``4 days``."""
    size = abs(seconds)
    for least, unit, name in _UNITS:
        if size >= least:
            return f"{size / unit:.0f} {name}"
    return f"{size:.0f} s"


def when(at: datetime | None, now: datetime) -> str:
    """*at* from *now* on: ``12 min ago``, ``in 3 h``; empty for None."""
    if at is None:
        return ""
    seconds = (now - at).total_seconds()
    if abs(seconds) < 5:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(seconds)}"


def clock(at: datetime | None, zone: str = "UTC") -> str:
    """*at* on the wall of *zone*, to the minute, with the zone's short name."""
    return "" if at is None else at.astimezone(zones.zone(zone)).strftime("%d %b %Y, %H:%M %Z")


def number(value: object) -> str:
    """A number with its thousands parted; nothing for None."""
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def step(name: str | None) -> str:
    """A step of the algorithm in plain words."""
    return "" if name is None else STEPS.get(name, name)


def progress(values: Mapping[str, Any]) -> str:
    """The counts of a job's progress, as ``feed patient, records 1,234``; what is neither text nor number is left
    out."""
    names = sorted(set(values) - _UNSAID, key=lambda name: (name not in _FIRST, _FIRST.find(name), name))
    shown = [(name, values[name]) for name in names if isinstance(values[name], int | str) and values[name] != ""]
    return ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in shown)
