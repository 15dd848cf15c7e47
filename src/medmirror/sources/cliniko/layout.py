"""Cliniko's records: their feeds, columns, keys and versions.

**Version.** Microseconds of ``updated_at`` or, if that is later, of ``archived_at``, ``cancelled_at`` or
``deleted_at``: a copy that reports the record as gone must win over the copy before, whether or not Cliniko counts the
change of state as an update. It is 0 for a record without any of them. The version of a deletion is its ``deleted_at``.

**Deletions.** A list of deleted records may give no more than ``deleted_at`` and a link. Such an entry is a record of
the feed ``deletion``, under the kind and id that its link names, so that it overwrites no value of the record itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medmirror.errors import InvalidRecord
from medmirror.model import Column
from medmirror.readers.json.layout import Field, Layout
from medmirror.readers.json.outlines import name_keys
from medmirror.readers.json.record import Records

Context = Mapping[str, int | str]

KINDS: Mapping[str, str] = {
    "patients": "patient",
    "individual_appointments": "appointment",
    "appointments": "appointment",
    "practitioners": "practitioner",
    "businesses": "business",
    "appointment_types": "appointment_type",
    "patient_attachments": "attachment",
    "invoices": "invoice",
}
"""The feed of each of the API's lists, and of the array that its pages hold."""

_ORGANIZATION = Column("organization_id", "text")
KEY = (_ORGANIZATION, Column("id", "text"))
DELETION_KEY = (_ORGANIZATION, Column("kind", "text"), Column("id", "text"))

_TIMES = ("updated_at", "archived_at", "cancelled_at", "deleted_at")
_IDENTITY = (
    Field("id", "id", "id"),
    Field("self", "links.self", "link id"),
    *(Field(name, name, "moment") for name in _TIMES),
)


def _identify(values: Sequence[Any], context: Context) -> tuple[tuple[int | str, ...], int]:
    own, linked, *times = values
    if not (own or linked):
        raise InvalidRecord("The record has neither an id nor a link to itself.")
    return (str(context["organization"]), own or linked), max(0, *times)


_GONE = "deleted_at"
_LINKED = re.compile(r"/([a-z_]+)/[^/?#]+/?(?:[?#].*)?")
_DELETION = (
    Field("id", "id", "id"),
    Field("link", "links.self", "filled text"),
    Field("linked", "links.self", "link id"),
    Field("deleted_at", "deleted_at", "moment"),
)


def _identify_deletion(values: Sequence[Any], context: Context) -> tuple[tuple[int | str, ...], int]:
    own, link, linked, deleted = values
    match = _LINKED.search(link or "")
    kind = KINDS.get(match[1]) if match else str(context.get("feed") or "")
    if not kind:
        raise InvalidRecord("The record of a deletion does not say, by a link, what kind of record was deleted.")
    if not (own or linked):
        raise InvalidRecord("The record of a deletion has neither an id nor a link.")
    if not deleted:
        raise InvalidRecord("The record of a deletion does not say when (deleted_at).")
    return (str(context["organization"]), kind, own or linked), deleted


def _text(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, name, "filled text") for name in names)


def _moments(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, name, "moment") for name in names)


def _flags(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, name, "loose flag") for name in names)


def _links(*names: str) -> tuple[Field, ...]:
    return tuple(Field(f"{name}_id", f"{name}.links.self", "link id") for name in names)


class _Kind(NamedTuple):
    mark: str  # keys that records of this kind have and no others
    fields: tuple[Field, ...]
    loose_mark: str = ""  # keys that will do when some of those are left out


_WHEN = _moments("created_at", "updated_at", "archived_at", "deleted_at")
_FEEDS: Mapping[str, _Kind] = {
    "patient": _Kind(
        "date_of_birth",
        (*_WHEN, *_text("first_name", "last_name", "email"), Field("date_of_birth", "date_of_birth", "any day")),
        "patient_phone_numbers",
    ),
    "appointment": _Kind(
        "starts_at patient",
        (
            *_WHEN,
            *_moments("cancelled_at", "starts_at", "ends_at"),
            *_links("patient", "practitioner", "business", "appointment_type"),
            *_flags("did_not_arrive", "patient_arrived"),
        ),
        "starts_at patient_name",
    ),
    "practitioner": _Kind(
        "designation",
        (
            *_WHEN,
            *_text("first_name", "last_name"),
            *_flags("active"),
            *_links("user", "default_appointment_type"),
        ),
        "practitioner_reference_numbers",
    ),
    "business": _Kind("business_name", (*_WHEN, *_text("business_name")), "business_registration_name"),
    "appointment_type": _Kind(
        "duration_in_minutes",
        (*_WHEN, *_text("name"), Field("duration_in_minutes", "duration_in_minutes", "number")),
        "max_attendees",
    ),
    "attachment": _Kind(
        "filename",
        (
            *_WHEN,
            *_text("filename", "content_type"),
            Field("size", "size", "number"),
            *_flags("processing_completed"),
            *_links("patient", "user"),
        ),
        "content_type",
    ),
    "invoice": _Kind(
        "issue_date",
        (
            *_WHEN,
            *_moments("closed_at"),
            Field("number", "number", "id"),
            Field("issue_date", "issue_date", "any day"),
            *_links("patient", "practitioner", "business", "appointment"),
        ),
        "invoice_to",
    ),
}


def _layout(name: str, marks: Sequence[str]) -> Layout:
    mark_sets = tuple(frozenset(mark.split()) for mark in marks)
    return Layout(name, _FEEDS[name].fields, _IDENTITY, _identify, mark_sets, repeats=True)


def _deletion(marks: Sequence[str]) -> Layout:
    mark_sets = tuple(frozenset(mark.split()) for mark in marks)
    return Layout("deletion", _moments("deleted_at"), _DELETION, _identify_deletion, mark_sets, repeats=True)


def _records(layouts: Sequence[Layout]) -> Records:
    kinds = [(layout, DELETION_KEY if layout.name == "deletion" else KEY, "record") for layout in layouts]
    return Records(kinds, _unknown)


def _unknown(record: Mapping[str, Any]) -> str:
    return f"The record is of no feed known here; it has the keys {name_keys(record)}."


# A list of deleted records may hold them in full: then they are records. So the mark of a bare deletion is tried last
# but for marks that say little; before it stand marks of others, which find the others' records first.
_ALWAYS = ("updated_at", "created_at")
ANY = _records(
    [
        *(_layout(name, (kind.mark, kind.loose_mark)) for name, kind in _FEEDS.items()),
        _deletion(("date_of_birth", _GONE)),
    ]
)
"""Records of any kind: their own keys decide on the kind."""

OF = {
    name: _records(
        [
            _layout(name, (*_ALWAYS, kind.mark, kind.loose_mark, "id", "links")),
            _deletion((*_ALWAYS, kind.mark, _GONE)),
        ]
    )
    for name, kind in _FEEDS.items()
}
"""Records of a list whose kind is known, by its feed."""

LAYOUTS = (*(_layout(name, ()) for name in _FEEDS), _deletion(()))
"""The layout of each feed, for its columns."""
