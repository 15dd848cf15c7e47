"""What mapping had to say of the records of a run, as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SHOWN = 20


def is_open(counts: Mapping[str, Any]) -> bool:
    """Whether *counts*, of a run, hold something that a person has to look at: problems over the limit, or fields whose
    emptiness was withheld."""
    return bool(counts.get("over_limit") or counts.get("withheld_fields"))


def lines(counts: Mapping[str, Any], consent: str) -> Iterator[str]:
    """The problems by field and the withheld fields in *counts*; *consent* is the command that says that they are
    empty."""
    problems: Mapping[str, int] = counts.get("problems") or {}
    over: Sequence[str] = counts.get("over_limit") or ()
    for name, times in list(problems.items())[:_SHOWN]:
        yield f"{times:,} x {name}" + (" (over MEDMIRROR_PROBLEM_LIMIT)" if name in over else "")
    if len(problems) > _SHOWN:
        yield f"and {len(problems) - _SHOWN:,} more kinds of problem; --json has all of them"
    withheld: Mapping[str, int] = counts.get("withheld_fields") or {}
    for name, times in withheld.items():
        yield f"withheld: {times:,} x {name}: filled before, and empty in all new records; the old values stay"
    if withheld:
        yield f"If they are gone: {consent}"
