"""One system's canonical record in another system's words, and back into its document. Pure.

Two systems never say the same thing alike: one has no field for it, another its own words. So records are compared in
the *destination's* words: what it would show if it held exactly our record (``project``: written by its mapper, and
read again). What it cannot hold is named as lost, once, and is no difference afterwards.

Of a record that stands in the destination only the fields that ours has, or had when both agreed, are ours to look at
or to write; all others were entered there and stay as they are.
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


class Projected(NamedTuple):
    """Our record as the destination would show it. *lost*: paths that it cannot hold; *open*: needed references to
    records that have no copy there yet."""

    record: dict[str, Any]
    lost: tuple[str, ...]
    open: tuple[str, ...]


def project(record: Record, entity: str, mapper: Mapper, find: Find, *, foreign: bool = True) -> Projected:
    """*record* of ours in the words of *mapper*'s system. Raises InvalidRecord when it cannot be said there at all.

    *foreign*: that is another kind of system, to which our own words for a code (``raw``) mean nothing.
    """
    lost: list[str] = []
    translated = _translated(record, find, "", lost)
    open_ = tuple(name for name in NEEDED.get(entity, ()) if name in record and name not in translated)
    translated = worded(_coded(translated) if foreign else translated, mapper)
    written, missing = write(translated, mapper)
    back = mapper.to_canonical(written).record
    if not back:
        raise InvalidRecord("The destination's mapper makes nothing of this record.")
    return Projected(back, tuple(sorted({*lost, *missing})), open_)


def write(record: Record, mapper: Mapper) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The document of *record*, and what it cannot hold. Raises InvalidRecord."""
    try:
        return mapper.from_canonical(dict(record))
    except UNREADABLE as error:  # `from None`: the text of such an error may quote a value
        reason = f"The destination's mapper cannot write this record ({type(error).__name__})."
        raise InvalidRecord(reason) from None


def _translated(value: Any, find: Find, at: str, lost: list[str]) -> Any:
    """*value* with references to our records as references to their copies; those without a copy are left out."""
    if isinstance(value, Mapping):
        if _is_reference(value):
            found = find(value["feed"], value["id"])
            if found is None:
                lost.append(at)
                return None
            return {**value, "feed": found[0], "id": found[1]}
        made = {
            name: _translated(one, find, f"{at}.{name}" if at else name, lost) if one is not None else None
            for name, one in value.items()
        }
        return {name: one for name, one in made.items() if one is not None or value[name] is None}
    if isinstance(value, list):
        some = [_translated(one, find, f"{at}[]", lost) for one in value]
        return [one for one in some if one is not None] or ([] if not value else None)
    return value


def _coded(value: Any) -> Any:
    """*value* with the codes of its enums alone, without our words for them."""
    if isinstance(value, Mapping):
        if _is_enum(value):
            return {**value, "raw": None}
        return {name: _coded(one) for name, one in value.items()}
    return [_coded(one) for one in value] if isinstance(value, list) else value


def worded(record: Record, mapper: Mapper) -> dict[str, Any]:
    """*record* with words for those of its enums that have none, where *mapper* can write them.

    A code is written in the word that the mapper declares for it. Where it declares none the code itself will do, as
    FHIR writes them; where even that is not understood when it is read again, nothing is written.
    """
    lost = write(record, mapper)[1]
    still = write(_with_words(record, lost, ""), mapper)[1]
    made: dict[str, Any] = _with_words(
        record, [path for path in lost if not any(one.startswith(path) for one in still)], ""
    )
    return made


def _with_words(value: Any, paths: Sequence[str], at: str) -> Any:
    if isinstance(value, Mapping):
        if _is_enum(value):
            silent = value["raw"] is not None or value["code"] in ("OTHER", "UNKNOWN")
            if silent or not any(at.startswith(path) for path in paths):
                return dict(value)
            return {**value, "raw": value["code"].lower().replace("_", "-")}
        return {name: _with_words(one, paths, f"{at}.{name}" if at else name) for name, one in value.items()}
    return [_with_words(one, paths, f"{at}[]") for one in value] if isinstance(value, list) else value


def _is_enum(value: Mapping[str, Any]) -> bool:
    return value.keys() == {"code", "raw"}


def _is_reference(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("feed"), str) and isinstance(value.get("id"), str)


def restrict(record: Record, names: Iterable[str]) -> dict[str, Any]:
    """Those fields of *record* (as ``flat`` names them)."""
    held = flat(record)
    return deep({name: held[name] for name in names if name in held})


def shared(*ours: Record | None) -> set[str]:
    """The fields that are ours to look at: those that our record has, or had. An enum that says nothing is none."""
    return {name for one in ours if one for name, value in flat(one).items() if not _silent(value)}


def _silent(value: Any) -> bool:
    return isinstance(value, Mapping) and _is_enum(value) and value["code"] == "UNKNOWN"


def overlaid(under: Record, over: Record, names: Iterable[str]) -> dict[str, Any]:
    """*under* with the fields *names* as *over* has them: also without those that it does not have."""
    made, held = flat(under), flat(over)
    for name in names:
        if name in held:
            made[name] = held[name]
        else:
            made.pop(name, None)
    return deep(made)


def document(
    record: Record, mapper: Mapper, standing: Mapping[str, Any] | None, before: Record | None, whole: bool
) -> dict[str, Any]:
    """What to write of *record*, which stood there as the document *standing*, meaning *before* (both None: it is new).

    *whole*: the destination takes documents whole, so what no mapper reads is kept in it, and what is not there any
    more is left out. Else it takes changes: those keys that are to change, null where a value goes away.
    """
    made, _ = write(record, mapper)
    if standing is None:
        return made
    old = write(before, mapper)[0] if before is not None else {}
    away = [name for name in old if name not in made]
    if whole:
        return {**{name: value for name, value in standing.items() if name not in away}, **made}
    changes = {name: value for name, value in made.items() if standing.get(name) != value}
    return {**changes, **{name: None for name in away if standing.get(name) is not None}}


# --- a record that was deleted here

_RETIRED: Mapping[str, Mapping[str, Any]] = {
    "patient": {"active": False},
    "practitioner": {"active": False},
    "location": {"status": {"code": "INACTIVE", "raw": None}},
    "appointment": {"status": {"code": "CANCELLED", "raw": None}},
}


def retired(record: Record, entity: str, utc: str) -> dict[str, Any] | None:
    """*record* as it is to stand in the destination after it was deleted here at the time *utc*: put away, never
    destroyed. None: nothing can be said of such a record."""
    if entity not in _RETIRED:
        return None
    made = {**record, **_RETIRED[entity]}
    if entity == "appointment" and not made.get("cancelled_at"):
        made["cancelled_at"] = {"utc": utc, "zone": "UTC"}
    return made


def retiring(entity: str) -> set[str]:
    """The fields that say of a record that it was put away, but for the time at which."""
    return set(_RETIRED.get(entity, ()))


def tells_retired(record: Record, entity: str) -> bool:
    """Whether *record* of the destination says that it was put away."""
    return all(
        (record.get(name) or {}).get("code") == value["code"]
        if isinstance(value, Mapping)
        else record.get(name) == value
        for name, value in _RETIRED.get(entity, {"": True}).items()
    )


# --- who may be the same


def likeness(record: Record, entity: str) -> bytes | None:
    """Equal for records that may well be one and the same: a digest of a person's family name and birthday (given name,
    where there is none), of a place's name. None where nothing can be said."""
    names = record.get("names") or [{}]
    family, given = _word(names[0].get("family")), _word(" ".join(names[0].get("given") or ()))
    if entity == "patient":
        parts = (family, str(record.get("birth_date") or given))
    elif entity == "practitioner":
        parts = (family, given)
    elif entity == "location":
        parts = (_word(record.get("name")), "-")
    else:
        return None
    if not all(parts):
        return None
    return hashlib.sha256("\x1f".join((entity, *parts)).encode()).digest()[:16]


def _word(value: Any) -> str:
    return " ".join(str(value or "").casefold().split())
