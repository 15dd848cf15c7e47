"""One system's canonical record in another system's words, and back into its document. Pure.

Two systems never hold quite the same: one lacks a field, another has its own words. So records are compared in the
*destination's* words: as it would show them if it held exactly our record (``project``: written by its mapper, and
read again). Fields that it cannot hold are named as lost, once, and make no difference afterwards.

Of a record of the destination we compare and write only the fields that our record has, or had when both agreed. All
others were entered there and stay as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from medmirror.errors import InvalidRecord
from medmirror.mapping import Mapper
from medmirror.mapping.rules.fetch import UNREADABLE
from medmirror.sync.destination.conflict import Record, deep, flat

Find = Callable[[str, str], tuple[str, str] | None]
"""(feed, id) of a record of ours -> (feed, id) of its copy in the destination; None: it has none."""

NEEDED: Mapping[str, tuple[str, ...]] = {"appointment": ("patient",), "encounter": ("patient",)}
"""References without which a record is of no use there: it waits until what they name has a copy."""


class Projection(NamedTuple):
    """Our record as the destination would show it.

    *lost*: paths that it cannot hold; *open*: needed references to records that have no copy there yet.
    """

    record: dict[str, Any]
    lost: tuple[str, ...]
    open: tuple[str, ...]


def project(record: Record, entity: str, mapper: Mapper, find: Find, *, foreign: bool = True) -> Projection:
    """Return *record* of ours in the words of *mapper*'s system. Raises InvalidRecord when it cannot be written there
    at all.

    *foreign*: that is another kind of system, to which our own words for a code (``raw``) mean nothing.
    """
    lost: list[str] = []
    translated = _translated(record, find, "", lost)
    open_ = tuple(name for name in NEEDED.get(entity, ()) if name in record and name not in translated)
    translated = with_words(_coded(translated) if foreign else translated, mapper)
    written, missing = to_document(translated, mapper)
    back = mapper.to_canonical(written).record
    if not back:
        raise InvalidRecord("The destination's mapper makes nothing of this record.")
    return Projection(back, tuple(sorted({*lost, *missing})), open_)


def to_document(record: Record, mapper: Mapper) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the document of *record*, and the paths that it cannot hold. Raises InvalidRecord."""
    try:
        return mapper.from_canonical(dict(record))
    except UNREADABLE as error:  # `from None`: the text of such an error may quote a value
        reason = f"The destination's mapper cannot write this record ({type(error).__name__})."
        raise InvalidRecord(reason) from None


def _translated(value: Any, find: Find, at: str, lost: list[str]) -> Any:
    """Return *value* with references to copies instead of our records; references without a copy are left out."""
    if isinstance(value, Mapping):
        if _is_reference(value):
            copy = find(value["feed"], value["id"])
            if copy is None:
                lost.append(at)
                return None
            return {**value, "feed": copy[0], "id": copy[1]}
        translated = {
            name: _translated(item, find, f"{at}.{name}" if at else name, lost) if item is not None else None
            for name, item in value.items()
        }
        return {name: item for name, item in translated.items() if item is not None or value[name] is None}
    if isinstance(value, list):
        items = [_translated(item, find, f"{at}[]", lost) for item in value]
        return [item for item in items if item is not None] or ([] if not value else None)
    return value


def _coded(value: Any) -> Any:
    """Return *value* with the codes of its enums alone, without our words for them."""
    if isinstance(value, Mapping):
        if _is_enum(value):
            return {**value, "raw": None}
        return {name: _coded(item) for name, item in value.items()}
    return [_coded(item) for item in value] if isinstance(value, list) else value


def with_words(record: Record, mapper: Mapper) -> dict[str, Any]:
    """Return *record* with words for those of its enums that have none, where *mapper* can write them.

    A code is written in the word that the mapper declares for it, else as the code itself, as FHIR writes them. Where
    even that is not understood when it is read again, nothing is written.
    """
    lost = to_document(record, mapper)[1]
    still_lost = to_document(_with_words(record, lost, ""), mapper)[1]
    worded: dict[str, Any] = _with_words(
        record, [path for path in lost if not any(lost_path.startswith(path) for lost_path in still_lost)], ""
    )
    return worded


def _with_words(value: Any, paths: Sequence[str], at: str) -> Any:
    if isinstance(value, Mapping):
        if _is_enum(value):
            no_word = value["raw"] is not None or value["code"] in ("OTHER", "UNKNOWN")
            if no_word or not any(at.startswith(path) for path in paths):
                return dict(value)
            return {**value, "raw": value["code"].lower().replace("_", "-")}
        return {name: _with_words(item, paths, f"{at}.{name}" if at else name) for name, item in value.items()}
    return [_with_words(item, paths, f"{at}[]") for item in value] if isinstance(value, list) else value


def _is_enum(value: Mapping[str, Any]) -> bool:
    return value.keys() == {"code", "raw"}


def _is_reference(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("feed"), str) and isinstance(value.get("id"), str)


def restrict(record: Record, names: Iterable[str]) -> dict[str, Any]:
    """Return those fields of *record* (named as by ``flat``)."""
    fields = flat(record)
    return deep({name: fields[name] for name in names if name in fields})


def compared_fields(*versions: Record | None) -> set[str]:
    """Return the fields that are ours to compare: those that a version of our record has. An UNKNOWN enum counts as
    none.
    """
    return {name for version in versions if version for name, value in flat(version).items() if not _silent(value)}


def _silent(value: Any) -> bool:
    return isinstance(value, Mapping) and _is_enum(value) and value["code"] == "UNKNOWN"


def overlay(under: Record, over: Record, names: Iterable[str]) -> dict[str, Any]:
    """Return *under* with the fields *names* as in *over*; a field that *over* lacks is removed."""
    fields, over_fields = flat(under), flat(over)
    for name in names:
        if name in over_fields:
            fields[name] = over_fields[name]
        else:
            fields.pop(name, None)
    return deep(fields)


def document(
    record: Record, mapper: Mapper, standing: Mapping[str, Any] | None, before: Record | None, whole: bool
) -> dict[str, Any]:
    """Return the document to write for *record*.

    *standing* is the document that stands there, *before* its canonical form (both None: the record is new). *whole*:
    the destination takes documents whole, so keys that no mapper reads are kept, and removed fields are left out.
    Otherwise it takes changes: the keys to change, null where a value goes away.
    """
    body, _ = to_document(record, mapper)
    if standing is None:
        return body
    old_body = to_document(before, mapper)[0] if before is not None else {}
    removed = [name for name in old_body if name not in body]
    if whole:
        return {**{name: value for name, value in standing.items() if name not in removed}, **body}
    changes = {name: value for name, value in body.items() if standing.get(name) != value}
    return {**changes, **{name: None for name in removed if standing.get(name) is not None}}


# --- a record that was deleted here

_RETIRED: Mapping[str, Mapping[str, Any]] = {
    "patient": {"active": False},
    "practitioner": {"active": False},
    "location": {"status": {"code": "INACTIVE", "raw": None}},
    "appointment": {"status": {"code": "CANCELLED", "raw": None}},
}


def retire(record: Record, entity: str, utc: str) -> dict[str, Any] | None:
    """Return *record* as it is to stand in the destination after its deletion here at the time *utc*: retired, not
    destroyed.

    None when such a record cannot be retired.
    """
    if entity not in _RETIRED:
        return None
    retired = {**record, **_RETIRED[entity]}
    if entity == "appointment" and not retired.get("cancelled_at"):
        retired["cancelled_at"] = {"utc": utc, "zone": "UTC"}
    return retired


def retirement_fields(entity: str) -> set[str]:
    """Return the fields that say that a record was retired, but for the time of it."""
    return set(_RETIRED.get(entity, ()))


def is_retired(record: Record, entity: str) -> bool:
    """Return whether *record* of the destination says that it was retired."""
    return all(
        (record.get(name) or {}).get("code") == value["code"]
        if isinstance(value, Mapping)
        else record.get(name) == value
        for name, value in _RETIRED.get(entity, {"": True}).items()
    )


# --- records that may be the same


def likeness(record: Record, entity: str) -> bytes | None:
    """Return a digest that is equal for records that may well be the same; None where there is too little to compare.

    It is made of a person's family name and birthday (given name, where there is none), or of a place's name.
    """
    names = record.get("names") or [{}]
    family, given_names = _word(names[0].get("family")), _word(" ".join(names[0].get("given") or ()))
    if entity == "patient":
        parts = (family, str(record.get("birth_date") or given_names))
    elif entity == "practitioner":
        parts = (family, given_names)
    elif entity == "location":
        parts = (_word(record.get("name")), "-")
    else:
        return None
    if not all(parts):
        return None
    return hashlib.sha256("\x1f".join((entity, *parts)).encode()).digest()[:16]


def _word(value: Any) -> str:
    return " ".join(str(value or "").casefold().split())
