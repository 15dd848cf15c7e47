"""The scope of a record's converters: its time zone, its country, and the problems so far."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """A field of a record that could not be mapped as it should be; never quotes its value.

    *field* is the target ("names[official].family"), *code* one of: missing (required, and not there), unreadable (not
    what the converter reads), gap, fold (a wall clock's time that the clocks skipped, or showed twice), shape (no
    object where one was declared), function_failed (the user's own).
    """

    field: str
    code: str


class Scope:
    """The state of mapping one record. *zone*: IANA name or offset for times without one; *region*: ISO 3166 alpha-2
    for phone numbers without a country."""

    __slots__ = ("field", "problems", "region", "zone")

    def __init__(self, zone: str | None = None, region: str | None = None) -> None:
        self.zone = zone
        self.region = region
        self.field = ""  # the target under way
        self.problems: list[Problem] = []

    def note(self, code: str) -> None:
        """Note a problem with the field under way."""
        self.problems.append(Problem(self.field, code))
