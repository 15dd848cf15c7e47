"""Time zones by the rules of the package ``tzdata``, never those of the machine: the answer is the same everywhere."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from zoneinfo import ZoneInfo

_NAME = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
_MOST = 15 * 60  # minutes from UTC that a clock was ever set
_LOOSE = re.compile(r"(?:UTC|GMT)? ?([+\u2212-])(\d{1,2})(?::?(\d\d))?", re.ASCII | re.IGNORECASE)
_SHOWN = re.compile(r"\((?:UTC|GMT)[^)]*\) ?(?=.)", re.ASCII | re.IGNORECASE)
_SEVERAL = frozenset({"est", "mst", "factory"})
"""Names in tzdata that mean several zones, or none, where a practice system writes them."""


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
        if int(match[3]) > 59 or minutes > _MOST:
            raise ValueError("no offset from UTC")
        return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
    return zone(name)


@lru_cache(maxsize=4096)
def named(text: str) -> str:
    """The name, for ``zone_or_offset``, of the zone that a record calls *text*: an IANA name in any case, the name that
    Windows or Rails has for it, an abbreviation that means one offset, or an offset (+10:00, UTC+10).

    Raises
    ------
    ValueError
        It is none of them, or means several (EST, CST, IST): no zone is guessed at.
    """
    word = " ".join(text.split())
    if match := _LOOSE.fullmatch(word):
        name = f"{'+' if match[1] == '+' else '-'}{int(match[2]):02d}:{match[3] or '00'}"
        zone_or_offset(name)
        return name
    # (UTC+10:00) Canberra, Melbourne, Sydney: the offset is that of winter alone, so the names decide.
    word, shown = _SHOWN.subn("", word, count=1)
    names = [_of_word(part) for part in (word.split(", ") if shown else [word])]
    if None in names:
        raise ValueError("no time zone of that name, or several")
    return str(names[-1])


def _of_word(word: str) -> str | None:
    word, names = word.casefold(), _names()
    for candidate in (word, word.replace(" ", "_"), word.replace(" daylight ", " standard ")):
        if candidate in names and candidate not in _SEVERAL:
            return names[candidate]
    return None


@cache
def _names() -> dict[str, str]:
    """What a zone is called, in small letters, to its name for ``zone_or_offset``; IANA's own names stand above all."""
    others = tomllib.loads(_names_text())
    names = {word.casefold(): name for group in others.values() for word, name in group.items()}
    iana = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return (
        names
        | {name.casefold(): name for name in iana}
        | dict.fromkeys(("utc", "z", "coordinated universal time"), "UTC")
    )


def _names_text() -> str:
    return files("medmirror.dates").joinpath("zonenames.toml").read_text(encoding="utf-8")


@cache
def data_version() -> str:
    """The version of the rules, and of the names that systems have for zones."""
    return f"{version('tzdata')} {sha256(_names_text().encode()).hexdigest()[:8]}"
