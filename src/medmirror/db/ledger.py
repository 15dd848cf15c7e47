"""The ledger: files, chunks and rejects of runs (``runs.py``).

A chunk's row is written in the transaction that stores its records.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection

from medmirror.db import sql
from medmirror.model import Counts, Flaw, Part

_AGAIN = "\x1e"  # in an order, before the file that the same bytes have come back after
RAW_LIMIT = 1 << 20  # bytes of a reject that are kept; the rest is found again by file and span


class FileFacts(NamedTuple):
    """A file as the ledger knows it: *order* is what its source says of its place among files, as text; *size* is None
    for a pass over something that is no file."""

    path: str
    size: int | None
    digest: bytes
    order: str


class FileEnd(NamedTuple):
    """How a file ended: status `done` or `refused`, its decoded bytes, how many chunks of it the run has seen
    committed, and for a refused one the error and reason."""

    file_id: int
    status: str
    bytes: int
    chunks: int
    error: str | None = None
    reason: str | None = None


Span = tuple[str, int, int]  # member, start, end
Count = tuple[int, int]  # records read, open rejects


_statement = partial(sql.statement, "ledger.sql")


def done_files(conn: Connection, source: str, files: Sequence[FileFacts]) -> dict[tuple[bytes, str], int]:
    """Those of *files* whose bytes are wholly loaded: (digest, order) to file number."""
    values = {"source": source, "digest": [f.digest for f in files], "file_order": [f.order for f in files]}
    rows = conn.execute(_statement("done files"), values)
    return {(bytes(row.digest), row.file_order): row.file_id for row in rows}


def placed(
    conn: Connection, source: str, organization: str, files: Sequence[FileFacts], done: Mapping[tuple[bytes, str], int]
) -> list[FileFacts]:
    """*files* of *organization* with the order that each has now, given those that are *done* under the order they came
    with. Bytes that have come back, after others were loaded from the same place, are news where records have no
    versions: they get an entry of their own."""
    asked = [f.path for f in files if (f.digest, f.order) in done]
    values = {"source": source, "organization": organization, "path": asked}
    own: dict[tuple[str, bytes, str], tuple[str, int]] = {}  # (path, digest, order as given) -> order, place in time
    times: dict[str, list[tuple[bytes, int, int]]] = {}  # of a path: digest, place in time, file number
    for time, row in enumerate(conn.execute(_statement("in place"), values)):
        own[row.path, bytes(row.digest), row.file_order.partition(_AGAIN)[0]] = (row.file_order, time)
        times.setdefault(row.path, []).append((bytes(row.digest), time, row.file_id))
    made = []
    for one in files:
        order, known = own.get((one.path, one.digest, one.order), (one.order, sys.maxsize))
        others = [number for digest, time, number in times.get(one.path, ()) if digest != one.digest and time > known]
        made.append(one._replace(order=f"{one.order}{_AGAIN}{others[-1]}" if others else order))
    return made


def register_files(
    conn: Connection, source: str, run_id: int, files: Sequence[FileFacts], organization: str | None = None
) -> dict[tuple[bytes, str], int]:
    """Make *files* (of *organization*) known; return (digest, order) to file number. The same bytes in the same place
    are the same file."""
    unique = {(f.digest, f.order): f for f in files}
    values = {
        "source": source,
        "run_id": run_id,
        "organization": organization,
        "path": [f.path for f in unique.values()],
        "size": [f.size for f in unique.values()],
        "digest": [f.digest for f in unique.values()],
        "file_order": [f.order for f in unique.values()],
    }
    rows = conn.execute(_statement("register files"), values)
    return {(bytes(row.digest), row.file_order): row.file_id for row in rows}


def done_spans(conn: Connection, file_ids: Sequence[int]) -> dict[int, set[Span]]:
    """The spans that some run has committed, of those of *file_ids* that have any."""
    found: dict[int, set[Span]] = {}
    for row in conn.execute(_statement("done spans"), {"file_ids": list(file_ids)}):
        found.setdefault(row.file_id, set()).add((row.member, row.start_byte, row.end_byte))
    return found


def census(conn: Connection, file_ids: Sequence[int]) -> dict[tuple[int, str], Count]:
    """How many records were read in each stream (file number, member) and how many of them are open rejects."""
    rows = conn.execute(_statement("census"), {"file_ids": list(file_ids)})
    return {(row.file_id, row.member): (row.read, row.rejected) for row in rows}


def finish_files(conn: Connection, run_id: int, ends: Sequence[FileEnd]) -> set[int]:
    """Write how files ended; return the numbers of those that did. The others lack chunks that *run_id* saw committed:
    the server has crashed since."""
    values = dict(zip(FileEnd._fields, map(list, zip(*ends, strict=True)), strict=True))
    ended = {row.file_id for row in conn.execute(_statement("finish files"), {**values, "run_id": run_id})}
    conn.execute(_statement("supersede rejects"), {"file_ids": sorted(ended)})
    return ended


def add_chunk(
    conn: Connection,
    run_id: int,
    parts: Sequence[Part],
    counts: Sequence[Counts],
    seconds: float,
    keys: Sequence[bytes | None] | None = None,
) -> list[Counts]:
    """Write the rows of a chunk's parts, each with the *keys* that were seen in it; return the counts that hold for
    each.

    They are the given ones, except for a part that this run has committed before (the worker died before it could say
    so): then they are those of that time.
    """
    values: dict[str, Any] = {
        "run_id": run_id,
        "seconds": seconds / max(1, len(parts)),
        "file_id": [part.file_id for part in parts],
        "member": [part.member for part in parts],
        "start_byte": [part.start for part in parts],
        "end_byte": [part.end for part in parts],
        "keys": list(keys or [None] * len(parts)),
    }
    for name, column in zip(Counts._fields, zip(*counts, strict=True), strict=True):
        values[name] = list(column)
    new = {tuple(row) for row in conn.execute(_statement("add chunks"), values)}
    held: list[Counts] = []
    for part, mine in zip(parts, counts, strict=True):
        if (part.file_id, part.member, part.start) in new:
            held.append(mine)
            continue
        span = {"file_id": part.file_id, "member": part.member, "start_byte": part.start, "end_byte": part.end}
        held.append(Counts(*conn.execute(_statement("chunk counts"), {**span, "run_id": run_id}).one()))
    return held


def resolve_rejects(conn: Connection, run_id: int, parts: Sequence[Part]) -> None:
    """Close earlier runs' rejects within the spans of *parts*: call it before ``add_rejects`` reopens those that
    stay."""
    values = {
        "run_id": run_id,
        "file_id": [part.file_id for part in parts],
        "member": [part.member for part in parts],
        "start_byte": [part.start for part in parts],
        "end_byte": [part.end for part in parts],
    }
    conn.execute(_statement("resolve rejects"), values)


def add_rejects(conn: Connection, source: str, run_id: int, rejects: Sequence[tuple[Part, Flaw]]) -> None:
    """Keep items that could not be loaded, with their bytes, for ``rejects retry``.

    A flaw's offsets and ordinal are those of the stream. Raw bytes go to this table only.
    """
    rows = []
    for part, flaw in rejects:
        raw = part.data[flaw.start - part.start : flaw.end - part.start] if flaw.start >= part.start else b""
        whole = len(raw) == flaw.end - flaw.start and len(raw) <= RAW_LIMIT
        rows.append(
            {
                "file_id": part.file_id,
                "member": part.member,
                "source": source,
                "feed": flaw.feed,
                "item": flaw.ordinal,
                "start_byte": flaw.start,
                "end_byte": flaw.end,
                "error": flaw.error,
                "reason": flaw.reason,
                "raw": raw[:RAW_LIMIT],
                "raw_complete": whole,
                "context": orjson.dumps(dict(part.context)).decode(),
                "run_id": run_id,
                "organization": part.context.get("organization"),
            }
        )
    if rows:
        conn.execute(_statement("add rejects"), rows)
