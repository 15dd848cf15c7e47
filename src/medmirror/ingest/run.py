"""What batch scripts call: ``medmirror.load(...)``. The command line prints the same results."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine

from medmirror import search, sources
from medmirror.db import digests, ledger, retry, runs
from medmirror.db.database import open_database
from medmirror.errors import MedmirrorError, UsageError
from medmirror.ingest import burial, candidates, columns, executors, withheld, worker
from medmirror.ingest.candidates import Candidate
from medmirror.ingest.inputs import FileState, Inputs
from medmirror.ingest.pipeline import Pipeline, Totals
from medmirror.model import Certificate
from medmirror.readers import folders
from medmirror.settings import MappingSettings, Settings, read
from medmirror.sources.base import Source

_REFUSED_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class FileResult:
    """One file of a load: status `done`, `skipped` (its bytes were loaded before), `refused` (with error and reason),
    `ignored` (with the reason: a document in a folder, a link, no regular file) or `open` (interrupted)."""

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
    problems: dict[str, int] = field(default_factory=dict)  # "csv.patient: birth_date unreadable" -> records
    over_limit: list[str] = field(default_factory=list)  # those of them that too many records have
    withheld_fields: dict[str, int] = field(default_factory=dict)  # "csv.patient: phones" -> records that keep it
    mapped: dict[str, int] = field(default_factory=dict)  # "csv.patient" -> records that were written and mapped

    @property
    def exit_code(self) -> int:
        """0 all well, 3 loaded with rejects, refused files, too many problems or withheld fields, 1 when every file was
        refused."""
        states = {file.status for file in self.files} - {"ignored"}
        if states == {"refused"} and not self.read:
            return 1
        return 3 if self.rejected or "refused" in states or self.over_limit or self.withheld_fields else 0

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        certificates = {
            name: [certificate._asdict() for certificate in of_source] for name, of_source in self.certificates.items()
        }
        return {**asdict(self), "certificates": certificates}


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
    renew: bool = False,
    filter: Callable[[str, dict[str, Any]], bool] | None = None,
    transform: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
    executor: str = "local",
    index: bool = False,
    accept_empty_fields: bool = False,
    on_progress: Callable[[Totals, list[FileState]], None] = lambda totals, files: None,
    settings: Settings | None = None,
) -> LoadResult:
    """Load files or folders into Postgres; return what the database reported. Running it again changes nothing.

    It works from a script, a notebook or standard input: the worker processes never run the caller's main program.

    Parameters
    ----------
    source : str or None
        Name of the source, for example ``"pubmed"``. None: each file's content tells it.
    paths : path or iterable of paths
        Files, archives and folders, in any order. A practice's database (source ``"sql"``) has none.
    organization : str, optional
        Whose records these are. Practice systems' sources need it, public ones refuse it.
    mapping : path or iterable of paths, optional
        Mapping files (TOML): how a CSV file or a database is read and what its columns mean, or what overrides a
        source's built-in mapping.
    map_with : dict, optional
        Functions for the same, by (source, feed): (document, canonical record) -> canonical record.
    url : str, optional
        SQLAlchemy URL of the practice's database that source ``"sql"`` reads.
    dsn : str, optional
        The Postgres to load into. Default: ``MEDMIRROR_DSN``, else the embedded Postgres, which is started.
    workers : int, optional
        Worker processes. Default: ``MEDMIRROR_WORKERS``, else half of the processors.
    force : bool
        Load files again whose bytes are loaded already.
    renew : bool
        The same, and write each row again as this version reads the record, though its content is unchanged.
    filter : callable, optional
        (feed, record) -> whether to keep the record, a dict of its columns. Runs in the workers; may be a lambda.
    transform : callable, optional
        (feed, record) -> the record to store. Runs in the workers; may be a closure.
    executor : str
        ``"local"``, or ``"dask://host:port"`` for a cluster whose machines reach the database by the same DSN.
    index : bool
        Bring the search vectors of what changed up to date afterwards.
    accept_empty_fields : bool
        Fields that all records had and none of the new copies has are empty, and not withheld.
    on_progress : callable, optional
        Called in this process after each committed chunk, with the totals so far and the state of each file.
    settings : Settings, optional
        All settings at once, instead of the environment, *dsn* and *workers*.

    Returns
    -------
    LoadResult
        Counts as the database reported them after each commit, each file's status, certificates of completeness.

    Raises
    ------
    UsageError
        An argument or a setting is wrong; nothing was written.
    StoreError
        The database failed. What was committed stays; the same call goes on from there.
    KeyboardInterrupt
        After the chunks under way are committed.
    """
    return execute(
        source,
        paths,
        settings or Settings.from_environment(dsn=dsn, workers=workers),
        organization=organization,
        mappings=read_mappings(mapping),
        map_with=map_with,
        url=url,
        force=force,
        renew=renew,
        filter=filter,
        transform=transform,
        executor=executor,
        index=index,
        accept_empty_fields=accept_empty_fields,
        on_progress=on_progress,
    )


def execute(
    source: str | None,
    paths: Iterable[str | os.PathLike[str] | Candidate] | str | os.PathLike[str],
    settings: Settings,
    *,
    organization: str | None = None,
    mappings: tuple[str, ...] = (),
    map_with: Mapping[tuple[str, str], Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] | None = None,
    url: str | None = None,
    force: bool = False,
    renew: bool = False,
    filter: Callable[[str, dict[str, Any]], bool] | None = None,
    transform: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
    executor: str = "local",
    index: bool = False,
    accept_empty_fields: bool = False,
    on_progress: Callable[[Totals, list[FileState]], None] = lambda totals, files: None,
    pace: Callable[[], None] = lambda: None,
    within: worker.EngineOf | None = None,
) -> LoadResult:
    """Do what ``load`` says, as a part of something larger.

    *mappings* are the texts of mapping files. *pace* is called before each chunk is handed out and may sleep. *within*
    gives engines whose transactions belong to a larger one (``db.rehearsal``): then all of it happens in this process.
    """
    listed = [paths] if isinstance(paths, str | os.PathLike) else paths
    given = [path if isinstance(path, Candidate) else Path(path) for path in listed]
    named = sources.get(source) if source else None
    facts = _facts(named, organization, mappings, url)
    limit = read(MappingSettings).problem_limit
    began = time.perf_counter()
    cpu = time.process_time()
    todo = list(candidates.find(given, candidates.named(named, facts)))
    executors.check(executor)
    engine, settings = (within(settings, None), settings) if within else open_database(settings)
    try:
        if organization is not None and mappings:
            facts["columns"] = columns.stored(engine, source, organization, mappings)
        names = [str(path) if isinstance(path, Candidate) else folders.shown(path) for path in given[:100]]
        shown = {"workers": settings.workers, "chunk_bytes": settings.chunk_bytes, "paths": names}
        with runs.record(engine, "load", source, shown) as run:
            run.began = began
            own_functions = (filter, transform, dict(map_with or {}))
            functions = worker.pack(own_functions) if any(own_functions) else b""
            inputs = Inputs(engine, settings, run.run_id, named, force=force or renew, given=facts)
            pipeline = Pipeline(
                inputs,
                worker.Job(settings, run.run_id, functions, mappings, renew=renew, accept_empty=accept_empty_fields),
                lambda: executors.Inline(within) if within else executors.named(executor, settings.workers),
                settings.workers,
                on_progress=lambda totals: on_progress(totals, inputs.files),
                pace=pace,
            )
            certificates: dict[str, list[Certificate]] = {}

            def result() -> LoadResult:
                pipeline.totals.stages["parent"] = time.process_time() - cpu
                return replace(_result(run, pipeline.totals, inputs.files, settings, limit), certificates=certificates)

            run.counts = lambda: _kept(result())
            pipeline.run(inputs.chunks(todo))
            certificates = _certificates(engine, inputs)
            for name in sorted({state.source for state in inputs.files if state.source}):
                burial.retire(engine, sources.get(name))
            digests.fold(engine)
            if index:
                search.refresh(
                    engine, sorted({state.source for state in inputs.files if state.source}), run_id=run.run_id
                )
            refused = any(state.status == "refused" for state in inputs.files)
            remarks = pipeline.totals.remarks
            if organization is not None:
                remarks.withheld.update(withheld.open_of(engine, organization, source))
            run.status = "rejects" if pipeline.totals.counts.rejected or refused or remarks.withheld else "done"
        return result()
    finally:
        engine.dispose()


def read_mappings(files: Iterable[str | os.PathLike[str]] | str | os.PathLike[str]) -> tuple[str, ...]:
    """The texts of the user's mapping *files*. Raises UsageError."""
    texts = []
    for path in map(Path, [files] if isinstance(files, str | os.PathLike) else files):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"The mapping file {path} cannot be read: {type(error).__name__}.") from None
    return tuple(texts)


def _facts(source: Source | None, organization: str | None, texts: tuple[str, ...], url: str | None) -> dict[str, str]:
    """What the user said of the files, for their source."""
    if source and source.tenant and not organization:
        raise UsageError(f"Say whose records these are: medmirror load {source.name} --org ORGANIZATION ...")
    if organization is not None and not (source is None or source.tenant):
        raise UsageError(f"{source.name} is public: its records belong to no organisation; leave --org out.")
    if organization is not None and (not organization.strip() or organization == "*" or "\0" in organization):
        raise UsageError("An organisation's name must be a plain text, for example org_123.")
    facts = {"organization": organization, "mapping": orjson.dumps(texts).decode() if texts else None, "url": url}
    return {name: value for name, value in facts.items() if value is not None}


def _certificates(engine: Engine, inputs: Inputs) -> dict[str, list[Certificate]]:
    """Whether all was there, for each source of the run that can tell."""
    numbers = [state.file_id for state in inputs.files if state.file_id]
    if not any(sources.get(name).certify for name in {state.source for state in inputs.files if state.source}):
        return {}
    census = retry.in_transaction(engine, lambda conn: ledger.census(conn, numbers))
    certificates = {}
    for name, witnesses in inputs.witnesses(census).items():
        if name and (certify := sources.get(name).certify):
            certificates[name] = inputs.qualified(certify(witnesses))
    return certificates


def _reason(error: MedmirrorError) -> str:
    facts = [f"{name}={value}" for name, value in error.context.items() if name != "file"]
    return f"{error.message} ({', '.join(facts)})" if facts else error.message


def _kept(result: LoadResult) -> dict[str, Any]:
    """What the run's row keeps of *result*."""
    counts = {name: value for name, value in result.as_dict().items() if name != "files"}
    # A file that is refused before anything else is known of it has no row of its own.
    counts["refused"] = [asdict(file) for file in result.files if file.status == "refused"][:_REFUSED_KEPT]
    return counts


def _result(run: runs.Run, totals: Totals, states: Sequence[FileState], settings: Settings, limit: float) -> LoadResult:
    counts = totals.counts._asdict()
    del counts["created"]
    peak = worker.peak_rss() + sum(sorted(totals.worker_peaks.values())[-settings.workers :])
    return LoadResult(
        run_id=run.run_id,
        status=run.status,
        **counts,
        bytes=totals.bytes,
        seconds=run.seconds,
        records_per_second=round(counts["read"] / run.seconds, 1) if run.seconds else 0.0,
        cpu_seconds={name: round(value, 3) for name, value in totals.stages.items()},
        peak_rss_mb=round(peak / (1 << 20), 1),
        workers=settings.workers,
        deadlocks=totals.deadlocks,
        lock_waits=totals.lock_waits,
        retries=totals.retries,
        worker_deaths=totals.worker_deaths,
        files=[
            FileResult(
                state.name,
                state.status,
                state.source,
                type(state.error).__name__ if state.error else None,
                _reason(state.error) if state.error else state.ignored or None,
                state.file_id,
            )
            for state in states
        ],
        problems=totals.remarks.named("problems"),
        over_limit=totals.remarks.over(limit),
        withheld_fields=totals.remarks.named("withheld"),
        mapped=dict(totals.remarks.mapped),
    )
