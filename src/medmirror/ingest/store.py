"""Bringing the newest copies of keys into a feed's tables.

A feed has two tables: the wide one that people read, and the narrow facts beside it (key, version, digest, deleted,
run). The facts are asked first, so an unchanged record costs neither a lock nor a byte of WAL; and claiming a key in
the facts is what makes a loader the only one to write its wide row, so new rows are copied straight into the wide
table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from medmirror.db import refusals, sql
from medmirror.db.copy import copy
from medmirror.errors import RefusedByDatabase
from medmirror.ingest.dedup import Candidate
from medmirror.ingest.order import Rank
from medmirror.model import Column
from medmirror.sources.base import Feed, Source

Key = tuple[int | str, ...]
_DELETION_DAY = 99991231  # of a deletion whose day is not known: no copy that stands in no series undoes it


class Table(NamedTuple):
    """The names that the statements of a feed need: schema (the source), table (the feed), columns in COPY order.

    *walled*: under row-level security, into which Postgres does not COPY; rows go through a staging table. *revised*:
    as of the feed.
    """

    schema: str
    name: str
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    walled: bool = False
    revised: str = ""


def table_of(source: Source, feed: Feed) -> Table:
    """The names that the statements of *feed* need."""
    return Table(source.name, feed.name, feed.key, feed.all_columns, source.tenant, feed.revised)


class Known(NamedTuple):
    """The facts that are stored about a key."""

    version: int
    tie: int
    place: int
    digest: bytes
    deleted: bool

    @property
    def rank(self) -> Rank:
        """What orders the stored copy."""
        return Rank(self.version, self.tie, self.place)


class Stored(NamedTuple):
    """What a ``store`` did, as the database reported it: keys newly made, keys replaced, keys that lost to newer
    copies, and keys whose content was not what the caller thought it was (ask again)."""

    created: frozenset[Key]
    replaced: frozenset[Key]
    lost: frozenset[Key]
    moved: bool


@cache
def _statements(table: Table) -> Mapping[str, str]:
    for name in (table.schema, table.name, *(column.name for column in table.columns)):
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
            raise ValueError(f"not a plain identifier: {name!r}")
    names = [column.name for column in table.key]
    values = {
        "table": f'"{table.schema}"."{table.name}"',
        "fact": f'"{table.schema}"."{table.name}_fact"',
        "keys": ", ".join(names),
        "fact_keys": ", ".join(f"t.{name}" for name in names),
        "match": " AND ".join(f"t.{name} = n.{name}" for name in names),
        "wide_match": " AND ".join(f"w.{name} = t.{name}" for name in names),
        "unnest": ", ".join(f"CAST(:key{i} AS {column.kind}[])" for i, column in enumerate(table.key)),
        "columns": ", ".join(f'"{column.name}"' for column in table.columns),
        "stage": f'"stage_{table.schema}_{table.name}"',
        "revised": table.revised,
        "deletion_day": str(_DELETION_DAY),
    }
    sections = sql.sections("load.sql")
    values["tie"] = sections["revised"].format(**values) if table.revised else "t.tie"
    newer = sections["newer in a series" if table.revised else "newer"]
    values |= {f"newer_{row}": newer.format(**values, row=row) for row in ("excluded", "n")}
    return {name: body.format(**values, row="n") for name, body in sections.items()}


def _key_arrays(keys: Iterable[Key]) -> dict[str, Any]:
    return {f"key{i}": list(values) for i, values in enumerate(zip(*keys, strict=True))}


def _fact_arrays(candidates: Sequence[Candidate]) -> dict[str, Any]:
    return {
        **_key_arrays(candidate.item.key for candidate in candidates),
        "version": [candidate.item.version for candidate in candidates],
        "tie": [candidate.item.tie for candidate in candidates],
        "place": [candidate.place for candidate in candidates],
        "digest": [candidate.digest for candidate in candidates],
        "deleted": [candidate.item.deleted for candidate in candidates],
    }


def give_way(conn: Connection) -> None:
    """Have this transaction lose a race (55P03) rather than wait so long that the server looks for a deadlock."""
    conn.execute(sql.statement("load.sql", "give way"))


def known(conn: Connection, table: Table, keys: Sequence[Key]) -> dict[Key, Known]:
    """The stored facts of those of *keys* that are known. Locks nothing."""
    if not keys:
        return {}
    width = len(table.key)
    rows = conn.execute(text(_statements(table)["known"]), _key_arrays(keys))
    return {
        tuple(row[:width]): Known(row[width], row[width + 1], row[width + 2], bytes(row[width + 3]), row[width + 4])
        for row in rows
    }


def store(
    conn: Connection,
    table: Table,
    run_id: int,
    candidates: Sequence[Candidate],
    advances: Sequence[Candidate],
    renewals: Sequence[Candidate] = (),
) -> Stored:
    """Write *candidates* (with rows) whose version is news; move the version of *advances*, whose content is the same;
    write the rows of *renewals* again, whose content is that of the facts.

    Must run inside a transaction; locks facts in key order until it ends. Running it again changes nothing. When
    ``moved`` is true another loader was quicker and the transaction should be rolled back and begun again from
    ``known``. Raises what psycopg raises; a value that Postgres refuses is a DataError (see ``refused``).
    """
    statements = _statements(table)
    width = len(table.key)
    if advances or renewals:
        existing = [candidate.item.key for candidate in (*candidates, *advances, *renewals)]
        conn.execute(text(statements["lock known"]), _key_arrays(existing))
    if advances:
        moved = conn.execute(text(statements["advance"]), {**_fact_arrays(advances), "run_id": run_id})
        if moved.rowcount != len(advances):
            return Stored(frozenset(), frozenset(), frozenset(), moved=True)
    if renewals:
        _renew(conn, table, renewals)
    if not candidates:
        return Stored(frozenset(), frozenset(), frozenset(), moved=False)
    created: set[Key] = set()
    replaced: set[Key] = set()
    for row in conn.execute(text(statements["claim"]), {**_fact_arrays(candidates), "run_id": run_id}):
        (created if row[width] else replaced).add(tuple(row[:width]))
    if replaced:
        conn.execute(text(statements["forget"]), _key_arrays(replaced))
    won = [candidate for candidate in candidates if candidate.item.key in created or candidate.item.key in replaced]
    _copy(conn, table, won)
    lost = frozenset(candidate.item.key for candidate in candidates) - created - replaced
    return Stored(frozenset(created), frozenset(replaced), lost, moved=False)


def _renew(conn: Connection, table: Table, renewals: Sequence[Candidate]) -> None:
    """Write the rows again whose facts, which are locked, still have the digest of the candidate."""
    facts = known(conn, table, [candidate.item.key for candidate in renewals])
    same = [
        candidate
        for candidate in renewals
        if (fact := facts.get(candidate.item.key)) and fact.digest == candidate.digest and not fact.deleted
    ]
    if same:
        conn.execute(text(_statements(table)["forget"]), _key_arrays([candidate.item.key for candidate in same]))
        _copy(conn, table, same)


def _copy(conn: Connection, table: Table, candidates: Sequence[Candidate]) -> None:
    statements = _statements(table)
    rows = (candidate.row for candidate in candidates if candidate.row is not None)
    if not table.walled:
        copy(conn, statements["copy"], rows)
        return
    conn.execute(text(statements["stage"]))
    copy(conn, statements["copy stage"], rows)
    conn.execute(text(statements["unstage"]))
    conn.execute(text(statements["clear stage"]))


def refused(conn: Connection, table: Table, candidates: Sequence[Candidate]) -> dict[Key, RefusedByDatabase]:
    """Which of *candidates* Postgres refuses, found by halving: about k log n tries for k of n.

    Must run inside a transaction, which the caller rolls back; each try is undone by a savepoint.
    """
    statements = _statements(table)
    bad: dict[Key, RefusedByDatabase] = {}

    def attempt(tried: Sequence[Candidate]) -> None:
        savepoint = conn.begin_nested()
        try:
            conn.execute(text(statements["forget"]), _key_arrays([candidate.item.key for candidate in tried]))
            _copy(conn, table, tried)
        except Exception as error:
            savepoint.rollback()
            refusal = refusals.of_value(error)
            if refusal is None:
                raise
            if len(tried) == 1:
                bad[tried[0].item.key] = refusal
                return
            middle = len(tried) // 2
            attempt(tried[:middle])
            attempt(tried[middle:])
        else:
            savepoint.rollback()

    attempt(candidates)
    return bad
