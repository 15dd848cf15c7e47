"""A night that is undone: everything in one transaction, what it changed is told, and it is rolled back.

The plan's digest is of what it began with: the configuration, the inputs' bytes and the tables. ``apply`` does the
night only while all three are as they were.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import orjson
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Engine, text

from medmirror.clock import due
from medmirror.db import connect, digests, rehearsal, retry
from medmirror.errors import MedmirrorError, UnreadableFile, UsageError
from medmirror.ingest.candidates import Candidate
from medmirror.nightly import book, changes, night
from medmirror.nightly import inputs as loadinputs
from medmirror.nightly.config import Config
from medmirror.nightly.graph import Part, parts
from medmirror.nightly.work import Work
from medmirror.readers.files import digest as digest_of
from medmirror.settings import Settings

Basis = dict[str, Any]


def make(config: Config, settings: Settings, *, only: Sequence[str] = (), show_values: bool = False) -> dict[str, Any]:
    """Do the night and undo it; return what it would change: ``digest``, ``tables`` (inserts, updates, deletes,
    conflicts and a sample of each), ``notes`` and ``parts``. It is kept in medmirror.nightly_plan, without the sample.

    Holds the locks of every row that it changes until it is done, and uses one process. Raises NightlyRunning,
    LockRaceLost when other loads write the same rows meanwhile, StoreError.
    """
    todo = parts(config, only)
    engine, settings = night.opened(config, settings)
    try:
        with book.held(settings.dsn_text, engine), _two_connections(settings) as (before, after):
            number = changes.first(after)
            _look_from_where_it_began(before, after)
            basis = _basis(config, todo, only, before)
            answers = _rehearse(config, settings, todo, after)
            difference = changes.Difference(before, after, number, show_values)
            names = list(dict.fromkeys(str(part.source) for part in todo if part.kind == "load"))
            tables = {watched.name: difference.of(watched) for watched in changes.watched(names, _entities(after))}
            after.rollback()
        digest = _digest(basis)
        _keep(engine, config, digest, basis, tables)
        notes = [f"{name} {answer['status']}: {answer['error']}" for name, answer in answers.items() if answer["error"]]
        notes += [f"{part.name} reads a live database: what it says is not part of the digest" for part in todo
                  if part.load and part.load.url_env]  # fmt: skip
        return {"digest": digest, "file": str(config.path), "tables": tables, "parts": answers, "notes": notes}
    finally:
        engine.dispose()


def apply(config: Config, settings: Settings, digest: str) -> dict[str, Any]:
    """Do the night that the plan *digest* was made of; return its receipt.

    Raises UsageError, before anything is done, when there is no such plan, or when inputs, configuration or tables are
    not what they were.
    """
    engine, settings = night.opened(config, settings)
    try:
        with engine.connect() as conn:
            kept = conn.execute(book.statement("plan"), {"digest": digest}).one_or_none()
    finally:
        engine.dispose()
    if kept is None:
        raise UsageError(f"There is no plan {digest[:16]}...; make one: medmirror nightly --plan {config.path.name}")
    only = kept.basis["only"]

    def check(engine: Engine) -> None:
        with engine.connect() as conn:
            basis = _basis(config, parts(config, only), only, conn)
        if moved := sorted(name for name in basis if basis[name] != kept.basis.get(name)):
            what = ", ".join(moved)
            raise UsageError(f"The world has moved since this plan was made ({what}); look at a new one.", moved=what)

    document = night.run(config, settings, only=only, plan=digest, check=check)
    assert document is not None
    return document


@contextmanager
def _two_connections(settings: Settings) -> Iterator[tuple[Connection, Connection]]:
    """One connection to look from, and one to work on; both in a transaction with a snapshot, both rolled back."""
    engine = connect.engine_of(settings, pool_size=2, session={"default_transaction_isolation": "repeatable read"})
    try:
        with engine.connect() as before, engine.connect() as after:
            before.begin()
            after.begin()
            yield before, after
    finally:
        engine.dispose()


def _look_from_where_it_began(before: Connection, after: Connection) -> None:
    """Give *before* the very snapshot that *after* began with."""
    name = str(after.execute(text("SELECT pg_export_snapshot()")).scalar_one())
    connect.raw(before).execute(SQL("SET TRANSACTION SNAPSHOT {}").format(Literal(name)))


def _rehearse(config: Config, settings: Settings, todo: Sequence[Part], after: Connection) -> dict[str, Any]:
    """Do the parts on *after*, one after the other; return how each ended."""

    def engine_of(settings: Settings, organization: str | None) -> Engine:
        return rehearsal.engine(after, organization)

    @contextmanager
    def own() -> Iterator[Engine]:
        yield rehearsal.engine(after)

    nominal = due(None, night.clock(), config.at, config.zone).nominal
    with book.record(rehearsal.engine(after), config, nominal, {"plan": True}, None) as run:
        work = Work(config, settings, run.run_id, nominal, own, lambda: None, engine_of)
        return _answers(work, todo)


def _answers(work: Work, todo: Sequence[Part]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for part in todo:
        blocked = [name for name in part.after if answers[name]["status"] in ("failed", "skipped")]
        if blocked:
            answers[part.name] = {"status": "skipped", "error": f"it waits for {', '.join(blocked)}"}
            continue
        try:
            answers[part.name] = {"error": None, **work(part, 1)}
        except MedmirrorError as problem:
            answers[part.name] = {"status": "failed", "error": f"{type(problem).__name__}: {problem}"}
    return answers


def _entities(conn: Connection) -> list[str]:
    """The canonical entities that there are tables of."""
    names = [name for name in digests.table_digests(conn) if name.startswith("canonical.")]
    return [name.partition(".")[2] for name in names]


def _basis(config: Config, todo: Sequence[Part], only: Sequence[str], conn: Connection) -> Basis:
    """What a plan stands on."""
    inputs = []
    for part in todo:
        if part.load is not None:
            with suppress(MedmirrorError):  # a folder that cannot be searched: the part fails, and the plan says so
                files = loadinputs.files(loadinputs.of(part.load, config.folder, part.organization))
                inputs += [[part.name, str(file), file.ignored or _file_digest(file)] for file in files]
    tables = {name: digest.text for name, digest in digests.table_digests(conn).items()}
    return {"configuration": config.digest, "only": list(only), "inputs": sorted(inputs), "tables": tables}


def _file_digest(candidate: Candidate) -> str | None:
    try:
        return digest_of(candidate.path, beneath=candidate.beneath).sha256.hex()
    except UnreadableFile:
        return None


def _digest(basis: Basis) -> str:
    return hashlib.sha256(orjson.dumps(basis, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _keep(engine: Engine, config: Config, digest: str, basis: Basis, tables: dict[str, Any]) -> None:
    """Write the plan down, without its sample."""
    counts = {
        name: {key: value for key, value in counts_of_table.items() if key != "sample"}
        for name, counts_of_table in tables.items()
    }
    values = {"digest": digest, "name": config.name, "basis": json.dumps(basis), "changes": json.dumps(counts)}
    retry.in_transaction(engine, lambda conn: conn.execute(book.statement("keep plan"), values))
