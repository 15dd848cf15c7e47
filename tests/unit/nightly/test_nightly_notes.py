"""What the page of a night says first about fields: the problems with them, and those that were withheld."""

from __future__ import annotations

from typing import Any

from medmirror.nightly import page


def notes(**part: Any) -> list[str]:
    whole = {
        "name": "load/clinic",
        "status": "rejects",
        "source": "csv",
        "organization": "org_1",
        "error": None,
        **part,
    }
    return list(page.notes({"stopped": None, "parts": [whole], "open": [], "counts": {}}))


def test_problems_are_told_by_field_with_their_counts() -> None:
    told = notes(
        field_problems={"csv.patient: birth_date unreadable": 1200, "csv.patient: notes unreadable": 1},
        over_limit=["csv.patient: birth_date unreadable"],
    )
    assert told == [
        "load/clinic: 1,200 x csv.patient: birth_date unreadable (over MEDMIRROR_PROBLEM_LIMIT).",
        "load/clinic: 1 x csv.patient: notes unreadable.",
    ]


def test_many_kinds_of_problem_are_summed_up() -> None:
    told = notes(field_problems={f"csv.patient: extra.f{number} unreadable": 1 for number in range(25)})
    assert (len(told), told[-1]) == (21, "load/clinic: 5 more kinds of problem; the JSON has all of them.")


def test_withheld_fields_are_told_with_what_to_do() -> None:
    (told,) = notes(withheld_fields={"csv.patient: phones": 20})
    assert told.startswith("Fields withheld: csv/org_1 csv.patient: phones")
    assert "medmirror map --org org_1 --accept-empty-fields" in told
