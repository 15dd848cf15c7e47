"""Reading the tables of a TOML file strictly: a mistake is an error that says where it is and shows a right line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from typing import Any, NoReturn

from medmirror.errors import UsageError

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class Table:
    """One table of the file *file*: takes values out by key; ``end`` refuses what nobody asked for."""

    def __init__(self, file: str, name: str, values: Any) -> None:
        self.file, self.name = file, name
        if not isinstance(values, Mapping):
            raise UsageError(f"{file}: {name} must be a table, for example [{name}].")
        self._values = dict(values)
        self._known: list[str] = []

    def wrong(self, key: str, problem: str, example: str) -> NoReturn:
        """Raise UsageError: file, table and key, what is wrong, and a line as it should be."""
        raise UsageError(f"{self.file}: [{self.name}] {key}: {problem}; write for example {key} = {example}")

    def _take(self, key: str) -> Any:
        self._known.append(key)
        return self._values.pop(key, None)

    def text(self, key: str, example: str, pattern: str = r"[^\x00-\x1f]+", *, secret: bool = False) -> str | None:
        """The text at *key*, or None. One of a *secret* kind is not quoted when it is wrong."""
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            shown = "its value" if secret else repr(value)
            self.wrong(key, f"{shown} is not such a text", example)
        return value

    def texts(self, key: str, example: str, pattern: str = r"[^\x00-\x1f]+") -> tuple[str, ...]:
        """The list of texts at *key*; one text counts as a list of one; none: an empty one."""
        value = self._take(key)
        listed = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(
            isinstance(item, str) and re.fullmatch(pattern, item) for item in listed
        ):
            self.wrong(key, f"{value!r} is no list of such texts", example)
        if len(set(listed)) < len(listed):
            self.wrong(key, "it names one thing twice", example)
        return tuple(listed)

    def flag(self, key: str, default: bool) -> bool:
        """The true or false at *key*."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(key, f"{value!r} is neither true nor false", str(not default).lower())
        return value

    def whole(self, key: str, least: int, most: int, example: str) -> int | None:
        """The whole number at *key*, or None."""
        value = self._take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.wrong(key, f"{value!r} is not a whole number from {least} to {most}", example)
        return value

    def number(self, key: str, default: float, least: float, most: float, example: str) -> float:
        """The number at *key*."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self.wrong(key, f"{value!r} is not a number from {least:g} to {most:g}", example)
        return float(value)

    def seconds(self, key: str, default: float, example: str) -> float:
        """The duration at *key* in seconds: a text like 1h30m, 10m or 45s."""
        value = self._take(key)
        if value is None:
            return default
        match = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
        parts = [int(part or 0) for part in match.groups()] if match else [0, 0, 0]
        total = parts[0] * 3600 + parts[1] * 60 + parts[2]
        if total <= 0:
            self.wrong(key, f"{value!r} is no duration", example)
        return float(total)

    def clock(self, key: str, example: str) -> time | None:
        """The time of day at *key*, or None: a text like "02:30", or TOML's own local time 02:30:00."""
        value = self._take(key)
        if value is None or (isinstance(value, time) and value.tzinfo is None):
            return value
        match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", value) if isinstance(value, str) else None
        if not match:
            self.wrong(key, f"{value!r} is no time of day", example)
        return time(int(match[1]), int(match[2]))

    def table(self, key: str) -> Table:
        """The table at *key* within this one; an empty one when there is none."""
        value = self._take(key)
        return Table(self.file, f"{self.name}.{key}" if self.name else key, {} if value is None else value)

    def names(self) -> list[str]:
        """The keys that are left, in the order of the file."""
        return list(self._values)

    def end(self, hints: Mapping[str, str] | None = None) -> None:
        """Raise UsageError for a key that nobody took; *hints* say what to do about some."""
        for key in self._values:
            where = f"[{self.name}] " if self.name else ""
            hint = (hints or {}).get(key) or f"the keys here are {', '.join(self._known)}"
            raise UsageError(f"{self.file}: {where}{key} is not known; {hint}.")
