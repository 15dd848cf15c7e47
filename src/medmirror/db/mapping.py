"""Writing what records mean: the canonical record, and the row of ``medmirror.sync_mapping`` that says whose it is.

Done in the transaction that stores the record, after it has claimed the record's facts (or locked them): so nobody else
writes the same rows, and mirror and mapping are never apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple
from uuid import UUID, uuid5

from sqlalchemy import Connection, TextClause, text

from medmirror.copyformat import RawJson, encoder
from medmirror.db import load, sql
from medmirror.model import Column

_NAMESPACE = UUID("6e1b1f0e-3f0f-5b5e-9d0b-7f3c2f1f4a11")  # made once; changing it changes every canonical id

_STAGE = (
    Column("feed", "text"),
    Column("source_id", "text"),
    Column("entity", "text"),
    Column("own_id", "uuid"),
    Column("version", "int8"),
    Column("source_hash", "bytea"),
    Column("record", "jsonb"),
    Column("canonical_hash", "bytea"),
    Column("mapping_digest", "bytea"),
    Column("schema_version", "int4"),
    Column("gone", "bool"),
    Column("archived", "bool"),
)
_encode = encoder(_STAGE)


class Row(NamedTuple):
    """A record that was stored and what it means. *feed* and *source_id* are as in ``medmirror.sync_mapping``.

    *record* is the canonical record as JSON text, None when there is none (a tombstone, or a feed without a mapper).
    """

    feed: str
    source_id: str
    version: int
    source_hash: bytes
    entity: str | None = None
    record: bytes | None = None
    canonical_hash: bytes | None = None
    mapping_digest: bytes | None = None
    schema_version: int | None = None
    gone: bool = False
    archived: bool = False


class Deletion(NamedTuple):
    """What another record says of this one: that it was deleted, as of *version*."""

    feed: str
    source_id: str
    entity: str | None
    version: int


class Advance(NamedTuple):
    """Equal content of a record under a newer *version*."""

    feed: str
    source_id: str
    version: int


@cache
def _statement(name: str) -> TextClause:
    return text(sql.sections("mapping.sql")[name])


def own_id(organization: str, source: str, feed: str, source_id: str) -> UUID:
    """What a record is called when it is nobody else: the same wherever and whenever it is loaded."""
    return uuid5(_NAMESPACE, "\x1f".join((organization, source, feed, source_id)))


def store(
    conn: Connection,
    source: str,
    organization: str,
    run_id: int,
    rows: Sequence[Row],
    *,
    seen: bool = True,
    new: bool = False,
) -> None:
    """Write *rows*; two of one key must not be among them.

    Must run inside the transaction that holds their facts. *seen*: the records were met in a load just now, so that
    none of them is missing any more; *new*: none of them was there before. Running it again changes nothing but the time of mapping.
    """
    if not rows:
        return
    conn.execute(_statement("stage"))
    load.copy(conn, sql.sections("mapping.sql")["copy stage"], _staged(source, organization, rows))
    values = {"organization": organization, "source": source}
    if not new and (stale := conn.execute(_statement("stale canonical"), values).all()):
        columns = dict(zip(("entity", "feed", "source_id"), map(list, zip(*stale, strict=True)), strict=True))
        conn.execute(_statement("drop canonical"), {**values, **columns})
    conn.execute(_statement("map"), {**values, "run_id": run_id, "seen": seen})
    conn.execute(_statement("upsert canonical"), values)
    conn.execute(_statement("clear stage"))


def _staged(source: str, organization: str, rows: Iterable[Row]) -> Iterable[bytes]:
    for row in rows:
        yield _encode(
            (
                row.feed,
                row.source_id,
                row.entity,
                own_id(organization, source, row.feed, row.source_id),
                row.version,
                row.source_hash,
                None if row.record is None else RawJson(row.record),
                row.canonical_hash,
                row.mapping_digest,
                row.schema_version,
                row.gone,
                row.archived,
            )
        )


def advance(conn: Connection, source: str, organization: str, run_id: int, rows: Sequence[Advance]) -> None:
    """Move the versions of *rows*, whose content is the same. Locks as ``store`` does."""
    if rows:
        values = dict(zip(Advance._fields, map(list, zip(*rows, strict=True)), strict=True))
        shared = {"organization": organization, "source": source, "run_id": run_id}
        conn.execute(_statement("advance"), {**values, **shared})


def note_deletions(conn: Connection, source: str, organization: str, run_id: int, rows: Sequence[Deletion]) -> None:
    """Write that records were deleted, as another record says; the newest deletion of each counts.

    Locks the rows in key order until the transaction ends. In whatever order deletions and records come, the same is
    written in the end.
    """
    newest: dict[tuple[str, str], Deletion] = {}
    for row in rows:
        known = newest.get((row.feed, row.source_id))
        if known is None or row.version > known.version:
            newest[row.feed, row.source_id] = row
    if newest:
        some = list(newest.values())
        values = dict(zip(Deletion._fields, map(list, zip(*some, strict=True)), strict=True))
        values["own_id"] = [own_id(organization, source, row.feed, row.source_id) for row in some]
        shared = {"organization": organization, "source": source, "run_id": run_id}
        conn.execute(_statement("note deletions"), {**values, **shared})
