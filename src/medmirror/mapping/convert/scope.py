"""The scope of a record's converters: its time zone, its country, and the problems so far."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """A field of a record that could not be mapped as it should be; never quotes its value.

    *field* is the target ("names[official].family"), *code* one of: missing (required, and not there), unreadable (not
    what the converter reads), placeholder (a date that stands for none), zone (a time on the clock of a zone that
    nobody knows), gap, fold (a wall clock's time that the clocks skipped, or showed twice), shape (no object where one
    was declared), function_failed (the user's own).
    """

    field: str
    code: str


class Unusable(ValueError):
    """A value that is given up for a reason of its own: *code*, as of Problem."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


UNKNOWN_ZONE = "?"
"""The zone of a record that names one which nobody knows: its clock's times cannot be placed."""


class Scope:
    """The state of mapping one record. *zone*: IANA name or offset for times without one, or UNKNOWN_ZONE; *region*:
    ISO 3166 alpha-2 for phone numbers without a country."""

    __slots__ = ("field", "problems", "region", "zone")

    def __init__(self, zone: str | None = None, region: str | None = None) -> None:
        self.zone = zone
        self.region = region
        self.field = ""  # the target under way
        self.problems: list[Problem] = []

    def note(self, code: str) -> None:
        """Note a problem with the field under way."""
        self.problems.append(Problem(self.field, code))
