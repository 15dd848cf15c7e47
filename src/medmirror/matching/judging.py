"""What becomes of two records that were compared: joined, put before a person, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medmirror.matching.fields import AGREE, CLOSE, DIFFER, FIELDS, MISSING, Level, level_of

IDENTIFIER, MODEL, USER = "identifier", "model", "user"  #: grades: what a decision rests on
JOINED, REVIEW, REJECTED, UNDONE = "joined", "review", "rejected", "undone"  #: statuses


RULES = 1  #: to be raised when ``judge`` is changed, so that everything is judged anew
SURE_GIVEN = frozenset({"same", "exchanged with the family name", "one slip"})
SURE_BIRTH_DATE = frozenset({"same", "day and month exchanged", "one slip"})
"""Levels on which given name and birth date must be for a pair to be joined without a common identifier."""


class Compared(NamedTuple):
    """Two records as they compare: *levels* and *weights* (bits) in the order of the entity's fields, a level as splink
    numbers it (-1: missing)."""

    probability: float
    weight: float
    levels: tuple[int, ...]
    weights: tuple[float, ...]
    same_source: bool


class Verdict(NamedTuple):
    """*status* is joined, review, or empty for nothing. *held* says what kept the pair from being joined by itself."""

    status: str
    grade: str
    held: tuple[str, ...] = ()


def judge(entity: str, pair: Compared, join_at: float, review_at: float) -> Verdict:
    """The verdict on *pair*.

    Records that their own source merged are one. Those with an identifier in common are one person's unless birth date
    or sex speaks against it. All others need a probability of *join_at*, and more: a household shares nearly everything
    but given names and birthdays, so these must agree, but for a slip, for a pair to be joined without a person's word.
    """
    said = {field.name: level_of(field, number) for field, number in zip(FIELDS[entity], pair.levels, strict=True)}
    if _says(said, "merge") == AGREE:
        return Verdict(JOINED, IDENTIFIER)
    held = [f"{name} differs" for name in ("birth_date", "sex") if _says(said, name) == DIFFER]
    identifier = said["identifier"]
    if identifier is not None and identifier.says == AGREE:
        if not held:
            return Verdict(JOINED, IDENTIFIER)
        if held == ["birth_date differs"] and pair.probability >= join_at and _all_else_agrees(said):
            return Verdict(JOINED, MODEL)
        return Verdict(REVIEW if pair.probability >= review_at else "", IDENTIFIER, tuple(held))
    if pair.probability < review_at or _two_people(said):
        return Verdict("", MODEL)
    held += _wanting(entity, said, pair.same_source)
    if pair.probability < join_at:
        held.append("not sure enough")
    return Verdict(REVIEW if held else JOINED, MODEL, tuple(held))


def _says(said: Mapping[str, Level | None], name: str) -> str:
    level = said.get(name)
    return level.says if level else MISSING


def _all_else_agrees(said: Mapping[str, Level | None]) -> bool:
    """Whether names and a way to reach the person agree, but for slips: then a birth date alone is more likely to be
    wrong than all of them and the identifier."""
    near = (AGREE, CLOSE)
    reached = any(_says(said, name) in near for name in ("address", "phone", "email"))
    return reached and _says(said, "family") in near and _says(said, "given") in near


def _two_people(said: Mapping[str, Level | None]) -> bool:
    """Whether two of given name, birth date and sex differ: whatever such records share, a household does."""
    return sum(_says(said, name) == DIFFER for name in ("given", "birth_date", "sex")) > 1


def _wanting(entity: str, said: Mapping[str, Level | None], same_source: bool) -> list[str]:
    """What keeps a pair without a common identifier from being joined, however probable it is."""
    held: list[str] = []
    if same_source and said["identifier"] is not None:
        held.append("one source gives them different identifiers")
    given, birth_date = said["given"], said["birth_date"]
    if given is None:
        held.append("given is missing")
    elif given.name not in SURE_GIVEN:
        held.append("given differs" if given.says == DIFFER else "given is only alike")
    elif given.says != AGREE and _says(said, "middle") == DIFFER:  # twins of names one letter apart
        held.append("middle differs")
    if birth_date is None:
        known = entity == "practitioner" and AGREE in (_says(said, "phone"), _says(said, "email"))
        held += [] if known else ["birth_date is missing"]
    elif birth_date.says != DIFFER and birth_date.name not in SURE_BIRTH_DATE:
        held.append("birth_date is only alike")
    return held


def evidence(entity: str, pair: Compared, held: Sequence[str] = (), deleted: Sequence[str] = ()) -> dict[str, Any]:
    """What a verdict rests on, for people: a level, a word and a weight in bits for each field; what held it back;
    which of the two records (left, right) are deleted in their source. No value of a record."""
    told = {}
    for field, number, weight in zip(FIELDS[entity], pair.levels, pair.weights, strict=True):
        level: Level | None = level_of(field, number)
        told[field.name] = {
            "says": level.says if level else MISSING,
            "level": level.name if level else MISSING,
            "weight": round(weight, 2),
        }
    return {"fields": told, "held": list(held), "deleted": list(deleted)}


def levels(found: Mapping[str, Any]) -> dict[str, str]:
    """The level of each field in what ``evidence`` gave: two records that compare alike have the same."""
    return {name: one["level"] for name, one in found["fields"].items()}
