"""The section ``[file]`` of a mapping file: what a clinic says of a CSV export. Its grammar is in
``sources/csv.py``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from medmirror.dates import instants
from medmirror.errors import UsageError

_KIND = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NAMED = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
_KNOWN = frozenset(
    [
        "kind",
        "match",
        "key",
        "updated",
        "deleted",
        "dated",
        "whole",
        "trailer",
        "skip",
        "header",
        "delimiter",
        "quote",
        "escape",
        "encoding",
    ]
)


class Description(NamedTuple):
    """What was declared; None: it is to be detected. An empty *key*: the row itself. *header* False: there is none;
    names: there is none, these are its columns."""

    kind: str
    match: tuple[str, ...]
    key: tuple[str, ...]
    updated: str
    formats: tuple[str, ...]
    zone: str
    deleted: str
    values: tuple[str, ...]
    dated: str
    whole: bool
    trailer: str
    skip: int
    header: bool | tuple[str, ...] | None
    delimiter: str | None
    quote: str | None
    escape: str | None
    encoding: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the file must have."""
        return tuple(dict.fromkeys(name for name in (*self.key, self.updated, self.deleted) if name))


@lru_cache(maxsize=256)
def describe(text: str) -> Description | None:
    """What a mapping file says of its CSV file; None when it has no section ``[file]``. Raises UsageError."""
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The mapping file is no TOML: {error}.") from None
    section = parsed.get("file")
    if section is None:
        return None
    if not isinstance(section, dict):
        raise UsageError("The mapping file has a `file` that is no section.")
    if unknown := sorted(set(section) - _KNOWN):
        allowed = ", ".join(sorted(_KNOWN))
        raise UsageError(f"The mapping file has [file] {unknown[0]}, which is not known; known are {allowed}.")
    return _description(section)


def _description(section: Mapping[str, Any]) -> Description:
    kind = _one(section, "kind", str, "")
    if not _KIND.fullmatch(kind):
        raise UsageError('The mapping file needs [file] kind = "...": the kind of its records, in small letters.')
    key = section.get("key")
    if not key:
        raise UsageError(
            'The mapping file needs [file] key = ["Column"]; or key = "row" where no column tells records apart.'
        )
    updated = _table(section, "updated", {"column", "format", "zone"})
    deleted = _table(section, "deleted", {"column", "values"})
    values = _texts(deleted, "values")
    if deleted and not values:
        raise UsageError('The mapping file needs [file] deleted = {column = "...", values = [...]}.')
    description = Description(
        kind,
        _texts(section, "match"),
        () if key == "row" else _texts(section, "key"),
        _one(updated, "column", str, ""),
        _texts(updated, "format") or ("iso",),
        _one(updated, "zone", str, "UTC"),
        _one(deleted, "column", str, ""),
        values,
        _one(section, "dated", str, ""),
        _one(section, "whole", bool, False),
        _one(section, "trailer", str, ""),
        _one(section, "skip", int, 0),
        _header(section.get("header")),
        _mark(section, "delimiter"),
        _mark(section, "quote"),
        "" if _mark(section, "escape") == (_mark(section, "quote") or '"') else _mark(section, "escape"),
        _one(section, "encoding", str, None),
    )
    _check(description)
    return description


def _check(description: Description) -> None:
    if description.delimiter == "":
        raise UsageError("The mapping file has an empty [file] delimiter.")
    marks = [mark for mark in (description.delimiter, description.quote, description.escape) if mark]
    if len(set(marks)) < len(marks):
        raise UsageError("The mapping file gives one character two meanings: [file] delimiter, quote, escape.")
    if not 0 <= description.skip <= 1000:
        raise UsageError("The mapping file has a [file] skip that is not from 0 to 1000.")
    instants.clock(description.formats, description.zone)
    if description.dated:
        instants.day_in_name(description.dated)
    try:
        re.compile(description.trailer)
    except re.error as error:
        raise UsageError(f"The mapping file has a [file] trailer that is no regular expression: {error}.") from None


def _one(section: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = section.get(name, default)
    if value is not default and (not isinstance(value, kind) or (isinstance(value, bool) and kind is int)):
        raise UsageError(f"The mapping file has a [file] {name} that is no {_WORDS[kind]}.")
    return value


_WORDS = {str: "text", int: "whole number", bool: "true or false", dict: "table"}


def _texts(section: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = section.get(name, ())
    values = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else (None,)
    if not all(isinstance(value, str) and value for value in values):
        raise UsageError(f"The mapping file has a [file] {name} that is neither text nor a list of texts.")
    return values


def _table(section: Mapping[str, Any], name: str, allowed: set[str]) -> Mapping[str, Any]:
    value = section.get(name, {})
    if isinstance(value, str):
        return {"column": value}
    if not isinstance(value, dict) or not set(value) <= allowed or (value and not isinstance(value.get("column"), str)):
        raise UsageError(f"The mapping file has a [file] {name} that is no table of {', '.join(sorted(allowed))}.")
    return value


def _header(value: Any) -> bool | tuple[str, ...] | None:
    if value is None or isinstance(value, bool):
        return value
    names = _texts({"header": value}, "header") if isinstance(value, list) else ()
    if not names or len(set(names)) < len(names):
        raise UsageError(
            "The mapping file has a [file] header that is neither true, false nor a list of different names."
        )
    return names


def _mark(section: Mapping[str, Any], name: str) -> str | None:
    value = _one(section, name, str, None)
    mark: str | None = _NAMED.get(value, value)
    if mark and (len(mark) > 1 or not mark.isascii() or mark in "\r\n\0" or mark.isalnum()):
        raise UsageError(
            f"The mapping file has a [file] {name} that is not one ASCII sign, comma, semicolon, tab or pipe."
        )
    return mark
