"""Records that could not be loaded: listed, shown, and tried again from the bytes that were kept of them.

A retry is a run of its own and each reject a chunk of its own, so what it loads is in the ledger like everything else,
and a record that kills its worker takes nothing with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, Row

from medmirror import sources
from medmirror.db import ledger, runs, sql
from medmirror.errors import KillsWorker, MedmirrorError, SourceError, UnreadableFile, UsageError
from medmirror.ingest import order, pool, worker
from medmirror.ingest.chunk import process
from medmirror.model import Block, Chunk, Counts, Flaw, Part
from medmirror.readers import files
from medmirror.readers.folders import path_of
from medmirror.settings import Settings


class Retried(NamedTuple):
    """What became of one reject: `loaded`, `failed` again, or `left` (it could not be tried); and why."""

    reject_id: int
    outcome: str
    error: str | None = None
    reason: str | None = None


@dataclass(slots=True)
class RetryResult:
    """What a retry did; the counts are those of its chunks, as in a load."""

    run_id: int
    status: str = "failed"  # done, rejects
    tried: int = 0
    loaded: int = 0
    failed: int = 0
    left: int = 0
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    rejects: list[Retried] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 when every reject that was asked for is loaded, else 3."""
        return 3 if self.failed or self.left else 0

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        named = {"counts": self.counts._asdict(), "rejects": [reject._asdict() for reject in self.rejects]}
        return {**asdict(self), **named}

    def add(self, reject: Retried) -> None:
        """Count *reject*."""
        self.rejects.append(reject)
        self.tried += reject.outcome != "left"
        setattr(self, reject.outcome, getattr(self, reject.outcome) + 1)


_statement = partial(sql.statement, "rejects.sql")


def find(
    engine: Engine, *, source: str | None = None, run_id: int | None = None, everything: bool = False, limit: int = 50
) -> tuple[list[dict[str, Any]], int]:
    """The first *limit* open rejects (*everything*: the resolved ones, too) of *source*, last failed in *run_id*; and
    how many there are. Raw bytes are not among it."""
    values = {"source": source, "run_id": run_id, "everything": everything}
    with engine.connect() as conn:
        rows = conn.execute(_statement("list"), {**values, "limit": limit}).mappings()
        return [dict(row) for row in rows], conn.execute(_statement("count"), values).scalar_one()


def get(engine: Engine, reject_id: int) -> dict[str, Any]:
    """All about a reject, its raw bytes, too. Raises UsageError when there is none of this number."""
    with engine.connect() as conn:
        row = conn.execute(_statement("show"), {"reject_id": reject_id}).mappings().one_or_none()
    if row is None:
        raise UsageError(f"There is no reject {reject_id}; `medmirror rejects list` names those that are open.")
    return dict(row)


def retry(
    engine: Engine,
    settings: Settings,
    *,
    source: str | None = None,
    reject_ids: Sequence[int] | None = None,
    mappings: tuple[str, ...] = (),
) -> RetryResult:
    """Try open rejects again: all, or those of *source*, or those of *reject_ids*. *mappings* are the texts of the
    user's own mapping files: without them a record means what the built-in mappers say.

    One that loads now is resolved; one that fails again counts one more attempt. Running it again changes nothing else.
    Raises UsageError for a number that is no open reject.
    """
    if source:
        sources.get(source)
    rows = _open(engine, source, reject_ids)
    with runs.record(engine, "rejects retry", source, {"rejects": len(rows)}) as run:
        result = RetryResult(run.run_id)
        run.counts = lambda: {**result.counts._asdict(), "tried": result.tried, "loaded": result.loaded}
        job = worker.Job(settings, run.run_id, mappings=mappings)
        with pool.Single() as single:
            for row, part in _parts(engine, settings, rows):
                _try(engine, single, job, row, part, result)
        run.status = "rejects" if result.failed or result.left else "done"
    result.status, result.seconds = run.status, run.seconds
    return result


def _open(engine: Engine, source: str | None, reject_ids: Sequence[int] | None) -> list[Row[Any]]:
    asked = list(reject_ids) if reject_ids else None
    with engine.connect() as conn:
        rows = list(conn.execute(_statement("open"), {"source": source, "reject_ids": asked}))
    if missing := sorted(set(asked or ()) - {row.reject_id for row in rows}):
        named = ", ".join(map(str, missing[:10]))
        raise UsageError(f"These are no open rejects{f' of {source}' if source else ''}: {named}.")
    return rows


def _process(single: pool.Single, source: str, part: Part, job: worker.Job) -> Counts:
    """The counts of *part*; when its worker dies of it, it is given up as a reject."""
    outcome = single.call(process, Chunk(source, (part,)), job)
    if outcome is not None:
        return outcome.counts[0]
    if part.given_up:
        raise MedmirrorError("A worker process died twice where it should not.", file=part.path)
    reason = "The worker process died each time it met this record."
    flaw = Flaw(None, part.ordinal, part.start, part.end, KillsWorker.__name__, reason)
    return _process(single, source, part._replace(flaws=(flaw,), given_up=True), job)


def _try(
    engine: Engine,
    single: pool.Single,
    job: worker.Job,
    row: Row[Any],
    part: Part | SourceError,
    result: RetryResult,
) -> None:
    """Try one reject and count it in *result*."""
    if isinstance(part, SourceError):
        result.add(Retried(row.reject_id, "left", type(part).__name__, part.message))
        return
    counts = _process(single, row.source, part, job)
    result.counts = result.counts.plus(counts)
    if not counts.rejected:
        result.add(Retried(row.reject_id, "loaded"))
        return
    values = {"run_id": result.run_id, "file_id": row.file_id, "member": row.member}
    with engine.connect() as conn:
        rows = conn.execute(_statement("outcome"), {**values, "start_byte": part.start, "end_byte": part.end})
        why = rows.one()
    result.add(Retried(row.reject_id, "failed", why.error, why.reason))


_Found = Iterator[tuple[Row[Any], Part | SourceError]]


def _parts(engine: Engine, settings: Settings, rows: Sequence[Row[Any]]) -> _Found:
    """Each of *rows* as a part that a worker can process, or why its bytes cannot be had. One at a time is held; a file
    is read once for all that is needed from it."""
    for (_, _, kept), of_stream in groupby(rows, lambda row: (row.file_id, row.member, row.raw_complete)):
        group = list(of_stream)
        if not kept:
            yield from _from_file(group, settings)
            continue
        for row in group:
            if row.start_byte == row.end_byte:
                yield (
                    row,
                    UnreadableFile("It stands for a file or member that could not be read at all: " + _again(row)),
                )
            elif raw := _raw(engine, row.reject_id):
                yield row, _empty(row)._replace(data=raw)


def _raw(engine: Engine, reject_id: int) -> bytes:
    with engine.connect() as conn:
        return bytes(conn.execute(_statement("raw"), {"reject_id": reject_id}).scalar_one())


def _empty(row: Row[Any]) -> Part:
    """The part that the reject is, without its bytes. It keeps the place of its file in the order of arrival: an older
    copy is none the newer for having been a reject."""
    context = dict(row.context)
    first = int(context.pop(ledger.PLACE, order.place(row.load, 0)))
    return Part(row.file_id, row.path, row.member, context, row.start_byte, row.end_byte, row.item, b"", place=first)


def _again(row: Row[Any]) -> str:
    return f"load it again with `medmirror load --force {row.path}`."


def _from_file(rows: Sequence[Row[Any]], settings: Settings) -> _Found:
    """*rows* of one stream, in the order of their bytes, found again by splitting it: offsets are those of the
    splitter, which may have recoded the file."""
    waiting = deque(rows)
    first = rows[0]
    error: SourceError = UnreadableFile("Its bytes were not found in the file: " + _again(first))
    try:
        if first.size is None:
            raise UnreadableFile("It was read from what is no file, and is too large to be kept: load that again.")
        path, beneath = _place(first)
        if files.digest(path, beneath=beneath).sha256 != bytes(first.digest):
            raise UnreadableFile("The file is not the one of that time any more: " + _again(first))
        for stream in files.streams(path, settings.max_zip_ratio, beneath):
            if stream.member == first.member:
                yield from _from_stream(waiting, stream, settings)
    except SourceError as problem:
        error = problem
    yield from ((row, error) for row in waiting)


def _place(row: Row[Any]) -> tuple[Path, Path | None]:
    """Where the file of *row* is, and the folder below which no link is followed to it: that in which it was found.
    Where the ledger does not say which it was, none is followed at all."""
    path = path_of(row.path)
    if row.beneath == "":
        return path, None
    beneath = path_of(row.beneath or path.absolute().anchor)
    return (path, beneath) if path.is_relative_to(beneath) else (path.absolute(), Path(path.absolute().anchor))


def _from_stream(waiting: deque[Row[Any]], stream: files.Stream, settings: Settings) -> _Found:
    with stream.open() as file:
        split = sources.get(waiting[0].source).split
        for block in split(file, waiting[0].context, settings.chunk_bytes, settings.max_record_bytes):
            end = block.end if isinstance(block, Flaw) else block.start + len(block.data)
            while waiting and waiting[0].start_byte < end:
                row = waiting.popleft()
                yield row, _within(row, block)
            if not waiting:
                return


def _within(row: Row[Any], block: Block | Flaw) -> Part | SourceError:
    start, end = row.start_byte, row.end_byte
    if block.start > start:
        return UnreadableFile("Its bytes were not found in the file: " + _again(row))
    if isinstance(block, Flaw):
        return _empty(row)._replace(flaws=(block._replace(ordinal=row.item, start=start, end=end),), given_up=True)
    return _empty(row)._replace(data=block.data[start - block.start : end - block.start])
