"""The steps of a sync, by name: shown on the status page, and used by fault tests to stop a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

Step = Literal[
    "held",  # no other sync of the organisation runs
    "opened",  # the remote is open and its clock read: the upper bound is fixed
    "fetched",  # pages are here
    "stored",  # pages and watermark are written, not committed
    "committed",
    "listed",  # a list was read to its end, its watermark stands at the upper bound
    "destination read",
    "planned",
    "pushed",  # one record was written to the destination
    "based",  # ... and its new base committed
    "stated",  # the state of the organisation is written
]

Report = Callable[[Step, dict[str, Any]], None]
"""Told each step as it is reached, with its progress: counts, names of lists; never a value of a record."""


def silent(step: Step, progress: dict[str, Any]) -> None:
    """Do nothing: a Report that nobody reads."""
