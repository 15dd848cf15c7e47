"""When syncs are scheduled: read once from the environment. Every wrong value is a UsageError that names its
variable."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import time, timedelta
from typing import Any

from medmirror.errors import UsageError
from medmirror.schedule.due import Rule
from medmirror.sync.organizations import Organization

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Config:
    """How often which organisations are synchronised. *tiers*: the interval of each; *spacing*: from one organisation
    to the next; *jitter*: full syncs, and the first of a morning, are spread over so long. *opens*, *closes*, *days*:
    business hours in each clinic's own zone (see ``due.Rule``)."""

    enabled: bool = True
    tiers: Mapping[str, timedelta] = field(
        default_factory=lambda: {
            "realtime": timedelta(minutes=30),
            "standard": timedelta(minutes=240),
            "economy": timedelta(minutes=720),
        }
    )
    opens: time = time(8)
    closes: time = time(18)
    days: frozenset[int] = frozenset(range(5))
    full_at: time = time(2)
    spacing: timedelta = timedelta(seconds=30)
    jitter: timedelta = timedelta(minutes=5)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Config:
        """What *environ* (default: the process's) says; what it does not say is as documented."""
        environ = os.environ if environ is None else environ
        said: dict[str, Any] = {}
        for variable, (name, read, example) in _VARIABLES.items():
            value = environ.get(variable, "").strip()
            if not value:
                continue
            try:
                said[name] = read(value)
            except (ValueError, KeyError, OverflowError):
                raise UsageError(f"{variable}: {value!r} is not what it takes, for example {example}.") from None
        tiers = {**cls().tiers, **{name: said.pop(name) for name in cls().tiers if name in said}}
        if "hours" in said:
            said["opens"], said["closes"] = said.pop("hours")
        return cls(tiers=tiers, **said)

    def rule(self, one: Organization) -> Rule:
        """How often *one* is synchronised. A tier that is not known counts as standard. UsageError for its zone."""
        try:
            zone = one.tz
        except (KeyError, ValueError, OSError):
            raise UsageError(f"{one.organization_id} has no time zone of the tz database: {one.zone!r}.") from None
        whose = f"{one.organization_id}\0{one.source}".encode()
        part = int.from_bytes(hashlib.sha256(whose).digest()[:4]) / 2**32  # the same each day
        return Rule(
            interval=self.tiers.get(one.tier, self.tiers["standard"]),
            opens=self.opens,
            closes=self.closes,
            days=self.days,
            full_at=self.full_at,
            zone=zone,
            offset=timedelta(seconds=int(part * self.jitter.total_seconds())),
        )


def _flag(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}[
        text.lower()
    ]


def _span(unit: timedelta, least: int) -> Callable[[str], timedelta]:
    def read(text: str) -> timedelta:
        if not text.isascii() or not text.isdecimal() or not least * unit <= (found := int(text) * unit) <= _WEEK:
            raise ValueError
        return found

    return read


def _time(text: str) -> time:
    if not re.fullmatch(r"[0-2]?\d:[0-5]\d", text):
        raise ValueError
    hour, minute = text.split(":")
    return time(int(hour), int(minute))


def _hours(text: str) -> tuple[time, time]:
    """08:00-18:00; the end may be 24:00."""
    first, last = (part.strip() for part in text.split("-"))
    return _time(first), time() if last == "24:00" else _time(last)


def _days(text: str) -> frozenset[int]:
    """mon-fri,sun; none."""
    found: set[int] = set()
    if text.lower() == "none":
        return frozenset()
    for part in text.lower().split(","):
        first, _, last = part.strip().partition("-")
        number = _DAYS.index(first)
        end = _DAYS.index(last) if last else number
        found |= {day % 7 for day in range(number, end + 1 if end >= number else end + 8)}
    return frozenset(found)


_MINUTES, _SECONDS = _span(timedelta(minutes=1), 1), _span(timedelta(seconds=1), 0)
_VARIABLES: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "ENABLE_SYNC_SCHEDULER": ("enabled", _flag, "true"),
    "SYNC_INTERVAL_MINUTES": ("standard", _MINUTES, "240"),
    "SYNC_REALTIME_MINUTES": ("realtime", _MINUTES, "30"),
    "SYNC_ECONOMY_MINUTES": ("economy", _MINUTES, "720"),
    "SYNC_BUSINESS_HOURS": ("hours", _hours, "08:00-18:00"),
    "SYNC_BUSINESS_DAYS": ("days", _days, "mon-fri"),
    "SYNC_FULL_AT": ("full_at", _time, "02:00"),
    "SYNC_SPACING_SECONDS": ("spacing", _SECONDS, "30"),
    "SYNC_JITTER_SECONDS": ("jitter", _SECONDS, "300"),
}
