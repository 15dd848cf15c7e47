"""A run: split in the parent, at most two chunks a worker in flight, survive dead workers, tally.

paths -> inputs.chunks() -> executor -> worker.process() -> Outcome -> Totals
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from io import BytesIO

from medmirror import executors, sources, worker
from medmirror.db import ledger, retry
from medmirror.errors import KillsWorker, MedmirrorError, StoreUnavailable
from medmirror.inputs import FileState, Inputs
from medmirror.model import Block, Chunk, Counts, Flaw, Outcome, Part

_log = logging.getLogger(__name__)

_FINISH = 200  # files whose end is written with one statement


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

    def add(self, outcome: Outcome) -> None:
        """Count a chunk that was committed."""
        for counts in outcome.counts:
            self.counts = self.counts.plus(counts)
        self.bytes += outcome.bytes
        for stage, seconds in outcome.seconds.items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        self.retries += outcome.retries
        self.deadlocks += outcome.deadlocks
        self.lock_waits += outcome.lock_waits
        self.worker_peaks[outcome.pid] = max(outcome.peak_rss, self.worker_peaks.get(outcome.pid, 0))


@dataclass(slots=True)
class Pipeline:
    """One run over *inputs*. *on_progress* is called with the totals after each chunk."""

    inputs: Inputs
    job: worker.Job
    make_executor: Callable[[], Executor]
    workers: int
    on_progress: Callable[[Totals], None] = lambda totals: None
    totals: Totals = field(default_factory=Totals)
    _ended: list[FileState] = field(default_factory=list)

    def run(self, chunks: Iterator[Chunk]) -> Totals:
        """Process *chunks*; return the totals.

        KeyboardInterrupt and errors of the database go through, after the chunks under way have ended: what was
        committed stays, and the same command goes on from there.
        """
        executor = self.make_executor()
        flying: dict[Future[Outcome], Chunk] = {}
        suspects: list[Chunk] = []
        try:
            while True:
                while len(flying) < 2 * self.workers and not suspects and (chunk := next(chunks, None)) is not None:
                    try:
                        flying[executor.submit(worker.process, chunk, self.job)] = chunk
                    except BrokenProcessPool:
                        suspects.append(chunk)
                if not flying and not suspects:
                    break
                done, _ = wait(flying, return_when=FIRST_COMPLETED)
                for future in done:
                    chunk = flying.pop(future)
                    try:
                        self._done(chunk, future.result())
                    except BrokenProcessPool:
                        suspects.append(chunk)
                if suspects:
                    suspects += flying.values()
                    flying.clear()
                    executor.shutdown(wait=True, cancel_futures=True)
                    self._go_through(suspects)
                    suspects.clear()
                    executor = self.make_executor()
        except BaseException:
            for future in flying:
                future.cancel()
            wait(flying)
            for future, chunk in flying.items():
                if not future.cancelled() and future.exception() is None:
                    self._done(chunk, future.result())
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            self.finish_files(everything=True)
        return self.totals

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

        Raises StoreUnavailable when the server has crashed and lost chunks of theirs: the next run loads those again.
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
        if lost:
            raise StoreUnavailable(
                "The database has crashed and lost chunks; run the same command again.", files=len(lost)
            )

    def _go_through(self, suspects: list[Chunk]) -> None:
        """A worker died and took the pool with it; nobody knows which chunk it was: process each alone.

        A chunk that kills its worker again is halved until the one item that does it is alone, and that becomes a
        reject.
        """
        self.totals.worker_deaths += 1
        _log.warning("a worker process died; its chunks are processed one by one")
        with _Single(self.job) as single:
            for chunk in suspects:
                self._isolate(single, chunk)
                self._parts_done(chunk)

    def _isolate(self, single: _Single, chunk: Chunk) -> None:
        outcome = single.process(chunk)
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
            made = halves(chunk.source, part, self.job.settings.max_record_bytes)
            if len(made) < 2:
                reason = "The worker process died each time it met this record."
                flaw = Flaw(None, part.ordinal, part.start, part.end, KillsWorker.__name__, reason)
                made = [part._replace(flaws=(*part.flaws, flaw), given_up=True)]
            pieces = [chunk._replace(parts=(one,)) for one in made]
        for piece in pieces:
            self._isolate(single, piece)


class _Single:
    """One worker process at a time; after a death the next chunk gets a new one."""

    def __init__(self, job: worker.Job) -> None:
        self._job = job
        self._executor: Executor | None = None

    def process(self, chunk: Chunk) -> Outcome | None:
        """The outcome of *chunk*; None when the process died."""
        self._executor = self._executor or executors.local(1)
        try:
            return self._executor.submit(worker.process, chunk, self._job).result()
        except BrokenProcessPool:
            self._stop()
            return None

    def _stop(self) -> None:
        if self._executor:
            self._executor.shutdown(wait=True)
        self._executor = None

    def __enter__(self) -> _Single:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()


def halves(source: str, part: Part, most: int) -> list[Part]:
    """*part* as two parts, cut between items; one when it holds a single item."""
    blocks: list[Block] = []
    for wanted in (max(1, len(part.data) // 2), 1):
        found = sources.get(source).split(BytesIO(part.data), part.context, wanted, most)
        blocks = [block for block in found if not isinstance(block, Flaw)]
        if len(blocks) > 1:
            break
    middle = len(blocks) // 2
    made = []
    for some in (blocks[:middle], blocks[middle:]):
        if some:
            start, end = some[0].start, some[-1].start + len(some[-1].data)
            data = part.data[start:end]  # with what stands between the blocks
            ordinal = part.ordinal + some[0].ordinal
            made.append(part._replace(start=part.start + start, end=part.start + end, ordinal=ordinal, data=data))
    return [one._replace(flaws=part.flaws if place == 0 else ()) for place, one in enumerate(made)]
