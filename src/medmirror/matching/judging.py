"""The verdict on two records that were compared: joined, put before a person, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medmirror.matching.fields import AGREE, CLOSE, DIFFER, FIELDS, MISSING, Level, level_of

IDENTIFIER, MODEL, USER = "identifier", "model", "user"  #: grades: the ground of a decision
MERGE = "merge"  #: a merge in the source: the firmest of the grounds that are kept as identifier
JOINED, REVIEW, REJECTED, UNDONE = "joined", "review", "rejected", "undone"  #: statuses


RULES = 2  #: raise it when ``judge`` is changed: all pairs are then judged anew
SURE_GIVEN = frozenset({"same", "exchanged with the family name", "one slip"})
SURE_BIRTH_DATE = frozenset({"same", "day and month exchanged", "one slip"})
"""The levels that given name and birth date need for a pair to be joined without a common identifier."""
NAMELESS, ONE_LETTER, OTHER_GIVEN = "no name", "one letter apart", "another of their names"  #: levels of given
OWN = "same"  #: level of identifier: a number that a grown person has alone
_DOUBTS = {NAMELESS: "given is no name yet", ONE_LETTER: "given may be another name"}
_PERSONAL = ("birth_date", "sex", "generation", "given")  # fields that no two records of one person differ in


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

    Records that their own source merged are one person. So are records with an identifier in common, unless what is
    known of the person contradicts it. All others need a probability of *join_at*, and given name and birth date must
    agree but for a slip, since a household shares nearly everything else. From *review_at* on a pair is put before a
    person.
    """
    agreement = {field.name: level_of(field, number) for field, number in zip(FIELDS[entity], pair.levels, strict=True)}
    if _word(agreement, "merge") == AGREE:
        return Verdict(JOINED, MERGE)
    if _word(agreement, "identifier") == AGREE:
        return _of_one_identifier(agreement, pair.probability, join_at, review_at)
    if pair.probability < review_at or _two_people(agreement):
        return Verdict("", MODEL)
    held = [f"{name} differs" for name in _PERSONAL if _word(agreement, name) == DIFFER]
    held += _obstacles(entity, agreement, pair.same_source)
    if pair.probability < join_at:
        held.append("not sure enough")
    return Verdict(REVIEW if held else JOINED, MODEL, tuple(held))


def _of_one_identifier(
    agreement: Mapping[str, Level | None], probability: float, join_at: float, review_at: float
) -> Verdict:
    """The verdict on two records with an identifier in common.

    Clerks take the wrong card, families have one number, twins have their mother's. So names and birth dates must speak
    for it: more of them when the number is not surely a person's own.
    """
    held = [f"{name} differs" for name in ("sex", "generation") if _word(agreement, name) == DIFFER]
    given = agreement["given"]
    if given is not None and given.name == NAMELESS:
        held.append(_DOUBTS[NAMELESS])
    identifier = agreement["identifier"]
    own = identifier is not None and identifier.name == OWN
    wrong_day = own and _word(agreement, "birth_date") == DIFFER and _all_else_agrees(agreement)
    if not held and wrong_day and probability >= join_at:
        return Verdict(JOINED, MODEL)
    held += _unlike_own(agreement) if own else _unlike_shared(agreement)
    if not held:
        return Verdict(JOINED, IDENTIFIER)
    return Verdict(REVIEW if probability >= review_at else "", IDENTIFIER, tuple(held))


def _unlike_own(agreement: Mapping[str, Level | None]) -> list[str]:
    """The reasons against joining two records that have a grown person's own number in common.

    With the same birth date one name may be another one: people marry, and go by other names.
    """
    family, given, birth_date = (_word(agreement, name) for name in ("family", "given", "birth_date"))
    differing = [f"{name} differs" for name, word in (("given", given), ("family", family)) if word == DIFFER]
    if birth_date == DIFFER:
        return ["birth_date differs", *differing]
    if birth_date != MISSING:
        return [] if len(differing) < 2 or _reached(agreement) else differing
    if given == MISSING:
        enough = family in (AGREE, CLOSE) and _reached(agreement)
        return [] if enough else ["neither given nor birth_date can be compared", *differing]
    return [] if not differing or (given != DIFFER and _reached(agreement)) else differing


def _unlike_shared(agreement: Mapping[str, Level | None]) -> list[str]:
    """The reasons against joining two records that have a number in common which a family may have, or a practice gave.

    The given name must agree, and the birth date, or where it is not known the family name.
    """
    held = [f"{name} differs" for name in ("birth_date", "given") if _word(agreement, name) == DIFFER]
    given = agreement["given"]
    if given is None:
        held.append("given is missing")
    elif given.name not in SURE_GIVEN and given.name != OTHER_GIVEN and not held:
        held.append(_DOUBTS.get(given.name, "given is only alike"))
    if _word(agreement, "birth_date") == MISSING and _word(agreement, "family") not in (AGREE, CLOSE):
        held.append("birth_date is missing, and family does not agree")
    return held


def _reached(agreement: Mapping[str, Level | None]) -> bool:
    return any(_word(agreement, name) in (AGREE, CLOSE) for name in ("address", "phone", "email"))


def _word(agreement: Mapping[str, Level | None], name: str) -> str:
    level = agreement.get(name)
    return level.says if level else MISSING


def _all_else_agrees(agreement: Mapping[str, Level | None]) -> bool:
    """Whether names and an address, phone or mail agree, but for slips, and nothing tells a father from his son.

    A wrong birth date is then more likely than that all of them, and the identifier, are wrong.
    """
    names = all(_word(agreement, name) in (AGREE, CLOSE) for name in ("family", "given"))
    return names and _word(agreement, "generation") in (AGREE, MISSING) and _reached(agreement)


def _two_people(agreement: Mapping[str, Level | None]) -> bool:
    """Whether two of given name, birth date and sex differ: all else that agrees, a household shares."""
    return sum(_word(agreement, name) == DIFFER for name in ("given", "birth_date", "sex")) > 1


def _obstacles(entity: str, agreement: Mapping[str, Level | None], same_source: bool) -> list[str]:
    """The reasons against joining a pair without a common identifier, however probable it is."""
    held: list[str] = []
    if same_source and agreement["identifier"] is not None:
        held.append("one source gives them different identifiers")
    given, birth_date = agreement["given"], agreement["birth_date"]
    slips = sum(level is not None and level.name == "one slip" for level in (given, birth_date))
    if given is None:
        held.append("given is missing")
    elif given.name not in SURE_GIVEN:
        held += [_DOUBTS.get(given.name, "given is only alike")] * (given.says != DIFFER)
    elif slips > 1:  # brothers and sisters of names alike
        held.append("given and birth_date are only alike")
    if _word(agreement, "middle") == DIFFER:  # twins of one first name, or of names one letter apart
        held.append("middle differs")
    if birth_date is None:
        reached = entity == "practitioner" and AGREE in (_word(agreement, "phone"), _word(agreement, "email"))
        held += [] if reached else ["birth_date is missing"]
    elif birth_date.says != DIFFER and birth_date.name not in SURE_BIRTH_DATE:
        held.append("birth_date is only alike")
    elif _word(agreement, "generation") == CLOSE and birth_date.says != AGREE:  # of one only: a father and his son
        held.append("generation is said of one only")
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
