"""Single records of Cliniko: read, made, changed, cancelled.

Cliniko takes no idempotency key. The key's note says, before a record is sent, since when it may be there; and after
it, which record it became. Only after a try whose end nobody knows are new records looked through for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from medmirror.errors import RateLimited, RemoteRefused, RemoteUnavailable, StaleWrite
from medmirror.remotes.base import MICROSECOND, Around, Pushed
from medmirror.remotes.cliniko.listing import Listing, id_of, seconds, walk
from medmirror.remotes.http.answer import Answer
from medmirror.remotes.http.client import Http

_MARGIN = 60  # seconds before its note at which a record may bear to have been made
_OTHER = 50  # the reason of a cancellation of which none is known
_PATIENT = """
    accepted_email_marketing accepted_privacy_policy accepted_sms_marketing address_1 address_2 address_3
    appointment_notes city country custom_fields date_of_birth dva_card_number email emergency_contact first_name
    gender gender_identity invoice_default_to invoice_email invoice_extra_information last_name medicare
    medicare_reference_number notes occupation old_reference_id patient_phone_numbers post_code preferred_first_name
    pronouns receives_confirmation_emails referral_source reminder_type sex state time_zone title
"""
_FIELDS = {
    "patient": frozenset(_PATIENT.split()),
    "appointment": frozenset(["starts_at", "ends_at", "notes", "did_not_arrive", "patient_arrived"]),
}
_RELATIONS = {
    "patient": ("concession_type", "referring_doctor"),
    "appointment": ("patient", "practitioner", "business", "appointment_type"),
}


def one(http: Http, listing: Listing, id: str) -> Answer | None:
    """The answer that holds the record *id* of the list; None: there is none.

    A cancelled appointment may be left out like in a list; it is asked for once more.
    """
    path = f"{listing.path}/{quote(id, safe='')}"
    ways = [(), tuple(("q[]", state) for state in listing.including)]
    for way in ways if "cancelled_at:*" in listing.including else ways[:1]:
        try:
            answer = http.get(path, way)
        except RemoteRefused as error:
            if error.context.get("status") not in (404, 410):
                raise
            continue
        _record(answer)
        return answer
    return None


def fields_of(feed: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """What of *document* the API lets be written, in the form that it takes: a relation by its id."""
    fields = {name: value for name, value in document.items() if name in _FIELDS[feed]}
    for name in _RELATIONS[feed]:
        if f"{name}_id" in document:
            fields[f"{name}_id"] = document[f"{name}_id"]
        elif isinstance(document.get(name), Mapping):
            fields[f"{name}_id"] = id_of(document[name]) or None
    return fields


class _Note(NamedTuple):
    begun: int | None = None  # seconds since 1970
    made: Pushed | None = None


class Writer:
    """Writes to one list."""

    def __init__(self, http: Http, around: Around, listing: Listing, feed: str) -> None:
        self._http = http
        self._notes = around.notes
        self._listing = listing
        self._feed = feed

    def push(self, document: Mapping[str, Any], id: str | None, expected: str | None, key: str) -> Pushed:
        """See ``base.Remote.push``."""
        name = f"pushed:{key}"
        note = _read(self._notes.get(name))
        if note.made is not None:
            return note.made
        fields = fields_of(self._feed, document)
        written = self._create(name, note, fields) if id is None else self._change(id, fields, expected)
        if document.get("cancelled_at") and self._feed == "appointment":
            written = self._cancel(written.id, document) or written
        self._notes.set(name, orjson.dumps({"made": list(written)}).decode())
        return written

    def _create(self, name: str, note: _Note, fields: Mapping[str, Any]) -> Pushed:
        if note.begun is not None and (earlier := self._made_since(note.begun - _MARGIN, fields)):
            return earlier
        if note.begun is None:
            self._notes.set(name, orjson.dumps({"begun": self._now()}).decode())
        try:
            return _pushed(self._http.post(self._listing.path, fields))
        except (RemoteRefused, RateLimited):
            self._notes.set(name, None)  # it was not made, so nobody need look for it
            raise

    def _change(self, id: str, fields: Mapping[str, Any], expected: str | None) -> Pushed:
        answer = one(self._http, self._listing, id)
        if answer is None:
            raise StaleWrite("The record is no longer there; nothing was written.")
        record = _record(answer)
        if _agrees(record, fields):  # so it was written before, or by somebody else: there is nothing to do
            return _pushed(answer)
        if expected is not None and record.get("updated_at") != expected:
            raise StaleWrite
        return _pushed(self._http.patch(f"{self._listing.path}/{quote(id, safe='')}", fields))

    def _cancel(self, id: str, document: Mapping[str, Any]) -> Pushed | None:
        answer = one(self._http, self._listing, id)
        if answer is None or _record(answer).get("cancelled_at"):
            return None
        reason: dict[str, Any] = {"cancellation_reason": document.get("cancellation_reason") or _OTHER}
        if document.get("cancellation_note"):
            reason["cancellation_note"] = document["cancellation_note"]
        self._http.patch(f"{self._listing.path}/{quote(id, safe='')}/cancel", reason)
        answer = one(self._http, self._listing, id)
        return None if answer is None else _pushed(answer)

    def _made_since(self, since: int, fields: Mapping[str, Any]) -> Pushed | None:
        listing = self._listing._replace(time="created_at")
        for answered, _ in walk(self._http, listing, since, self._now() + _MARGIN):
            for record in answered.records:
                if _agrees(record, fields):
                    return _of(record)
        return None

    def _now(self) -> int:
        answer = self._http.get(self._listing.path, [("per_page", "1")])
        if answer.date is None:
            raise RemoteUnavailable("The remote does not say what time it is.", path=answer.path)
        return answer.date // MICROSECOND


def _read(text: str | None) -> _Note:
    values = orjson.loads(text) if text else {}
    return _Note(values.get("begun"), Pushed(*values["made"]) if "made" in values else None)


def _record(answer: Answer) -> Mapping[str, Any]:
    record = answer.json()
    if not isinstance(record, dict) or not id_of(record):
        raise RemoteUnavailable("The remote's answer is no record.", path=answer.path, status=answer.status)
    return record


def _pushed(answer: Answer) -> Pushed:
    return _of(_record(answer))


def _of(record: Mapping[str, Any]) -> Pushed:
    version = record.get("updated_at")
    return Pushed(id_of(record), str(version) if version else None, (seconds(version) or 0) * MICROSECOND)


def _agrees(record: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Whether the record says what *fields* say; nothing is said by null and by an empty text alike."""
    for name, value in fields.items():
        held = record.get(name)
        if name.endswith("_id") and name not in record:
            related = record.get(name.removesuffix("_id"))
            held = id_of(related) if isinstance(related, dict) else None
        if name.endswith("_at"):
            held, value = seconds(held), seconds(value)
        if (held or None) != (value or None) and str(held) != str(value):
            return False
    return True
