"""Dead letters: jobs that were given up, and records that a job went on without. A person decides what becomes of them.

A letter keeps the time of the FIRST failure, through every requeueing: the clinic is told within 24 hours of it. What
is requeued and dies again is a new letter, whose parent is the old one; what is requeued and succeeds is resolved.
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
from medmirror.jobs.deadletters import fingerprint as prints
from medmirror.jobs.deadletters import payload as payloads

_statement = partial(sql.statement, "deadletters.sql")


@dataclass(frozen=True, slots=True)
class Letter:
    """A row of medmirror.dead_letter, without its payload. *number* is its class; *recovered*: the organisation
    has been synchronised since, or the record loaded; None where that cannot be known."""

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
        """It as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Group:
    """Open letters of one cause. *contact_due*: of the first clinic that is not told yet; *message*: the last one's."""

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


class Chosen(NamedTuple):
    """Which letters are meant: all that match each of these."""

    ids: Sequence[int] | None = None
    fingerprint: str | None = None
    number: int | None = None
    organization_id: str | None = None


EVERY = Chosen()


class Counts(NamedTuple):
    """How many letters are open, in all and by class; *overdue*: whose clinic should have been told by now."""

    open: int
    third_party: int
    bad_data: int
    account: int
    overdue: int


def bury(conn: Connection, job: Job, error: BaseException, now: datetime) -> int:
    """Write the letter of *job*, which was given up for *error*; return its number. If it did letters again, the first
    of them is its parent, and the others are open as before."""
    failure = prints.of(error)
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
    made = _insert(conn, failure, values, parent)
    if parent is not None:
        conn.execute(_statement("reopen others"), {"job_id": job.job_id, "parent": parent["dead_letter_id"]})
    return made


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
    """Write the letter of one record that job *job_id* goes on without; return its number.

    Its bytes are where *reject_id* says; *payload* is kept encrypted, and not at all without a key. *record* is
    something that tells this record from others (its id, say): only a digest of it is kept, so that a record that
    fails in every sync is one letter, with more attempts.
    """
    failure = prints.of(error)
    values = {
        "job_id": job_id,
        "organization_id": organization_id,
        "source": source,
        "feed": feed,
        "scope": "record",
        "attempts": attempts,
        "first_failed_at": first_failed_at,
        "reject_id": reject_id,
        "payload": None if payload is None else payloads.seal(payload),
        "record": None if record is None else hashlib.sha256(f"{source}\x1f{feed}\x1f{record}".encode()).digest(),
        "now": now,
    }
    known: dict[str, Any] = {**values, "message": failure.message, "fingerprint": _fingerprint(failure, source, feed)}
    again = conn.scalar(_statement("again"), known)
    if again is not None:
        return int(again)
    return _insert(conn, failure, values, _parent(conn, job_id, known["fingerprint"]))


def _fingerprint(failure: prints.Failure, source: str, feed: str | None) -> str:
    return prints.fingerprint(failure.error, failure.status, source, feed)


def _parent(conn: Connection, job_id: UUID, fingerprint: str | None) -> RowMapping | None:
    values = {"job_id": job_id, "fingerprint": fingerprint}
    return conn.execute(_statement("parent"), values).mappings().one_or_none()


def _insert(conn: Connection, failure: prints.Failure, values: Mapping[str, Any], parent: RowMapping | None) -> int:
    first = values["first_failed_at"]
    every = {
        **values,
        "class": failure.number,
        "error": failure.error,
        "message": failure.message,
        "fingerprint": _fingerprint(failure, values["source"], values["feed"]),
        "first_failed_at": first if parent is None else min(first, parent["first_failed_at"]),
        "contacted_at": None if parent is None else parent["contacted_at"],
        "incident": None if parent is None else parent["incident"],
        "parent": None if parent is None else parent["dead_letter_id"],
    }
    return int(conn.scalar(_statement("insert"), every))


def find(
    conn: Connection, chosen: Chosen = EVERY, *, states: Sequence[str] | None = ("open",), limit: int = 1000
) -> list[Letter]:
    """The first *limit* letters that are meant and in one of *states* (None: any), oldest first."""
    values = {**_values(chosen), "states": None if states is None else list(states), "limit": limit}
    return [Letter(**row) for row in conn.execute(_statement("find"), values).mappings()]


def get(conn: Connection, dead_letter_id: int) -> Letter:
    """That letter; UsageError when there is none."""
    found = find(conn, Chosen(ids=[dead_letter_id]), states=None)
    if not found:
        raise UsageError(f"There is no dead letter {dead_letter_id}; see `medmirror dead-letters list`.")
    return found[0]


def groups(conn: Connection, chosen: Chosen = EVERY) -> list[Group]:
    """The open letters that are meant, by cause; class 1 first, then by age."""
    found = conn.execute(_statement("groups"), _values(chosen)).mappings()
    lists = ("ids", "names", "reject_ids")
    return [Group(**{**row, **{name: tuple(row[name]) for name in lists}}) for row in found]


def _values(chosen: Chosen) -> dict[str, Any]:
    return {**chosen._asdict(), "ids": None if chosen.ids is None else list(chosen.ids)}


def payload_of(conn: Connection, dead_letter_id: int) -> bytes | None:
    """The payload that was kept with that letter, decrypted; None: none was. UsageError without its key."""
    sealed = conn.scalar(_statement("payload"), {"dead_letter_id": dead_letter_id})
    return None if sealed is None else payloads.unseal(bytes(sealed))


def counts(conn: Connection, now: datetime) -> Counts:
    """How many letters are open now."""
    return Counts(*conn.execute(_statement("counts"), {"now": now}).one())


def close(engine: Engine, ids: Sequence[int], state: str, note: str | None) -> list[int]:
    """Have the open letters *ids* be ``resolved`` or ``ignored``, with a *note*; return those that were open."""
    values = {"ids": list(ids), "state": state, "note": note}
    return retry.in_transaction(engine, lambda conn: list(conn.scalars(_statement("close"), values)))


def annotate(engine: Engine, ids: Sequence[int], note: str | None, incident: str | None) -> None:
    """Write *note* and *incident* to letters *ids*; None leaves what is there."""
    values = {"ids": list(ids), "note": note, "incident": incident}
    retry.in_transaction(engine, lambda conn: conn.execute(_statement("note"), values))


def contacted(engine: Engine, dead_letter_id: int, now: datetime) -> None:
    """Note that the clinic was told of that letter at *now*."""
    values = {"dead_letter_id": dead_letter_id, "now": now}
    retry.in_transaction(engine, lambda conn: conn.execute(_statement("contacted"), values))
