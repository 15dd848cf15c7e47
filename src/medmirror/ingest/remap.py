"""Mapping anew what is stored: after a mapping was edited, or for records that came before there was one.

Only records whose mapper is another one than the one that mapped them are touched, and of those only the ones are
written whose meaning is another. Pages of records go to worker processes; a page is one transaction, so this can be
stopped at any moment, and the next time does the rest.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Engine

from medmirror import sources
from medmirror.db import digests as setdigest
from medmirror.db import ledger, retry
from medmirror.errors import MedmirrorError, UsageError
from medmirror.ingest import executors, store, worker
from medmirror.ingest import remapstore as stored
from medmirror.ingest import run as api
from medmirror.ingest.remappage import Answer, Mapped, Page, process
from medmirror.settings import Settings
from medmirror.sources.base import Feed, Source

_PAGE = 2_000  # records in one transaction
_DEATHS = 3  # worker processes that may die while not one page gets done


@dataclass(slots=True)
class RemapResult:
    """What a mapping anew did, as the database reported it after each commit. *feeds* has the counts by source and
    feed, *problems* how often which field of which feed had which problem."""

    run_id: int
    status: str = "failed"  # done, failed, interrupted
    counts: Mapped = field(default_factory=Mapped)
    feeds: dict[str, Mapped] = field(default_factory=dict)
    problems: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    retries: int = 0
    worker_deaths: int = 0
    worker_peaks: dict[int, int] = field(default_factory=dict)  # process id -> bytes

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        feeds = {name: one._asdict() for name, one in sorted(self.feeds.items())}
        return {**asdict(self), **self.counts._asdict(), "feeds": feeds, "problems": dict(self.problems.most_common())}

    def add(self, unit: stored.Unit, counts: Mapped) -> None:
        """Count what became of some of *unit*'s records."""
        name = f"{unit.table.schema}.{unit.kind}"
        self.counts = self.counts.plus(counts)
        self.feeds[name] = self.feeds.get(name, Mapped()).plus(counts)


def remap(
    *,
    organization: str | None = None,
    source: str | None = None,
    since: int | None = None,
    mapping: Iterable[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    map_with: Mapping[tuple[str, str], Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] | None = None,
    everything: bool = False,
    dsn: str | None = None,
    workers: int | None = None,
    on_progress: Callable[[RemapResult], None] = lambda result: None,
    pace: Callable[[], None] = lambda: None,
    settings: Settings | None = None,
    within: worker.EngineOf | None = None,
) -> RemapResult:
    """Map anew what is stored, of every *source* and *organization* or of those that are named; return what was done.

    *mapping* and *map_with* are what loads are given, and should be given here, too: records that were mapped with
    them are mapped without them otherwise; only where no mapper is left at all are they not touched. *since* takes
    only records that this run or a later one has written; *everything* does those as well that need nothing. *pace* is
    called before each page and may sleep. *within* is as of ``api.load``. Running it again does what is open, and else
    nothing.

    Raises UsageError for wrong arguments, StoreError when the database fails (what was committed stays).
    """
    wanted = [sources.get(name) for name in ([source] if source else sources.names())]
    if source and not wanted[0].tenant:
        raise UsageError(f"{source} is public: its records are not mapped.")
    texts = api.read_mappings([mapping] if isinstance(mapping, str | os.PathLike) else mapping)
    functions = worker.pack((None, None, dict(map_with))) if map_with else b""
    worker.mappers_of(texts, functions)  # a wrong file is told of before anything begins
    settings = settings or Settings.from_environment(dsn=dsn, workers=workers)
    engine, settings = (within(settings, None), settings) if within else api.open_database(settings)
    began = time.perf_counter()
    try:
        shown = {"organization": organization, "since": since, "everything": everything, "workers": settings.workers}
        run_id = api.begin(engine, "map", source, shown)
        result = RemapResult(run_id)
        job = worker.Job(settings, run_id, functions, texts)
        todo = _Todo(engine, job, [one for one in wanted if one.tenant], organization, since, everything, result)
        error = None
        try:
            made = partial(executors.Inline, within) if within else partial(executors.local, settings.workers)
            _spread(todo.pages(), job, result, made, on_progress, pace)
            setdigest.fold(engine)
            result.status = "done"
        except KeyboardInterrupt:
            result.status = "interrupted"
            raise
        except MedmirrorError as problem:
            error = f"{type(problem).__name__}: {problem.message}"
            raise
        finally:
            result.seconds = round(time.perf_counter() - began, 3)
            _end(engine, result, error)
        return result
    finally:
        engine.dispose()


def _end(engine: Engine, result: RemapResult, error: str | None) -> None:
    counts = {"remapped": result.counts._asdict(), "problems": dict(result.problems)}
    facts: dict[str, Any] = {"status": result.status, "seconds": result.seconds, "error": error, "counts": counts}
    retry.in_transaction(engine, lambda conn: ledger.end_run(conn, result.run_id, **facts))


@dataclass(frozen=True, slots=True)
class _Todo:
    """What is to be done, found out bit by bit."""

    engine: Engine
    job: worker.Job
    sources: Sequence[Source]
    organization: str | None
    since: int | None
    everything: bool
    result: RemapResult

    def pages(self) -> Iterator[Page]:
        """The records to map, some at a time, feed by feed; feeds of deletions last, for what they tell of records."""
        every = [(source, feed) for source in self.sources for feed in source.feeds]
        for source, feed in sorted(every, key=lambda one: one[1].deletions):
            with self.engine.connect() as conn:
                units = stored.units(conn, store.table_of(source, feed), feed.document, self.organization)
            for unit in units:
                ids = stored.stale(self.engine, unit, self._stale(source, feed, unit))
                while some := tuple(itertools.islice(ids, _PAGE)):
                    yield Page(unit, some, self.everything)

    def _stale(self, source: Source, feed: Feed, unit: stored.Unit) -> stored.Stale:
        if feed.deletions:
            return stored.Stale("deletions", since=self.since)
        mapper = worker.mappers_of(self.job.mappings, self.job.functions).of(source.name, unit.kind)
        if mapper is None:
            with self.engine.connect() as conn:
                self.result.add(unit, Mapped(left=stored.left(conn, unit)))
            return stored.Stale("no mapper", since=self.since)
        return stored.Stale("all" if self.everything else "mapped", mapper.digest, self.since)


def _spread(
    pages: Iterator[Page],
    job: worker.Job,
    result: RemapResult,
    make_executor: Callable[[], Executor],
    on_progress: Callable[[RemapResult], None],
    pace: Callable[[], None],
) -> None:
    """Have worker processes do *pages*, at most twice as many at a time as there are workers. What a worker that dies
    had under way is given out again: nothing of it was committed, or it is found done."""
    workers = job.settings.workers
    executor: Executor | None = None
    flying: dict[Future[Answer], Page] = {}
    deaths = 0
    try:
        while True:
            while len(flying) < 2 * workers and (page := next(pages, None)) is not None:
                pace()
                executor = executor or make_executor()
                flying[executor.submit(process, page, job)] = page
            if not flying:
                return
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                pages = itertools.chain(list(flying.values()), pages)
                flying.clear()
                assert executor is not None
                executor.shutdown(wait=True, cancel_futures=True)
                executor, deaths = None, deaths + 1
                result.worker_deaths += 1
                if deaths > _DEATHS:
                    raise MedmirrorError(
                        "Worker processes died again and again; is there memory enough?", deaths=deaths
                    )
                continue
            for future in done:
                _count(result, flying.pop(future), future.result())
                deaths = 0
            on_progress(result)
    finally:
        for future in flying:
            future.cancel()
        if executor is not None:
            executor.shutdown(wait=True)
        for future, page in flying.items():
            if not future.cancelled() and future.exception() is None:
                _count(result, page, future.result())


def _count(result: RemapResult, page: Page, answer: Answer) -> None:
    result.add(page.unit, answer.counts)
    result.problems.update(answer.problems)
    result.retries += answer.retries
    result.worker_peaks[answer.pid] = answer.peak_rss
