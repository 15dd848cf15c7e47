"""Time zones by the rules of the package ``tzdata``, never those of the machine: the answer is the same everywhere."""

from __future__ import annotations

import re
from datetime import UTC, timedelta, timezone, tzinfo
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from zoneinfo import ZoneInfo

_NAME = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)


class Zone(ZoneInfo):
    """A time zone that goes to other processes by its name. ``ZoneInfo(name)`` would ask the machine's rules first, and
    a zone that was read from a file cannot be pickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return zone, (self.key,)


@cache
def zone(name: str) -> ZoneInfo:
    """The zone of the IANA name *name* (Europe/Berlin), the same object each time.

    Raises
    ------
    ValueError
        There is no zone of that name.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError("no name of a time zone")
    try:
        with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
            return Zone.from_file(rules, key=name)
    except (OSError, ValueError):
        raise ValueError("no time zone of that name") from None


@cache
def zone_or_offset(name: str) -> tzinfo:
    """The zone called *name*: an IANA name, "UTC", "Z" or an offset (+10:00).

    Raises
    ------
    ValueError
        There is none.
    """
    if name in ("UTC", "Z"):
        return UTC
    if match := _OFFSET.fullmatch(name):
        minutes = int(match[2]) * 60 + int(match[3])
        return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
    return zone(name)


@cache
def data_version() -> str:
    """The version of the rules."""
    return version("tzdata")
