"""Converters for the parts of FHIR's resources that a table of paths cannot map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from medmirror.mapping.convert.fhir import reference, written

Pair = tuple[Callable[[Any], Any], Callable[[Any], Any]]

_BIRTH_SEX = {"F": "FEMALE", "M": "MALE", "OTH": "OTHER", "UNK": "UNKNOWN", "ASKU": "UNKNOWN"}
_GENDER = {"female": "FEMALE", "male": "MALE", "other": "OTHER", "unknown": "UNKNOWN"}


def _sex_up(values: tuple[Any, Any]) -> dict[str, Any] | None:
    """(us-core-birthsex, administrative gender) as a sex: that at birth, when the source has it."""
    born, gender = values
    if isinstance(born, str) and born in _BIRTH_SEX:
        return {"code": _BIRTH_SEX[born], "raw": born}
    return {"code": _GENDER.get(gender, "OTHER"), "raw": gender} if _is_text(gender) else None


def _sex_down(sex: dict[str, Any]) -> tuple[str | None, str | None]:
    code, raw = sex["code"], sex.get("raw")
    if raw is not None:
        return (raw, None) if _BIRTH_SEX.get(raw) == code else (None, raw)
    if code == "UNKNOWN":
        raise ValueError
    return None, {meant: word for word, meant in _GENDER.items()}[code]


sex: Pair = (_sex_up, _sex_down)


def _status_of_active_up(active: Any) -> dict[str, Any] | None:
    """Whether an organisation is active, as the status of a location."""
    return {"code": "ACTIVE" if active else "INACTIVE", "raw": None} if isinstance(active, bool) else None


def _status_of_active_down(status: dict[str, Any]) -> bool:
    return {"ACTIVE": True, "INACTIVE": False}[status["code"]]


status_of_active: Pair = (_status_of_active_up, _status_of_active_down)

# --- who takes part ---------------------------------------------------------------------------------------------------
# The first participant of each kind has a field of its own; the list itself is kept in extra.


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects of an array; a lone one is an array of one."""
    return [element for element in (value if isinstance(value, list) else [value]) if isinstance(element, dict)]


_MEANT = {"individual": "Practitioner"}
"""The kind of a participant when its reference (a ``urn:uuid:`` of a Bundle) does not name it."""


def _who(participants: Any, member: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(participant, canonical reference) of each participant that names a record."""
    for participant in _objects(participants):
        member_value = participant.get(member)
        if isinstance(member_value, dict) and (target := reference(member_value, _MEANT.get(member))):
            yield participant, target


def _first(kind: str, member: str) -> Pair:
    """The first participant of a kind. (the array, where to write to)"""

    def up(values: tuple[Any, Any]) -> dict[str, Any] | None:
        return next((target for _, target in _who(values[0], member) if target.get("feed") == kind), None)

    def down(value: dict[str, Any]) -> tuple[None, dict[str, Any]]:
        if value.get("feed") != kind:
            raise ValueError
        return None, written(value)

    return up, down


appointment_patient = _first("Patient", "actor")
appointment_practitioner = _first("Practitioner", "actor")
appointment_location = _first("Location", "actor")
encounter_practitioner = _first("Practitioner", "individual")

_STATUS = {"accepted": "ACCEPTED", "declined": "DECLINED", "tentative": "TENTATIVE", "needs-action": "NEEDS_ACTION"}


def _others(member: str, *firsts: str) -> Callable[[Any], list[dict[str, Any]] | None]:
    """All participants but the first of each kind; the way back is only through extra."""

    def up(values: Any) -> list[dict[str, Any]] | None:
        firsts_left, participants = set(firsts), []
        for participant, target in _who(values, member):
            if target.get("feed") in firsts_left:
                firsts_left.remove(target["feed"])
                continue
            part: dict[str, Any] = {"who": target}
            if role := _concept(next(iter(_objects(participant.get("type"))), None)):
                part["role"] = role
            if isinstance(status := participant.get("status"), str) and status:
                part["status"] = {"code": _STATUS.get(status, "OTHER"), "raw": status}
            participants.append(part)
        return participants or None

    return up


appointment_others = _others("actor", "Patient", "Practitioner", "Location")
encounter_others = _others("individual", "Practitioner")

# --- concepts, prescriptions, coverages, documents --------------------------------------------------------------------


def _concept(value: Any) -> dict[str, Any] | None:
    """A CodeableConcept as a concept."""
    if not isinstance(value, dict):
        return None
    codings = [
        {name: coding[name].strip() for name in ("system", "code", "display") if _is_text(coding.get(name))}
        for coding in _objects(value.get("coding"))
    ]
    concept: dict[str, Any] = {"text": value["text"].strip()} if _is_text(value.get("text")) else {}
    return concept | ({"codings": kept} if (kept := [coding for coding in codings if coding]) else {}) or None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _medication_up(values: tuple[Any, ...]) -> dict[str, Any] | None:
    """(medicationCodeableConcept, code of a contained Medication, display of a medicationReference) as a concept."""
    coded, contained, words = values
    return _concept(coded) or _concept(contained) or ({"text": words.strip()} if _is_text(words) else None)


def _medication_down(value: dict[str, Any]) -> tuple[dict[str, Any], None, None]:
    text = {"text": value["text"]} if "text" in value else {}
    return {**text, **({"coding": value["codings"]} if "codings" in value else {})}, None, None


medication: Pair = (_medication_up, _medication_down)


def _prescriber_up(values: tuple[Any, Any]) -> dict[str, Any] | None:
    """(requester, requester.agent): R4 says it itself, STU3 in its agent."""
    requester = next((candidate for candidate in reversed(values) if isinstance(candidate, dict)), None)
    return reference(requester, "Practitioner") if requester else None


prescriber: Pair = (_prescriber_up, lambda value: (written(value), None))


_CLASS = "http://terminology.hl7.org/CodeSystem/coverage-class"


def _class_of(coverage_class: dict[str, Any], kinds: tuple[str, ...]) -> str | None:
    """The kind, one of *kinds*, of a class of R4; None for another one."""
    concept = _concept(coverage_class.get("type")) or {}
    words = (concept.get("text"), *(coding.get("code") for coding in concept.get("codings", ())))
    return next((kind for kind in kinds if kind in words), None)


def _class(kind: str) -> Pair:
    """(R4's array of classes, where to write to, STU3's grouping) as the value of the class of that kind."""

    def up(values: tuple[Any, Any, Any]) -> str | None:
        values_of_kind = [
            coverage_class.get("value") for coverage_class in _objects(values[0]) if _class_of(coverage_class, (kind,))
        ]
        return next((text.strip() for text in (*values_of_kind, values[2]) if _is_text(text)), None)

    def down(value: str) -> tuple[None, dict[str, Any], None]:
        return None, {"type": {"coding": [{"system": _CLASS, "code": kind}]}, "value": value}, None

    return up, down


plan = _class("plan")
group_number = _class("group")


def _classes_up(values: Any) -> list[dict[str, Any]] | None:
    """R4's classes, when they say more than the value of a plan and of a group."""
    classes = _objects(values)
    kinds = [
        _class_of(coverage_class, ("plan", "group"))
        for coverage_class in classes
        if coverage_class.keys() <= {"type", "value"}
    ]
    return classes if len({*kinds} - {None}) < len(classes) else None


classes: Pair = (_classes_up, lambda value: value)


def _other_content_up(values: tuple[Any, ...]) -> list[dict[str, Any]] | None:
    """(the array of contents, where to write to ...): all renditions of a document but the first, without bytes."""
    renditions = [
        {name: value for name, value in content["attachment"].items() if name != "data"}
        for content in _objects(values[0])[1:]
        if isinstance(content.get("attachment"), dict)
    ]
    return renditions or None


other_content: Pair = (_other_content_up, lambda value: (None, *value))
