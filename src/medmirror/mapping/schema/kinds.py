"""The building blocks of the canonical schema. ``entities`` has the nine entities, ``parts`` their typed parts.

A canonical record is what JSON can hold. A field without a value is absent, a list without items too. Two kinds of
field are always there: an entity's enums (``UNKNOWN`` when the source says nothing), and a part's ``always`` ones.

The kinds of field: text (trimmed, never empty), int, bool, decimal (a number as text, as exact as it was given), date
("2012", "2012-05" or "2012-05-07"), json (as the source has it), the three below, or the name of a part.

time
    ``{"utc": "2024-03-31T01:30:00Z", "zone": "Europe/Berlin"}``; zone is an IANA name, "UTC", an offset like "+10:00",
    or null when the source gave none and none was declared (then the text is taken for UTC). A value that names a day,
    a month or a year only has ``"utc": null`` and the text as ``"date"``.
enum
    ``{"code": "BOOKED", "raw": "Confirmed"}``: a code of the field's list, OTHER when the list has no word for it,
    UNKNOWN when the source is silent; *raw* is the source's own word, null when it said nothing.
reference
    ``{"feed": "patient", "id": "82"}``: another record of the same source and organisation, as sync_mapping names it;
    ``"text"`` is what the source calls it. One that names no id has ``"identifier": {"system", "value"}`` instead. A
    record of another place, which is none of ours whatever its id, has ``"url"`` instead.
"""

from __future__ import annotations

from typing import NamedTuple

SCHEMA_VERSION = 2  #: of canonical records; ``versions.upgrade`` brings older ones here


class Field(NamedTuple):
    """A field of an entity or a part. *codes* are those of an enum.

    medmirror computes a *derived* field from its neighbours, so no mapper sets it.
    """

    name: str
    kind: str
    about: str
    many: bool = False
    required: bool = False
    codes: tuple[str, ...] = ()
    derived: bool = False
    always: bool = False


class Part(NamedTuple):
    """An entity, or a typed part of one. *main* is the field that a plain text goes to."""

    name: str
    about: str
    fields: tuple[Field, ...]
    main: str = ""

    def field(self, name: str) -> Field | None:
        """The field called *name*, or None."""
        return next((field for field in self.fields if field.name == name), None)


SCALARS = frozenset({"text", "int", "bool", "decimal", "date", "time", "enum", "reference", "json"})


def enum(name: str, about: str, codes: str) -> Field:
    """An enum of *codes*, separated by spaces, and of OTHER and UNKNOWN, which every enum has."""
    return Field(name, "enum", about, codes=(*codes.split(), "OTHER", "UNKNOWN"))
