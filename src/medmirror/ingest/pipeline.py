"""A run: split in the parent, at most two chunks a worker in flight, survive dead workers, tally.

paths -> inputs.chunks() -> executor -> process() -> Outcome -> Totals
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from medmirror import sources
from medmirror.db import ledger, retry
from medmirror.errors import KillsWorker, MedmirrorError, StoreUnavailable
from medmirror.ingest import pool, worker
from medmirror.ingest.chunk import process
from medmirror.ingest.inputs import FileState, Inputs
from medmirror.model import Chunk, Counts, Flaw, Item, Outcome, Part, Remarks

_log = logging.getLogger(__name__)

_CUTS = 20  # places that are tried to cut a part in two
_FINISH = 200  # files whose end is written with one statement
_RECOVERIES = 3  # crashes of the server that a run survives


@dataclass(slots=True)
class Totals:
    """What a run has done so far, from the counts that workers gave after their commits."""

    counts: Counts = field(default_factory=Counts)
    bytes: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    retries: int = 0
    deadlocks: int = 0
    lock_waits: int = 0
    worker_deaths: int = 0
    worker_peaks: dict[int, int] = field(default_factory=dict)  # process id -> bytes
    remarks: Remarks = field(default_factory=Remarks.nothing)

    def add(self, outcome: Outcome) -> None:
        """Count a chunk that was committed."""
        for counts in outcome.counts:
            self.counts = self.counts.plus(counts)
        self.bytes += outcome.bytes
        self.remarks.add(outcome.remarks)
        for stage, seconds in outcome.seconds.items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        self.retries += outcome.retries
        self.deadlocks += outcome.deadlocks
        self.lock_waits += outcome.lock_waits
        self.worker_peaks[outcome.pid] = max(outcome.peak_rss, self.worker_peaks.get(outcome.pid, 0))


@dataclass(slots=True)
class Pipeline:
    """One run over *inputs*. *on_progress* is called with the totals after each chunk, *pace* before each is handed
    out: it may sleep."""

    inputs: Inputs
    job: worker.Job
    make_executor: Callable[[], Executor]
    workers: int
    on_progress: Callable[[Totals], None] = lambda totals: None
    pace: Callable[[], None] = lambda: None
    totals: Totals = field(default_factory=Totals)
    _lost: list[FileState] = field(default_factory=list)

    def run(self, chunks: Iterator[Chunk]) -> Totals:
        """Process *chunks*; return the totals. What a crash of the server has taken away is processed again.

        KeyboardInterrupt and errors of the database go through, after the chunks under way have ended: what was
        committed stays, and the same command goes on from there. Raises StoreUnavailable when chunks were lost that
        cannot be had again.
        """
        try:
            self._spread(chunks)
            self.finish_files(everything=True)
            for _ in range(_RECOVERIES):
                if self._lost and all(isinstance(state.path, Path) for state in self._lost):
                    self._recover()
        except BaseException as problem:
            if not isinstance(problem, StoreUnavailable):  # else it would only try and wait as long again
                self.finish_files(everything=True)
            raise
        if self._lost:
            message = "The database has crashed and lost chunks; run the same command again."
            raise StoreUnavailable(message, files=len(self._lost))
        return self.totals

    def _spread(self, chunks: Iterator[Chunk]) -> None:
        pool.spread(
            chunks,
            lambda executor, chunk: executor.submit(process, chunk, self.job),
            self.make_executor,
            self.workers,
            done=self._done,
            died=self._go_through,
            pace=self.pace,
        )

    def _recover(self) -> None:
        lost, self._lost = self._lost, []
        _log.warning("the database has crashed and lost chunks of %d files; these are loaded again", len(lost))
        self._spread(self.inputs.again(lost))
        self.finish_files(everything=True)
        run_id = self.job.run_id
        # What was counted and then lost counts no more: the ledger knows what there is.
        counted = retry.in_transaction(self.inputs.engine, lambda conn: ledger.counts_of_run(conn, run_id))
        self.totals.counts, self.totals.bytes = counted

    def _done(self, chunk: Chunk, outcome: Outcome) -> None:
        self._count(chunk, outcome)
        self._parts_done(chunk)

    def _count(self, chunk: Chunk, outcome: Outcome) -> None:
        self.totals.add(outcome)
        for part in chunk.parts:
            self.inputs.by_id[part.file_id].chunks += 1

    def _parts_done(self, chunk: Chunk) -> None:
        for part in chunk.parts:
            self.inputs.by_id[part.file_id].open_parts -= 1
        self.finish_files(everything=False)
        self.on_progress(self.totals)

    def finish_files(self, *, everything: bool) -> None:
        """Write the end of files that are wholly handed out and done, some at a time.

        Files of which the server has crashed and lost chunks stay open, and are noted.
        """
        ready = [state for state in self.inputs.by_id.values() if state.split and not state.open_parts]
        if not ready or (len(ready) < _FINISH and not everything):
            return
        ends = []
        for state in ready:
            del self.inputs.by_id[state.file_id]
            error = state.error
            state.status = "refused" if error else "done"
            ends.append(
                ledger.FileEnd(
                    state.file_id,
                    state.status,
                    state.bytes,
                    state.chunks,
                    type(error).__name__ if error else None,
                    error.message if error else None,
                )
            )
        run_id = self.job.run_id
        written = retry.in_transaction(self.inputs.engine, lambda conn: ledger.finish_files(conn, run_id, ends))
        lost = [state for state in ready if state.file_id not in written]
        for state in lost:
            state.status = "open"
        self._lost += lost

    def _go_through(self, suspects: list[Chunk]) -> Iterator[Chunk]:
        """A worker died and took the pool with it; nobody knows which chunk it was: process each alone.

        A chunk that kills its worker again is halved until the one item that does it is alone, and that becomes a
        reject.
        """
        self.totals.worker_deaths += 1
        _log.warning("a worker process died; its chunks are processed one by one")
        with pool.Single() as single:
            for chunk in suspects:
                self._isolate(single, chunk)
                self._parts_done(chunk)
        return iter(())

    def _isolate(self, single: pool.Single, chunk: Chunk) -> None:
        outcome = single.call(process, chunk, self.job)
        if outcome is not None:
            self._count(chunk, outcome)
            return
        self.totals.worker_deaths += 1
        part = chunk.parts[0]
        if len(chunk.parts) > 1:
            middle = len(chunk.parts) // 2
            pieces = [chunk._replace(parts=chunk.parts[:middle]), chunk._replace(parts=chunk.parts[middle:])]
        elif part.given_up or not part.data:
            raise MedmirrorError("A worker process died twice where it should not.", file=part.path)
        else:
            parts = single.call(halves, chunk.source, part) or []
            if not parts:
                reason = "The worker process died each time it met this record."
                flaw = Flaw(None, part.ordinal, part.start, part.end, KillsWorker.__name__, reason)
                parts = [part._replace(flaws=(*part.flaws, flaw), given_up=True)]
            pieces = [chunk._replace(parts=(half,)) for half in parts]
        for piece in pieces:
            self._isolate(single, piece)


def halves(source: str, part: Part) -> list[Part]:
    """*part* as two parts, cut between items near its middle; nothing when it cannot be cut (a single item)."""
    read = sources.get(source).items
    whole = list(read(part.data, part.ordinal, part.context))
    starts = sorted({item.start for item in whole})[1:]
    for cut in sorted(starts, key=lambda start: abs(start - len(part.data) // 2))[:_CUTS]:
        left, right = part.data[:cut], part.data[cut:]
        first = list(read(left, part.ordinal, part.context))
        rest = [_moved(item, cut, len(first)) for item in read(right, part.ordinal + len(first), part.context)]
        if list(map(_identity, first + rest)) == list(map(_identity, whole)):  # not within a list of deletions
            middle = part.start + cut
            return [
                part._replace(end=middle, data=left),
                part._replace(start=middle, ordinal=part.ordinal + len(first), data=right, flaws=()),
            ]
    return []


def _moved(item: Item | Flaw, by: int, items: int) -> Item | Flaw:
    return item._replace(start=item.start + by, end=item.end + by, ordinal=item.ordinal + items)


def _identity(item: Item | Flaw) -> tuple[object, ...]:
    key = item.key if isinstance(item, Item) else None
    return key, item.start, item.end, item.ordinal
