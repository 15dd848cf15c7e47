"""Writing what records mean: the canonical record, and the row of ``medmirror.sync_mapping`` that says whose it is.

Done in the transaction that stores the record, after it has claimed the record's facts (or locked them): so nobody else
writes the same rows, and mirror and mapping are never apart.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from medmirror.copyformat import NULL
from medmirror.db import sql
from medmirror.db.copy import copy

_NAMESPACE = UUID("6e1b1f0e-3f0f-5b5e-9d0b-7f3c2f1f4a11")  # made once; changing it changes every canonical id

_length = struct.Struct(">i").pack
_int4 = struct.Struct(">ii").pack
_int8 = struct.Struct(">iq").pack
_COLUMNS = struct.pack(">h", 12)
_FLAGS = (b"\x00\x00\x00\x01\x00", b"\x00\x00\x00\x01\x01")
_UUID = _length(16)


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
    withheld: tuple[str, ...] = ()  # fields that are kept although the source has them no more: withheld.py


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


_statement = partial(sql.statement, "mapping.sql")


def own_id(organization: str, source: str, feed: str, source_id: str) -> UUID:
    """What a record is called when it is nobody else: the same wherever and whenever it is loaded."""
    return UUID(bytes=_own_id(_named(organization, source), feed, source_id))


def _named(organization: str, source: str) -> Any:
    return hashlib.sha1(_NAMESPACE.bytes + f"{organization}\x1f{source}\x1f".encode(), usedforsecurity=False)


def _own_id(named: Any, feed: str, source_id: str) -> bytes:
    """The bytes of a UUID of version 5 (RFC 9562, section 5.5), which ``uuid5`` makes three times as slowly."""
    digest = named.copy()
    digest.update(f"{feed}\x1f{source_id}".encode())
    octets = bytearray(digest.digest()[:16])
    octets[6] = octets[6] & 0x0F | 0x50
    octets[8] = octets[8] & 0x3F | 0x80
    return bytes(octets)


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
    none of them is missing any more; *new*: none of them was there before. Running it again changes nothing but the
    time of mapping.
    """
    if not rows:
        return
    conn.execute(_statement("stage"))
    copy(conn, sql.sections("mapping.sql")["copy stage"], _staged(source, organization, rows))
    values = {"organization": organization, "source": source}
    if not new and (stale := conn.execute(_statement("stale canonical"), values).all()):
        columns = dict(zip(("entity", "feed", "source_id"), map(list, zip(*stale, strict=True)), strict=True))
        conn.execute(_statement("drop canonical"), {**values, **columns})
    conn.execute(_statement("map"), {**values, "run_id": run_id, "seen": seen})
    conn.execute(_statement("upsert canonical"), values)
    conn.execute(_statement("clear stage"))


def _staged(source: str, organization: str, rows: Iterable[Row]) -> Iterator[bytes]:
    """*rows* as binary COPY tuples of ``stage_mapping``; written out, since there is one for every record that
    changed."""
    named = _named(organization, source)
    names: dict[str | None, bytes] = {None: NULL}
    for row in rows:
        if row.feed not in names or row.entity not in names:
            names |= {name: _bytes(name.encode()) for name in (row.feed, row.entity) if name is not None}
        record = row.record
        yield b"".join(
            (
                _COLUMNS,
                names[row.feed],
                _bytes(row.source_id.encode()),
                names[row.entity],
                _UUID,
                _own_id(named, row.feed, row.source_id),
                _int8(8, row.version),
                _bytes(row.source_hash),
                NULL if record is None else _length(len(record) + 1) + b"\x01" + record,
                _bytes(row.canonical_hash),
                _bytes(row.mapping_digest),
                NULL if row.schema_version is None else _int4(4, row.schema_version),
                _FLAGS[row.gone],
                _FLAGS[row.archived],
            )
        )


def _bytes(value: bytes | None) -> bytes:
    return NULL if value is None else _length(len(value)) + value


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
        before = newest.get((row.feed, row.source_id))
        if before is None or row.version > before.version:
            newest[row.feed, row.source_id] = row
    if newest:
        deletions = list(newest.values())
        values = dict(zip(Deletion._fields, map(list, zip(*deletions, strict=True)), strict=True))
        values["own_id"] = [own_id(organization, source, row.feed, row.source_id) for row in deletions]
        shared = {"organization": organization, "source": source, "run_id": run_id}
        conn.execute(_statement("note deletions"), {**values, **shared})
