"""What batch scripts call: ``medmirror.load(...)``. The command line prints the same results."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine

from medmirror import search, sources
from medmirror.db import connect, embedded, ledger, migrate, retry
from medmirror.db import digests as setdigest
from medmirror.errors import MedmirrorError, UsageError
from medmirror.ingest import executors, worker
from medmirror.ingest.inputs import FileState, Inputs, find
from medmirror.ingest.pipeline import Pipeline, Totals
from medmirror.model import Certificate
from medmirror.settings import Settings
from medmirror.sources.base import Source

_log = logging.getLogger(__name__)

_REFUSED_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class FileResult:
    """One file of a load: status `done`, `skipped` (its bytes were loaded before), `refused` (with error and reason),
    `ignored` (a document in a folder) or `open` (interrupted)."""

    path: str
    status: str
    source: str
    error: str | None = None
    reason: str | None = None
    file_id: int = 0  # its number in the ledger; 0: it has none


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a load did. Counts are those that the database reported after each commit; ``read`` is the sum of inserted,
    updated, unchanged, duplicate, tombstoned, rejected and filtered. Bytes are decoded bytes; seconds are wall time."""

    run_id: int
    status: str  # done, rejects
    read: int
    inserted: int
    updated: int
    unchanged: int
    duplicate: int
    tombstoned: int
    rejected: int
    filtered: int
    bytes: int
    seconds: float
    records_per_second: float
    cpu_seconds: dict[str, float]
    peak_rss_mb: float
    workers: int
    deadlocks: int
    lock_waits: int
    retries: int
    worker_deaths: int
    files: list[FileResult] = field(default_factory=list)
    certificates: dict[str, list[Certificate]] = field(default_factory=dict)  # by source: was all of it there?

    @property
    def exit_code(self) -> int:
        """0 all well, 3 loaded with rejects or refused files, 1 when every file was refused."""
        states = {file.status for file in self.files} - {"ignored"}
        if states == {"refused"} and not self.read:
            return 1
        return 3 if self.rejected or "refused" in states else 0

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        certificates = {name: [one._asdict() for one in some] for name, some in self.certificates.items()}
        return {**asdict(self), "certificates": certificates}


def open_database(settings: Settings, *, for_loading: bool = False) -> tuple[Engine, Settings]:
    """An engine on the settings' database (the embedded one when no DSN is set), its tables up to date; and the
    settings with that DSN in them. Raises StoreError."""
    if settings.dsn is None:
        settings = replace(settings, dsn=embedded.start(settings))
    engine = connect.engine_of(settings)
    try:
        connect.check(engine)
        migrate.migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine, settings


def load(
    source: str | None,
    paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    *,
    organization: str | None = None,
    mapping: Iterable[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    map_with: Mapping[tuple[str, str], Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] | None = None,
    url: str | None = None,
    dsn: str | None = None,
    workers: int | None = None,
    force: bool = False,
    filter: Callable[[str, dict[str, Any]], bool] | None = None,
    transform: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
    executor: str = "local",
    index: bool = False,
    on_progress: Callable[[Totals, list[FileState]], None] = lambda totals, files: None,
    on_bytes: Callable[[int], None] = lambda count: None,
    pace: Callable[[], None] = lambda: None,
    settings: Settings | None = None,
    within: worker.EngineOf | None = None,
) -> LoadResult:
    """Load files or folders of *source* (None: told from each file's content) into Postgres; return what was done.

    Without *dsn* (or MEDMIRROR_DSN) it goes to the embedded Postgres. Files whose bytes are loaded already are skipped,
    unless *force*. A practice system's records belong to an *organization*; *mapping* names files that say how a CSV
    or a database is read and what its columns mean, or override what a source's fields mean; *map_with* has functions
    for the same: (source, feed) -> (document, canonical record -> canonical record). *url* is the database that source
    `sql` reads. *pace* is called before each chunk is handed out and may sleep. *filter* (feed, record) -> keep? and
    *transform* (feed, record) -> record may be lambdas or closures; they see a record as a dict of its columns and run
    in the workers. *index* brings the search vectors of what changed up to date afterwards. Running it again changes
    nothing. *within* gives engines whose transactions belong to a larger one (``db.rehearsal``): then all of it happens
    in this process.

    Works from a script, a notebook or standard input; its worker processes never run the caller's main program.
    Raises UsageError for wrong arguments, StoreError when the database fails (what was committed stays; run it again),
    and lets KeyboardInterrupt through after the chunks under way are committed.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    named = sources.get(source) if source else None
    texts = read_mappings([mapping] if isinstance(mapping, str | os.PathLike) else mapping)
    said = _said(named, organization, texts, url)
    settings = settings or Settings.from_environment(dsn=dsn, workers=workers)
    began = time.perf_counter()
    cpu = time.process_time()
    todo = list(find([Path(path) for path in given]))
    executors.check(executor)
    engine, settings = (within(settings, None), settings) if within else open_database(settings)
    try:
        shown = {"workers": settings.workers, "chunk_bytes": settings.chunk_bytes, "paths": list(map(str, given[:100]))}
        run_id = begin(engine, "load", source, shown)
        own_functions = (filter, transform, dict(map_with or {}))
        functions = worker.pack(own_functions) if any(own_functions) else b""
        own = frozenset(Path(path) for path in given)
        inputs = Inputs(engine, settings, run_id, named, force=force, given=said, named=own, on_bytes=on_bytes)
        pipeline = Pipeline(
            inputs,
            worker.Job(settings, run_id, functions, texts),
            lambda: executors.Inline(within) if within else executors.named(executor, settings.workers),
            settings.workers,
            on_progress=lambda totals: on_progress(totals, inputs.files),
            pace=pace,
        )
        certificates: dict[str, list[Certificate]] = {}
        status, error = "failed", None
        try:
            pipeline.run(inputs.chunks(todo))
            certificates = _certificates(engine, inputs)
            setdigest.fold(engine)
            if index:
                search.refresh(engine, sorted({state.source for state in inputs.files if state.source}), run_id=run_id)
            refused = any(state.status == "refused" for state in inputs.files)
            status = "rejects" if pipeline.totals.counts.rejected or refused else "done"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except MedmirrorError as problem:
            error = f"{type(problem).__name__}: {problem.message}"
            raise
        except Exception as problem:
            error = type(problem).__name__
            raise
        finally:
            pipeline.totals.stages["parent"] = time.process_time() - cpu
            result = _result(run_id, status, pipeline.totals, inputs.files, settings, time.perf_counter() - began)
            result = replace(result, certificates=certificates)
            _end(engine, result, status, error)
        return result
    finally:
        engine.dispose()


def read_mappings(files: Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    """What stands in the user's mapping *files*. Raises UsageError."""
    texts = []
    for path in map(Path, files):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"The mapping file {path} cannot be read: {type(error).__name__}.") from None
    return tuple(texts)


def _said(source: Source | None, organization: str | None, texts: tuple[str, ...], url: str | None) -> dict[str, str]:
    """What the user said of the files, for their source."""
    if source and source.tenant and not organization:
        raise UsageError(f"Say whose records these are: medmirror load {source.name} --org ORGANIZATION ...")
    if organization is not None and not (source is None or source.tenant):
        raise UsageError(f"{source.name} is public: its records belong to no organisation; leave --org out.")
    if organization is not None and (not organization.strip() or organization == "*" or "\0" in organization):
        raise UsageError("An organisation's name must be a plain text, for example org_123.")
    said = {"organization": organization, "mapping": orjson.dumps(texts).decode() if texts else None, "url": url}
    return {name: value for name, value in said.items() if value is not None}


def _certificates(engine: Engine, inputs: Inputs) -> dict[str, list[Certificate]]:
    """Whether all was there, for each source of the run that can tell."""
    numbers = [state.file_id for state in inputs.files if state.file_id]
    if not any(sources.get(name).certify for name in {state.source for state in inputs.files if state.source}):
        return {}
    census = retry.in_transaction(engine, lambda conn: ledger.census(conn, numbers))
    made = {}
    for name, some in inputs.witnesses(census).items():
        if name and (certify := sources.get(name).certify):
            made[name] = certify(some)
    return made


def _reason(error: MedmirrorError) -> str:
    facts = [f"{name}={value}" for name, value in error.context.items() if name != "file"]
    return f"{error.message} ({', '.join(facts)})" if facts else error.message


def begin(engine: Engine, command: str, source: str | None, shown: Mapping[str, Any]) -> int:
    """Open a run in the ledger (``ledger.open_run``); return its number."""
    return retry.in_transaction(engine, lambda conn: ledger.open_run(conn, command, source, shown))


def _end(engine: Engine, result: LoadResult, status: str, error: str | None) -> None:
    """Close the run. When even that cannot be written, the row stays `running` and the next run marks it
    interrupted."""
    counts = {name: value for name, value in result.as_dict().items() if name != "files"}
    # A file that is refused before anything else is known of it has no row of its own.
    counts["refused"] = [asdict(file) for file in result.files if file.status == "refused"][:_REFUSED_KEPT]

    def end(conn: Any) -> None:
        ledger.end_run(conn, result.run_id, status=status, counts=counts, seconds=result.seconds, error=error)

    try:
        retry.in_transaction(engine, end)
    except MedmirrorError as problem:
        _log.error("the end of run %d could not be written: %s", result.run_id, problem)


def _result(
    run_id: int, status: str, totals: Totals, states: Sequence[FileState], settings: Settings, seconds: float
) -> LoadResult:
    counts = totals.counts._asdict()
    del counts["created"]
    peak = worker.peak_rss() + sum(sorted(totals.worker_peaks.values())[-settings.workers :])
    return LoadResult(
        run_id=run_id,
        status=status,
        **counts,
        bytes=totals.bytes,
        seconds=round(seconds, 3),
        records_per_second=round(counts["read"] / seconds, 1) if seconds else 0.0,
        cpu_seconds={name: round(value, 3) for name, value in totals.stages.items()},
        peak_rss_mb=round(peak / (1 << 20), 1),
        workers=settings.workers,
        deadlocks=totals.deadlocks,
        lock_waits=totals.lock_waits,
        retries=totals.retries,
        worker_deaths=totals.worker_deaths,
        files=[
            FileResult(
                str(state.path),
                state.status,
                state.source,
                type(state.error).__name__ if state.error else None,
                _reason(state.error) if state.error else None,
                state.file_id,
            )
            for state in states
        ],
    )
