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
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Engine

from medmirror import sources
from medmirror.db import digests, retry, runs
from medmirror.db.database import open_database
from medmirror.errors import MedmirrorError, UsageError
from medmirror.ingest import executors, pool, run, store, worker
from medmirror.ingest import remapstore as stored
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
        feeds = {name: counts._asdict() for name, counts in sorted(self.feeds.items())}
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
    accept_empty_fields: bool = False,
    dsn: str | None = None,
    workers: int | None = None,
    on_progress: Callable[[RemapResult], None] = lambda result: None,
    settings: Settings | None = None,
) -> RemapResult:
    """Map stored records anew; return what was done. Running it again does what is open, and else nothing.

    Parameters
    ----------
    organization, source : str, optional
        Whose records, and of which source; by default all of them.
    since : int, optional
        Only records that this run, or a later one, has written.
    mapping, map_with
        As for ``load``, and the same as its loads were given: records that were mapped with them are mapped without
        them otherwise. Only where no mapper is left at all are they not touched.
    everything : bool
        Map those records as well that need nothing.
    accept_empty_fields : bool
        Fields whose emptiness is withheld are empty.
    dsn, workers, settings
        As for ``load``.
    on_progress : callable, optional
        Called after each committed page with the result so far.

    Returns
    -------
    RemapResult
        Counts as the database reported them after each commit.

    Raises
    ------
    UsageError
        An argument or a setting is wrong; nothing was written.
    StoreError
        The database failed. What was committed stays; the same call goes on from there.
    """
    return execute(
        settings or Settings.from_environment(dsn=dsn, workers=workers),
        organization=organization,
        source=source,
        since=since,
        mappings=run.read_mappings(mapping),
        map_with=map_with,
        everything=everything,
        accept_empty_fields=accept_empty_fields,
        on_progress=on_progress,
    )


def execute(
    settings: Settings,
    *,
    organization: str | None = None,
    source: str | None = None,
    since: int | None = None,
    mappings: tuple[str, ...] = (),
    map_with: Mapping[tuple[str, str], Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] | None = None,
    everything: bool = False,
    accept_empty_fields: bool = False,
    on_progress: Callable[[RemapResult], None] = lambda result: None,
    pace: Callable[[], None] = lambda: None,
    within: worker.EngineOf | None = None,
) -> RemapResult:
    """Do what ``remap`` says, as a part of something larger.

    *mappings*, *pace* and *within* are as of ``run.execute``.
    """
    wanted = [sources.get(name) for name in ([source] if source else sources.names())]
    if source and not wanted[0].tenant:
        raise UsageError(f"{source} is public: its records are not mapped.")
    functions = worker.pack((None, None, dict(map_with))) if map_with else b""
    worker.mappers_of(mappings, functions)  # a wrong file is told of before anything begins
    engine, settings = (within(settings, None), settings) if within else open_database(settings)
    began = time.perf_counter()
    try:
        shown = {"organization": organization, "since": since, "everything": everything, "workers": settings.workers}
        with runs.record(engine, "map", source, shown) as record:
            record.began = began
            result = RemapResult(record.run_id)
            record.counts = lambda: {"remapped": result.counts._asdict(), "problems": dict(result.problems)}
            job = worker.Job(settings, record.run_id, functions, mappings, accept_empty=accept_empty_fields)
            tenants = [source for source in wanted if source.tenant]
            todo = _Todo(engine, job, tenants, organization, since, everything, result)
            if within is None:
                tables = [store.table_of(source, feed) for source in tenants for feed in source.feeds]
                retry.in_transaction(engine, lambda conn: stored.count_anew(conn, tables))
            make_executor = partial(executors.Inline, within) if within else partial(executors.local, settings.workers)
            _spread(todo.pages(), job, result, make_executor, on_progress, pace)
            digests.fold(engine)
        result.status, result.seconds = record.status, record.seconds
        return result
    finally:
        engine.dispose()


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
        for source, feed in sorted(every, key=lambda pair: pair[1].deletions):
            with self.engine.connect() as conn:
                units = stored.units(conn, store.table_of(source, feed), feed, self.organization)
            for unit in units:
                ids = stored.stale(self.engine, unit, self._stale(source, feed, unit))
                while page_ids := tuple(itertools.islice(ids, _PAGE)):
                    yield Page(unit, page_ids, self.everything)

    def _stale(self, source: Source, feed: Feed, unit: stored.Unit) -> stored.Stale:
        if feed.deletions:
            return stored.Stale("deletions", since=self.since)
        mapper = worker.mappers_of(self.job.mappings, self.job.functions).of(source.name, unit.kind)
        if mapper is None:
            with self.engine.connect() as conn:
                self.result.add(unit, Mapped(left=stored.left(conn, unit)))
            return stored.Stale("no mapper", since=self.since)
        how = "all" if self.everything else "withheld" if self.job.accept_empty else "mapped"
        return stored.Stale(how, mapper.digest, self.since)


def _spread(
    pages: Iterator[Page],
    job: worker.Job,
    result: RemapResult,
    make_executor: Callable[[], Executor],
    on_progress: Callable[[RemapResult], None],
    pace: Callable[[], None],
) -> None:
    """Have worker processes do *pages*. What a worker that dies had under way is given out again: nothing of it was
    committed, or it is found done."""
    deaths = 0  # since the last page that got done

    def done(page: Page, answer: Answer) -> None:
        nonlocal deaths
        deaths = 0
        _count(result, page, answer)
        on_progress(result)

    def died(lost: list[Page]) -> list[Page]:
        nonlocal deaths
        deaths += 1
        result.worker_deaths += 1
        if deaths > _DEATHS:
            raise MedmirrorError("Worker processes died again and again; is there memory enough?", deaths=deaths)
        return lost

    pool.spread(
        pages,
        lambda executor, page: executor.submit(process, page, job),
        make_executor,
        job.settings.workers,
        done=done,
        died=died,
        pace=pace,
    )


def _count(result: RemapResult, page: Page, answer: Answer) -> None:
    result.add(page.unit, answer.counts)
    result.problems.update(answer.problems)
    result.retries += answer.retries
    result.worker_peaks[answer.pid] = answer.peak_rss
