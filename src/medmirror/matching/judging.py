"""The verdict on two records that were compared: joined, put before a person, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medmirror.matching.fields import AGREE, CLOSE, DIFFER, FIELDS, MISSING, Level, level_of

IDENTIFIER, MODEL, USER = "identifier", "model", "user"  #: grades: the ground of a decision
JOINED, REVIEW, REJECTED, UNDONE = "joined", "review", "rejected", "undone"  #: statuses


RULES = 1  #: raise it when ``judge`` is changed: all pairs are then judged anew
SURE_GIVEN = frozenset({"same", "exchanged with the family name", "one slip"})
SURE_BIRTH_DATE = frozenset({"same", "day and month exchanged", "one slip"})
"""The levels that given name and birth date need for a pair to be joined without a common identifier."""


class Compared(NamedTuple):
    """The comparison of two records: *levels* and *weights* (bits) in the order of the entity's fields.

    A level has splink's number (-1: missing).
    """

    probability: float
    weight: float
    levels: tuple[int, ...]
    weights: tuple[float, ...]
    same_source: bool


class Verdict(NamedTuple):
    """The verdict on a pair: *status* is joined, review or empty; *held* has the reasons against a join."""

    status: str
    grade: str
    held: tuple[str, ...] = ()


def judge(entity: str, pair: Compared, join_at: float, review_at: float) -> Verdict:
    """The verdict on *pair*.

    Records that their own source merged are one person. So are records with an identifier in common, unless birth date
    or sex differs. All others need a probability of *join_at*, and given name and birth date must agree but for a slip,
    since a household shares nearly everything else. From *review_at* on a pair is put before a person.
    """
    agreement = {field.name: level_of(field, number) for field, number in zip(FIELDS[entity], pair.levels, strict=True)}
    if _word(agreement, "merge") == AGREE:
        return Verdict(JOINED, IDENTIFIER)
    held = [f"{name} differs" for name in ("birth_date", "sex") if _word(agreement, name) == DIFFER]
    identifier = agreement["identifier"]
    if identifier is not None and identifier.says == AGREE:
        if not held:
            return Verdict(JOINED, IDENTIFIER)
        if held == ["birth_date differs"] and pair.probability >= join_at and _all_else_agrees(agreement):
            return Verdict(JOINED, MODEL)
        return Verdict(REVIEW if pair.probability >= review_at else "", IDENTIFIER, tuple(held))
    if pair.probability < review_at or _two_people(agreement):
        return Verdict("", MODEL)
    held += _obstacles(entity, agreement, pair.same_source)
    if pair.probability < join_at:
        held.append("not sure enough")
    return Verdict(REVIEW if held else JOINED, MODEL, tuple(held))


def _word(agreement: Mapping[str, Level | None], name: str) -> str:
    level = agreement.get(name)
    return level.says if level else MISSING


def _all_else_agrees(agreement: Mapping[str, Level | None]) -> bool:
    """Whether names and an address, phone or mail agree, but for slips.

    A wrong birth date is then more likely than that all of them, and the identifier, are wrong.
    """
    near = (AGREE, CLOSE)
    reached = any(_word(agreement, name) in near for name in ("address", "phone", "email"))
    return reached and _word(agreement, "family") in near and _word(agreement, "given") in near


def _two_people(agreement: Mapping[str, Level | None]) -> bool:
    """Whether two of given name, birth date and sex differ: all else that agrees, a household shares."""
    return sum(_word(agreement, name) == DIFFER for name in ("given", "birth_date", "sex")) > 1


def _obstacles(entity: str, agreement: Mapping[str, Level | None], same_source: bool) -> list[str]:
    """The reasons against joining a pair without a common identifier, however probable it is."""
    held: list[str] = []
    if same_source and agreement["identifier"] is not None:
        held.append("one source gives them different identifiers")
    given, birth_date = agreement["given"], agreement["birth_date"]
    if given is None:
        held.append("given is missing")
    elif given.name not in SURE_GIVEN:
        held.append("given differs" if given.says == DIFFER else "given is only alike")
    elif given.says != AGREE and _word(agreement, "middle") == DIFFER:  # twins of names one letter apart
        held.append("middle differs")
    if birth_date is None:
        reached = entity == "practitioner" and AGREE in (_word(agreement, "phone"), _word(agreement, "email"))
        held += [] if reached else ["birth_date is missing"]
    elif birth_date.says != DIFFER and birth_date.name not in SURE_BIRTH_DATE:
        held.append("birth_date is only alike")
    return held


def evidence(entity: str, pair: Compared, held: Sequence[str] = (), deleted: Sequence[str] = ()) -> dict[str, Any]:
    """The evidence of a verdict, for people; it holds no value of a record.

    It has a level, a word and a weight in bits for each field; the reasons against a join (*held*); and which of the
    two records (left, right) are *deleted* in their source.
    """
    by_field = {}
    for field, number, weight in zip(FIELDS[entity], pair.levels, pair.weights, strict=True):
        level: Level | None = level_of(field, number)
        by_field[field.name] = {
            "says": level.says if level else MISSING,
            "level": level.name if level else MISSING,
            "weight": round(weight, 2),
        }
    return {"fields": by_field, "held": list(held), "deleted": list(deleted)}


def levels(grounds: Mapping[str, Any]) -> dict[str, str]:
    """The level of each field in *grounds*, a result of ``evidence``. Two records that compare alike have the same."""
    return {name: field["level"] for name, field in grounds["fields"].items()}
