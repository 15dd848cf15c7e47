"""The bases: what our records and their copies in a second system last agreed on.

They are the tables sync_destination, sync_base and sync_unpaired. Every method of ``Bases`` runs in a transaction of
its own, which is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Engine

from medmirror.db import retry, sql
from medmirror.mapping import canonical_hash
from medmirror.sync.destination.plan import ABSENT, Base, Side

_statement = partial(sql.statement, "destination.sql")

Name = tuple[str, str]  # feed and id, of either side


class Entry(NamedTuple):
    """A record of ours that is to be looked at, with its base.

    *state* and *canonical_hash* as in sync_mapping; *record* is canonical, in our own words; *local_record* and
    *remote_record* are those of the base, in the destination's words.
    """

    feed: str
    source_id: str
    entity: str
    version: int | None
    canonical_hash: bytes | None
    state: str
    record: dict[str, Any] | None
    remote_feed: str | None
    remote_id: str | None
    remote_version: str | None
    remote_hash: bytes | None
    local_hash: bytes | None
    local_record: dict[str, Any] | None
    remote_record: dict[str, Any] | None
    round: int
    outcome: str | None
    based: bool
    deleted_version: int | None

    @property
    def name(self) -> Name:
        """Feed and id."""
        return self.feed, self.source_id

    @property
    def base(self) -> Base | None:
        """The base; None: both sides have never agreed."""
        if not self.based:
            return None
        remote = ABSENT if self.remote_hash is None else Side(self.remote_version, self.remote_hash)
        return Base(Side(None, self.local_hash), remote)


class Unpaired(NamedTuple):
    """The features of a record of the destination that is no copy of ours; times in microseconds since 1970."""

    remote_id: str
    likeness: bytes | None
    start: int | None = None
    end: int | None = None
    patient: str | None = None
    practitioner: str | None = None


class Agreement(NamedTuple):
    """The content that both sides hold from now on.

    *local* in the destination's words (None: ours is deleted), *remote* those fields of the copy (None: there is
    none), and the copy's *place* and *stamp*.
    """

    local: dict[str, Any] | None
    remote: dict[str, Any] | None
    place: Name | None = None
    stamp: str | None = None
    key: str | None = None  # the idempotency key of the write


@dataclass(frozen=True, slots=True)
class Bases:
    """The tables, of one organisation's records and one destination."""

    engine: Engine
    organization_id: str
    source: str
    destination: str
    run_id: int

    @property
    def _key(self) -> dict[str, str]:
        return {"organization_id": self.organization_id, "source": self.source, "destination": self.destination}

    def _all(self, section: str, **values: Any) -> list[Any]:
        def work(conn: Connection) -> list[Any]:
            return list(conn.execute(_statement(section), {**self._key, **values}))

        return retry.in_transaction(self.engine, work)

    def _do(self, section: str, **values: Any) -> None:
        retry.in_transaction(self.engine, lambda conn: conn.execute(_statement(section), {**self._key, **values}))

    # --- progress

    def begin(self, digest: bytes) -> tuple[int, int]:
        """Return the run after which changed records must be looked at, and the run up to which they then have been.

        With other settings than last time (*digest*) all records must be looked at: the first is 0.
        """

        def work(conn: Connection) -> tuple[int, int]:
            safe = int(conn.execute(_statement("safe run"), {"run_id": self.run_id}).scalar_one())
            row = conn.execute(_statement("destination"), self._key).one_or_none()
            unchanged = row is not None and row.settings_digest == digest
            return (row.pushed_run if unchanged and row is not None else 0), safe

        return retry.in_transaction(self.engine, work)

    def finish(self, pushed_run: int, digest: bytes, now: datetime) -> None:
        """Note that the records of all runs up to *pushed_run* have been looked at."""
        self._do("move destination", pushed_run=pushed_run, settings_digest=digest, now=now)

    def listed(self) -> dict[str, int]:
        """Return up to when each of the destination's lists was read, by its clock."""
        rows = self._all("destination")
        return dict(rows[0].listed) if rows else {}

    def note_list(self, feed: str, unpaired: Sequence[Unpaired], gone: Sequence[str], until: int | None = None) -> None:
        """Store the features of *unpaired* records of *feed*, delete those that are *gone*, and note up to when the
        list was read.

        *until* None: the list was not read to its end. All of it in one transaction.
        """
        columns = dict(zip(Unpaired._fields, map(list, zip(*unpaired, strict=True)), strict=True)) if unpaired else {}

        def work(conn: Connection) -> None:
            if unpaired:
                conn.execute(_statement("add unpaired"), {**self._key, "feed": feed, **_plural(columns)})
            if gone:
                columns_gone = {"feeds": [feed] * len(gone), "remote_ids": list(gone)}
                conn.execute(_statement("drop unpaired"), {**self._key, **columns_gone})
            if until is not None:
                conn.execute(_statement("note listed"), {**self._key, "feed": feed, "until": until})

        retry.in_transaction(self.engine, work)

    # --- records to look at

    def delta(self, entities: Sequence[str], floor: int, limit: int) -> list[Name]:
        """Return at most *limit* of our records that changed since they were last looked at, or that wait.

        In the order of *entities* and then of the time at which they begin.
        """
        rows = self._all("delta", entities=list(entities), floor=floor, limit=limit)
        return [(row.feed, row.source_id) for row in rows]

    def entries(self, names: Sequence[Name]) -> list[Entry]:
        """Return those records of ours, in this order."""
        rows = self._all("entries", **_columns(names))
        return [Entry(**{**row._mapping, **_bytes(row._mapping)}) for row in rows]

    def pairs(self, names: Sequence[Name]) -> dict[Name, Name]:
        """Return the copies of those of our records that have one."""
        rows = self._all("pairs", **_columns(names)) if names else []
        return {(row.feed, row.source_id): (row.remote_feed, row.remote_id) for row in rows}

    def twins(self, names: Sequence[Name], twin_source: str) -> dict[Name, Name]:
        """Return the records of *twin_source*, in the same organisation, that deduplication joined with ours."""
        rows = self._all("twins", other=twin_source, **_columns(names)) if names else []
        twins: dict[Name, Name] = {}
        for row in rows:
            twins.setdefault((row.feed, row.source_id), (row.remote_feed, row.remote_id))
        return twins

    def paired(self, feed: str, ids: Sequence[str]) -> set[str]:
        """Return those of the destination's *ids* that are copies of ours."""
        rows = self._all("paired", feeds=[feed] * len(ids), remote_ids=list(ids)) if ids else []
        return {row.remote_id for row in rows}

    def alike(self, feed: str, likeness: bytes) -> list[str]:
        """Return the ids of a few records of the destination that are no copy of ours and have this *likeness*."""
        return [row.remote_id for row in self._all("alike", remote_feed=feed, likeness=likeness)]

    def between(self, feed: str, since: int, until: int) -> list[Any]:
        """Return the unpaired records that take time in [since, until): (remote_id, starts, ends, patient,
        practitioner).
        """
        return self._all("unpaired between", remote_feed=feed, since=since, until=until)

    def living(self, entity: str) -> tuple[int, int]:
        """Return how many records of *entity* we hold, and how many of them had a copy when they last agreed."""
        living = self._all("count living", entity=entity)[0][0]
        return int(living), int(self._all("count copies", entity=entity)[0][0])

    # --- results

    def agree(self, entry: Entry, agreement: Agreement, outcome: str, now: datetime) -> None:
        """Write the new base of *entry*, and close its open reviews."""
        local, remote, place = agreement.local, agreement.remote, agreement.place
        values = {
            **self._settlement(entry, outcome),
            "remote_feed": place[0] if place else None,
            "remote_id": place[1] if place else None,
            "remote_version": agreement.stamp,
            "remote_hash": None if remote is None else canonical_hash(remote),
            "local_version": entry.version,
            "local_hash": None if local is None else canonical_hash(local),
            "local_record": _json(local),
            "remote_record": None if remote == local else _json(remote),
            "idempotency_key": agreement.key,
            "now": now,
        }

        def work(conn: Connection) -> None:
            conn.execute(_statement("agree"), values)
            conn.execute(_statement("close reviews"), {**self._key, "feed": entry.feed, "source_id": entry.source_id})
            if place:
                columns = {"feeds": [place[0]], "remote_ids": [place[1]]}
                conn.execute(_statement("drop unpaired"), {**self._key, **columns})

        retry.in_transaction(self.engine, work)

    def settle(self, entry: Entry, outcome: str, *, close: bool = True) -> None:
        """Note that *entry* was looked at, with that *outcome*; its base stays. *close*: close its open reviews."""

        def work(conn: Connection) -> None:
            conn.execute(_statement("settle"), self._settlement(entry, outcome))
            if close:
                conn.execute(
                    _statement("close reviews"), {**self._key, "feed": entry.feed, "source_id": entry.source_id}
                )

        retry.in_transaction(self.engine, work)

    def _settlement(self, entry: Entry, outcome: str) -> dict[str, Any]:
        return {
            **self._key,
            "feed": entry.feed,
            "source_id": entry.source_id,
            "entity": entry.entity,
            "outcome": outcome,
            "seen_hash": entry.canonical_hash,
            "seen_state": entry.state,
            "run_id": self.run_id,
        }


def look_again(
    conn: Connection,
    organization_id: str,
    source: str,
    feed: str,
    source_id: str | None,
    destination: str | None = None,
) -> None:
    """Make the next sync look again at a record that was refused, ignored or kept; None: at all that were refused."""
    values = {"organization_id": organization_id, "source": source, "feed": feed, "source_id": source_id}
    conn.execute(_statement("look again"), {**values, "destination": destination})


def _columns(names: Sequence[Name]) -> dict[str, list[str]]:
    return {"feeds": [feed for feed, _ in names], "source_ids": [id_ for _, id_ in names]}


def _plural(columns: Mapping[str, Any]) -> dict[str, Any]:
    names = {"remote_id": "remote_ids", "likeness": "likenesses", "start": "starts", "end": "ends"}
    return {names.get(name, f"{name}s"): values for name, values in columns.items()}


def _bytes(row: Mapping[str, Any]) -> dict[str, bytes | None]:
    return {
        name: None if row[name] is None else bytes(row[name])
        for name in ("canonical_hash", "remote_hash", "local_hash")
    }


def _json(record: dict[str, Any] | None) -> str | None:
    return None if record is None else orjson.dumps(record).decode()
