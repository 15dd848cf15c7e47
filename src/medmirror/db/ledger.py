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

_AGAIN = "\x1e"  # in an order, before the number of the file after which the same bytes came back
PLACE = "arrival"  # in a reject's context: the place of its stream in the order of arrival (ingest/order.py)
RAW_LIMIT = 1 << 20  # bytes of a reject that are kept; the rest is found again by file and span


class FileFacts(NamedTuple):
    """A file as the ledger stores it.

    *order* is its place among the source's files, as text; *size* is None for a pass over something that is no file.
    *beneath* is the folder that it was found in, "" when the user named the file itself.
    """

    path: str
    size: int | None
    digest: bytes
    order: str
    beneath: str = ""


class FileEnd(NamedTuple):
    """The end of a file: status `done` or `refused`, its decoded bytes, the number of its chunks that the run saw
    committed; for a refused file the error and reason."""

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
    """The file numbers of those *files* whose bytes are wholly loaded, by (digest, order)."""
    values = {"source": source, "digest": [f.digest for f in files], "file_order": [f.order for f in files]}
    rows = conn.execute(_statement("done files"), values)
    return {(bytes(row.digest), row.file_order): row.file_id for row in rows}


def placed(
    conn: Connection, source: str, organization: str, files: Sequence[FileFacts], done: Mapping[tuple[bytes, str], int]
) -> list[FileFacts]:
    """*files* of *organization*, each with its order in the ledger; *done* is the result of ``done_files``.

    Records without versions need this: bytes that come back after other bytes were loaded from the same place are new
    content, so they get an entry of their own.
    """
    loaded = [f.path for f in files if (f.digest, f.order) in done]
    values = {"source": source, "organization": organization, "path": loaded}
    own: dict[tuple[str, bytes, str], tuple[str, int]] = {}  # (path, digest, order as given) -> order, place in time
    times: dict[str, list[tuple[bytes, int, int]]] = {}  # of a path: digest, place in time, file number
    for time, row in enumerate(conn.execute(_statement("in place"), values)):
        own[row.path, bytes(row.digest), row.file_order.partition(_AGAIN)[0]] = (row.file_order, time)
        times.setdefault(row.path, []).append((bytes(row.digest), time, row.file_id))
    ordered = []
    for file in files:
        order, loaded_at = own.get((file.path, file.digest, file.order), (file.order, sys.maxsize))
        later = [
            number for digest, time, number in times.get(file.path, ()) if digest != file.digest and time > loaded_at
        ]
        ordered.append(file._replace(order=f"{file.order}{_AGAIN}{later[-1]}" if later else order))
    return ordered


def register_files(
    conn: Connection, source: str, run_id: int, files: Sequence[FileFacts], organization: str | None = None
) -> dict[tuple[bytes, str], int]:
    """Enter *files* (of *organization*) into the ledger; return their file numbers by (digest, order).

    The same bytes with the same order are the same file.
    """
    unique = {(f.digest, f.order): f for f in files}
    values = {
        "source": source,
        "run_id": run_id,
        "organization": organization,
        "path": [f.path for f in unique.values()],
        "size": [f.size for f in unique.values()],
        "digest": [f.digest for f in unique.values()],
        "file_order": [f.order for f in unique.values()],
        "beneath": [f.beneath for f in unique.values()],
    }
    rows = conn.execute(_statement("register files"), values)
    return {(bytes(row.digest), row.file_order): row.file_id for row in rows}


def done_spans(conn: Connection, file_ids: Sequence[int]) -> dict[int, set[Span]]:
    """The committed spans of each of *file_ids*, whatever run committed them; files without one are left out."""
    spans: dict[int, set[Span]] = {}
    for row in conn.execute(_statement("done spans"), {"file_ids": list(file_ids)}):
        spans.setdefault(row.file_id, set()).add((row.member, row.start_byte, row.end_byte))
    return spans


def spans_of_run(conn: Connection, run_id: int, file_ids: Sequence[int]) -> dict[int, set[Span]]:
    """The spans of each file that *run_id* has committed."""
    spans: dict[int, set[Span]] = {}
    for row in conn.execute(_statement("spans of run"), {"run_id": run_id, "file_ids": list(file_ids)}):
        spans.setdefault(row.file_id, set()).add((row.member, row.start_byte, row.end_byte))
    return spans


def counts_of_run(conn: Connection, run_id: int) -> tuple[Counts, int]:
    """What *run_id* has committed: the sum of its chunks' counts, and their bytes."""
    *counts, size = conn.execute(_statement("counts of run"), {"run_id": run_id}).one()
    return Counts(*counts), size


def census(conn: Connection, file_ids: Sequence[int]) -> dict[tuple[int, str], Count]:
    """(records read, open rejects) of each stream (file number, member) of *file_ids*."""
    rows = conn.execute(_statement("census"), {"file_ids": list(file_ids)})
    return {(row.file_id, row.member): (row.read, row.rejected) for row in rows}


def finish_files(conn: Connection, run_id: int, ends: Sequence[FileEnd]) -> set[int]:
    """Write the *ends* of files; return the numbers of the files that were ended.

    A file that is missing in the result lacks chunks that *run_id* saw committed: the server has crashed since.
    """
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
    """Write the rows of a chunk's parts, each with its *keys*; return the valid counts of each part.

    They are *counts*, except for a part that this run has committed before (the worker died before it could report):
    then they are the counts of that time.
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
    valid: list[Counts] = []
    for part, part_counts in zip(parts, counts, strict=True):
        if (part.file_id, part.member, part.start) in new:
            valid.append(part_counts)
            continue
        span = {"file_id": part.file_id, "member": part.member, "start_byte": part.start, "end_byte": part.end}
        valid.append(Counts(*conn.execute(_statement("chunk counts"), {**span, "run_id": run_id}).one()))
    return valid


def resolve_rejects(conn: Connection, run_id: int, parts: Sequence[Part]) -> None:
    """Close the rejects of earlier runs within the spans of *parts*. Call it before ``add_rejects``, which reopens the
    rejects that remain."""
    values = {
        "run_id": run_id,
        "file_id": [part.file_id for part in parts],
        "member": [part.member for part in parts],
        "start_byte": [part.start for part in parts],
        "end_byte": [part.end for part in parts],
    }
    conn.execute(_statement("resolve rejects"), values)


def add_rejects(conn: Connection, source: str, run_id: int, rejects: Sequence[tuple[Part, Flaw]]) -> None:
    """Store items that could not be loaded, with their bytes (at most 1 MiB), for ``rejects retry``.

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
                "context": orjson.dumps({**part.context, PLACE: part.place}).decode(),
                "run_id": run_id,
                "organization": part.context.get("organization"),
            }
        )
    if rows:
        conn.execute(_statement("add rejects"), rows)
