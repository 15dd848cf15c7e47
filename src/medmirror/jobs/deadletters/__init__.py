"""Dead letters: jobs that were given up, and records that a job went on without. A person decides about each.

A letter keeps the time of the FIRST failure through every requeueing, because the clinic is to be told within 24 hours
of it. A requeued job that dies again is a new letter, whose parent is the old one; one that succeeds is resolved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine, RowMapping

from medmirror.db import retry, sql
from medmirror.errors import UsageError
from medmirror.jobs import Job
from medmirror.jobs.deadletters.fingerprint import Failure, failure_of, fingerprint_of
from medmirror.jobs.deadletters.payload import seal, unseal

_statement = partial(sql.statement, "deadletters.sql")


@dataclass(frozen=True, slots=True)
class Letter:
    """A row of medmirror.dead_letter, without its payload.

    *number* is its class (``fingerprint``). *recovered*: the organisation has been synchronised since, or the record
    loaded; None where that cannot be told.
    """

    dead_letter_id: int
    job_id: UUID
    organization_id: str
    source: str
    feed: str | None
    scope: str
    number: int
    error: str
    message: str
    fingerprint: str
    attempts: int
    first_failed_at: datetime
    died_at: datetime
    contact_due: datetime
    contacted_at: datetime | None
    reject_id: int | None
    has_payload: bool
    state: str
    requeued_as: UUID | None
    parent: int | None
    incident: str | None
    note: str | None
    recovered: bool | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Group:
    """The open letters of one cause. *contact_due*: of the first clinic not told yet; *message*: of the last letter."""

    fingerprint: str
    number: int
    source: str
    feed: str | None
    error: str
    letters: int
    organizations: int
    records: int
    first_failed_at: datetime
    died_at: datetime
    contact_due: datetime | None
    message: str
    incident: str | None
    ids: tuple[int, ...]
    names: tuple[str, ...]  # of the organisations
    reject_ids: tuple[int, ...]
    recovered: int  # jobs after which a sync of their organisation has succeeded


class Selection(NamedTuple):
    """A selection of letters: those that match each field that is not None."""

    ids: Sequence[int] | None = None
    fingerprint: str | None = None
    number: int | None = None
    organization_id: str | None = None


EVERY = Selection()


class Counts(NamedTuple):
    """The number of open letters, in all and by class; *overdue*: those whose clinic should have been told by now."""

    open: int
    third_party: int
    bad_data: int
    account: int
    overdue: int


def bury(conn: Connection, job: Job, error: BaseException, now: datetime) -> int:
    """Write the letter of *job*, which was given up for *error*; return its id.

    When the job was made by requeueing letters, the first of them is the parent, and the others are open again.
    """
    failure = failure_of(error)
    parent = _parent(conn, job.job_id, None)
    values = {
        "job_id": job.job_id,
        "organization_id": job.organization_id,
        "source": job.source,
        "feed": None,
        "scope": "job",
        "attempts": job.attempts,
        "first_failed_at": job.first_failed_at or now,
        "reject_id": None,
        "payload": None,
        "record": None,
        "now": now,
    }
    dead_letter_id = _insert(conn, failure, values, parent)
    if parent is not None:
        conn.execute(_statement("reopen others"), {"job_id": job.job_id, "parent": parent["dead_letter_id"]})
    return dead_letter_id


def record(
    conn: Connection,
    *,
    job_id: UUID,
    organization_id: str,
    source: str,
    feed: str | None,
    error: Exception,
    attempts: int,
    first_failed_at: datetime,
    reject_id: int | None = None,
    payload: bytes | None = None,
    record: str | None = None,
    now: datetime | None = None,
) -> int:
    """Write the letter of a single record that job *job_id* goes on without; return its id.

    The record's bytes are in the reject *reject_id*; *payload* is stored encrypted, and not at all without a key.
    *record* identifies the record (its id, for example). Only a digest of it is stored, so that a record that fails in
    every sync stays one letter, with more attempts.
    """
    failure = failure_of(error)
    values = {
        "job_id": job_id,
        "organization_id": organization_id,
        "source": source,
        "feed": feed,
        "scope": "record",
        "attempts": attempts,
        "first_failed_at": first_failed_at,
        "reject_id": reject_id,
        "payload": None if payload is None else seal(payload),
        "record": None if record is None else hashlib.sha256(f"{source}\x1f{feed}\x1f{record}".encode()).digest(),
        "now": now,
    }
    columns: dict[str, Any] = {**values, "message": failure.message, "fingerprint": _fingerprint(failure, source, feed)}
    existing = conn.scalar(_statement("again"), columns)
    if existing is not None:
        return int(existing)
    return _insert(conn, failure, values, _parent(conn, job_id, columns["fingerprint"]))


def _fingerprint(failure: Failure, source: str, feed: str | None) -> str:
    return fingerprint_of(failure.error, failure.status, source, feed)


def _parent(conn: Connection, job_id: UUID, fingerprint: str | None) -> RowMapping | None:
    values = {"job_id": job_id, "fingerprint": fingerprint}
    return conn.execute(_statement("parent"), values).mappings().one_or_none()


def _insert(conn: Connection, failure: Failure, values: Mapping[str, Any], parent: RowMapping | None) -> int:
    first_failed_at = values["first_failed_at"]
    columns = {
        **values,
        "class": failure.number,
        "error": failure.error,
        "message": failure.message,
        "fingerprint": _fingerprint(failure, values["source"], values["feed"]),
        "first_failed_at": first_failed_at if parent is None else min(first_failed_at, parent["first_failed_at"]),
        "contacted_at": None if parent is None else parent["contacted_at"],
        "incident": None if parent is None else parent["incident"],
        "parent": None if parent is None else parent["dead_letter_id"],
    }
    return int(conn.scalar(_statement("insert"), columns))


def find(
    conn: Connection, selection: Selection = EVERY, *, states: Sequence[str] | None = ("open",), limit: int = 1000
) -> list[Letter]:
    """Return the first *limit* letters of *selection* in one of *states* (None: any), oldest first."""
    values = {**_values(selection), "states": None if states is None else list(states), "limit": limit}
    return [Letter(**row) for row in conn.execute(_statement("find"), values).mappings()]


def get(conn: Connection, dead_letter_id: int) -> Letter:
    """Return letter *dead_letter_id*. Raises UsageError when there is none."""
    letters = find(conn, Selection(ids=[dead_letter_id]), states=None)
    if not letters:
        raise UsageError(f"There is no dead letter {dead_letter_id}; see `medmirror dead-letters list`.")
    return letters[0]


def groups(conn: Connection, selection: Selection = EVERY) -> list[Group]:
    """Return the open letters of *selection*, grouped by cause; class 1 first, then by age."""
    rows = conn.execute(_statement("groups"), _values(selection)).mappings()
    tuples = ("ids", "names", "reject_ids")
    return [Group(**{**row, **{name: tuple(row[name]) for name in tuples}}) for row in rows]


def _values(selection: Selection) -> dict[str, Any]:
    return {**selection._asdict(), "ids": None if selection.ids is None else list(selection.ids)}


def payload_of(conn: Connection, dead_letter_id: int) -> bytes | None:
    """Return the decrypted payload of that letter; None when it has none. Raises UsageError without its key."""
    sealed = conn.scalar(_statement("payload"), {"dead_letter_id": dead_letter_id})
    return None if sealed is None else unseal(bytes(sealed))


def counts(conn: Connection, now: datetime) -> Counts:
    """Return how many letters are open at *now*."""
    return Counts(*conn.execute(_statement("counts"), {"now": now}).one())


def close(engine: Engine, ids: Sequence[int], state: str, note: str | None) -> list[int]:
    """Set the open letters *ids* to *state* (``resolved`` or ``ignored``), with *note*; return those that were open."""
    values = {"ids": list(ids), "state": state, "note": note}
    return retry.in_transaction(engine, lambda conn: list(conn.scalars(_statement("close"), values)))


def annotate(engine: Engine, ids: Sequence[int], note: str | None, incident: str | None) -> None:
    """Write *note* and *incident* to letters *ids*; None leaves the stored value."""
    values = {"ids": list(ids), "note": note, "incident": incident}
    retry.in_transaction(engine, lambda conn: conn.execute(_statement("note"), values))


def contacted(engine: Engine, dead_letter_id: int, now: datetime) -> None:
    """Write to that letter that its clinic was told at *now*."""
    values = {"dead_letter_id": dead_letter_id, "now": now}
    retry.in_transaction(engine, lambda conn: conn.execute(_statement("contacted"), values))
