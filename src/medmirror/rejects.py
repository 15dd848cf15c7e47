"""Records that could not be loaded: listed, shown, and tried again from the bytes that were kept of them.

A retry is a run of its own and each reject a chunk of its own, so what it loads is in the ledger like everything else,
and a record that kills its worker takes nothing with it.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, TextClause, text

from medmirror import __version__, executors, sources, worker
from medmirror.db import ledger, sql
from medmirror.db import retry as transactions
from medmirror.errors import KillsWorker, SourceError, UnreadableFile, UsageError
from medmirror.model import Chunk, Counts, Flaw, Part
from medmirror.readers import files
from medmirror.settings import Settings

_log = logging.getLogger(__name__)


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
        named = {"counts": self.counts._asdict(), "rejects": [one._asdict() for one in self.rejects]}
        return {**asdict(self), **named}

    def add(self, one: Retried) -> None:
        """Count *one*."""
        self.rejects.append(one)
        self.tried += one.outcome != "left"
        setattr(self, one.outcome, getattr(self, one.outcome) + 1)


@cache
def _statement(name: str) -> TextClause:
    return text(sql.sections("rejects.sql")[name])


def find(
    engine: Engine, *, source: str | None = None, run_id: int | None = None, everything: bool = False, limit: int = 50
) -> tuple[list[dict[str, Any]], int]:
    """The first *limit* open rejects (*everything*: the resolved ones, too) of *source*, last failed in *run_id*; and
    how many there are. Raw bytes are not among it."""
    values = {"source": source, "run_id": run_id, "everything": everything}
    with engine.connect() as conn:
        found = conn.execute(_statement("list"), {**values, "limit": limit}).mappings()
        return [dict(row) for row in found], conn.execute(_statement("count"), values).scalar_one()


def get(engine: Engine, reject_id: int) -> dict[str, Any]:
    """All about a reject, its raw bytes, too. Raises UsageError when there is none of this number."""
    with engine.connect() as conn:
        row = conn.execute(_statement("show"), {"reject_id": reject_id}).mappings().one_or_none()
    if row is None:
        raise UsageError(f"There is no reject {reject_id}; `medmirror rejects list` names those that are open.")
    return dict(row)


def retry(
    engine: Engine, settings: Settings, *, source: str | None = None, reject_ids: Sequence[int] | None = None
) -> RetryResult:
    """Try open rejects again: all, or those of *source*, or those of *reject_ids*.

    One that loads now is resolved; one that fails again counts one more attempt. Running it again changes nothing else.
    Raises UsageError for a number that is no open reject.
    """
    if source:
        sources.get(source)
    began = time.perf_counter()
    wanted = _open(engine, source, reject_ids)
    result = RetryResult(transactions.in_transaction(engine, lambda conn: _begin(conn, source, len(wanted))))
    try:
        with _Worker(worker.Job(settings, result.run_id)) as process:
            for reject_id in wanted:
                _one(engine, settings, process, reject_id, result)
        result.status = "rejects" if result.failed or result.left else "done"
    except KeyboardInterrupt:
        result.status = "interrupted"
        raise
    finally:
        result.seconds = round(time.perf_counter() - began, 3)
        counts = {**result.counts._asdict(), "tried": result.tried, "loaded": result.loaded}
        transactions.in_transaction(
            engine,
            lambda conn: ledger.end_run(
                conn, result.run_id, status=result.status, counts=counts, seconds=result.seconds
            ),
        )
    return result


def _begin(conn: Connection, source: str | None, count: int) -> int:
    return ledger.begin_run(
        conn,
        command="rejects retry",
        source=source,
        host=platform.node(),
        pid=os.getpid(),
        version=__version__,
        settings={"rejects": count},
    )


def _open(engine: Engine, source: str | None, reject_ids: Sequence[int] | None) -> list[int]:
    asked = list(reject_ids) if reject_ids else None
    with engine.connect() as conn:
        found = list(conn.execute(_statement("open"), {"source": source, "reject_ids": asked}).scalars())
    if missing := sorted(set(asked or ()) - set(found)):
        named = ", ".join(map(str, missing[:10]))
        raise UsageError(f"These are no open rejects{f' of {source}' if source else ''}: {named}.")
    return found


class _Worker:
    """One worker process at a time; after a death the next chunk gets a new one."""

    def __init__(self, job: worker.Job) -> None:
        self.job = job
        self._executor: Executor | None = None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *error: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None

    def process(self, source: str, part: Part) -> Counts:
        """The counts of *part*; when its worker dies of it, it is given up as a reject."""
        self._executor = self._executor or executors.local(1)
        try:
            return self._executor.submit(worker.process, Chunk(source, (part,)), self.job).result().counts[0]
        except BrokenProcessPool:
            self.__exit__()
            if part.given_up:
                raise
        reason = "The worker process died each time it met this record."
        flaw = Flaw(None, part.ordinal, part.start, part.end, KillsWorker.__name__, reason)
        return self.process(source, part._replace(flaws=(flaw,), given_up=True))


def _one(engine: Engine, settings: Settings, process: _Worker, reject_id: int, result: RetryResult) -> None:
    """Try one reject and count it in *result*."""
    with engine.connect() as conn:
        row = conn.execute(_statement("one open"), {"reject_id": reject_id}).one_or_none()
    if row is None:
        return  # somebody else has loaded it in the meantime
    try:
        part = _part(row, settings)
    except SourceError as error:
        _note(result, Retried(reject_id, "left", type(error).__name__, error.message))
        return
    counts = process.process(row.source, part)
    result.counts = result.counts.plus(counts)
    if not counts.rejected:
        _note(result, Retried(reject_id, "loaded"))
        return
    values = {"run_id": result.run_id, "file_id": row.file_id, "member": row.member}
    with engine.connect() as conn:
        why = conn.execute(
            _statement("outcome"), {**values, "start_byte": row.start_byte, "end_byte": row.end_byte}
        ).one()
    _note(result, Retried(reject_id, "failed", why.error, why.reason))


def _note(result: RetryResult, one: Retried) -> None:
    result.add(one)
    _log.debug("reject %d %s%s", one.reject_id, one.outcome, f": {one.error}: {one.reason}" if one.reason else "")


def _part(row: Row[Any], settings: Settings) -> Part:
    """The reject as a part that a worker can process. Raises SourceError when its bytes cannot be had any more."""
    if row.start_byte == row.end_byte:
        raise UnreadableFile(f"It stands for a file or member that could not be read at all: {_AGAIN.format(row.path)}")
    start, end, ordinal = row.start_byte, row.end_byte, row.item
    empty = Part(row.file_id, row.path, row.member, row.context or {}, start, end, ordinal, b"")
    if row.raw is not None:
        return empty._replace(data=bytes(row.raw))
    path = Path(row.path)
    if _digest(path) != bytes(row.digest):
        raise UnreadableFile(f"The file is not the one of that time any more: {_AGAIN.format(row.path)}")
    for stream in files.streams(path, settings.max_zip_ratio):
        if stream.member == row.member:
            return _again(row.source, stream, empty, settings)
    raise UnreadableFile(f"The archive has no such member any more: {_AGAIN.format(row.path)}")


def _digest(path: Path) -> bytes:
    """The SHA-256 of *path*, read once though many rejects may be of it. Raises UnreadableFile."""
    try:
        stat = path.stat()
    except OSError as error:
        raise files.unreadable(path, error) from None
    return _digest_of(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest_of(path: Path, size: int, changed: int) -> bytes:
    return files.digest(path).sha256


_AGAIN = "load it again with `medmirror load --force {}`."


def _again(source: str, stream: files.Stream, empty: Part, settings: Settings) -> Part:
    """*empty* with its bytes, found in *stream* by splitting it again: offsets are those of the splitter, which may
    have recoded the file."""
    with stream.open() as file:
        for block in _blocks(source, file, empty, settings):
            if isinstance(block, Flaw):
                if block.start <= empty.start < block.end:
                    flaw = block._replace(ordinal=empty.ordinal, start=empty.start, end=empty.end)
                    return empty._replace(flaws=(flaw,), given_up=True)
            elif block.start <= empty.start < block.start + len(block.data):
                return empty._replace(data=block.data[empty.start - block.start : empty.end - block.start])
    raise UnreadableFile(f"Its bytes were not found in the file: {_AGAIN.format(empty.path)}")


def _blocks(source: str, file: Any, part: Part, settings: Settings) -> Iterator[Any]:
    return sources.get(source).split(file, part.context, settings.chunk_bytes, settings.max_record_bytes)
