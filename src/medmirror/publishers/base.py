"""What every publisher's mirror is made of: where its files lie, what is known of them, how they are loaded."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from medmirror.clock import SYSTEM, Clock
from medmirror.db import ledger, retry, sql
from medmirror.db.database import open_database
from medmirror.errors import LayoutChanged, SyncRunning
from medmirror.ingest import run
from medmirror.ingest.candidates import Candidate
from medmirror.publishers.download import Downloads
from medmirror.settings import Settings

_log = logging.getLogger(__name__)
_statement = partial(sql.statement, "publishers.sql")

BATCH_BYTES = 1 << 30  #: files are loaded, and deleted, when so much of them lies here
BATCH_FILES = 50
COUNTS = ("read", "inserted", "updated", "unchanged", "duplicate", "tombstoned", "rejected")


class Options(NamedTuple):
    """What was asked for. *since*: ``auto`` (what is new), ``all``, or where to begin, as the publisher counts; *url*:
    another address than the publisher's own; *only*: names of lists, for a publisher that has several."""

    since: str = "auto"
    url: str | None = None
    only: tuple[str, ...] = ()
    whole: bool = False  # read the whole list, to see what is no longer in it
    tombstones: bool = False  # what is no longer there becomes a tombstone
    keep: bool = False  # files stay after they were loaded
    dry_run: bool = False
    renew: bool = False  # with *since* all: rows are written again though their content is unchanged
    accepted: tuple[str, ...] = ()  # files that the publisher's list lacks, and that a person has looked for


class Known(NamedTuple):
    """What is known of a file that was mirrored; see sql/publishers.sql."""

    sign: str
    listed: str
    records: int
    rejected: int


class Here(NamedTuple):
    """A file that lies here, to be loaded and then remembered: its *name* at the publisher, its *sign* and what the
    publisher's list said of it."""

    path: Path
    name: str
    sign: str
    listed: str = ""


class Loaded(NamedTuple):
    """What became of a file: its records, those that could not be loaded, and whether every one of the others is surely
    what the mirror holds now (none lost to another copy)."""

    here: Here
    records: int
    rejected: int
    sure: bool


@dataclass(slots=True)
class Result:
    """What a mirror run did. *new* are the names of what was to be fetched, *vanished* counts what the publisher no
    longer has, by feed; *notes* are sentences for people."""

    publisher: str
    status: str = "done"  # done, nothing new, dry run
    new: list[str] = field(default_factory=list)
    files: int = 0  # loaded
    downloaded: int = 0  # bytes
    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicate: int = 0
    tombstoned: int = 0
    rejected: int = 0
    runs: list[int] = field(default_factory=list)
    vanished: dict[str, int] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all well, 3 some records could not be loaded."""
        return 3 if self.rejected else 0

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)


@dataclass(slots=True)
class Tool:
    """What a publisher's mirror works with. *reached* is told each step, for tests that stop a process there."""

    publisher: str
    engine: Engine
    settings: Settings
    options: Options
    downloads: Downloads
    clock: Clock
    result: Result
    reached: Callable[[str], None] = lambda step: None

    def known(self) -> dict[str, Known]:
        """The files that were mirrored, by name."""

        def ask(conn: Connection) -> dict[str, Known]:
            rows = conn.execute(_statement("mirrored"), {"publisher": self.publisher})
            return {row.name: Known(row.sign, row.listed, row.records, row.rejected) for row in rows}

        return retry.in_transaction(self.engine, ask)

    def marks(self) -> dict[str, str]:
        """How far each list was mirrored."""

        def ask(conn: Connection) -> dict[str, str]:
            rows = conn.execute(_statement("marks"), {"publisher": self.publisher})
            return {row.list: row.mark for row in rows}

        return retry.in_transaction(self.engine, ask)

    def mark(self, marks: Mapping[str, str], forget: Sequence[str] = ()) -> None:
        """Note how far lists were mirrored, and *forget* files that belong to what was before."""

        def work(conn: Connection) -> None:
            for name, mark in marks.items():
                conn.execute(_statement("mark"), {"publisher": self.publisher, "list": name, "mark": mark})
            if forget:
                conn.execute(_statement("forget"), {"publisher": self.publisher, "names": list(forget)})

        retry.in_transaction(self.engine, work)
        self.result.marks.update(marks)

    def load(self, files: Sequence[Here], *, remember: bool = True) -> list[Loaded]:
        """Load files that lie here, remember them (if asked), and delete them (unless they are to be kept).

        Raises LayoutChanged when one is not what it claims to be, after the others were remembered.
        """
        if not files:
            return []
        self.reached("fetched")
        candidates = [Candidate(file_here.path, file_here.path.parent) for file_here in files]
        loaded = run.execute(self.publisher, candidates, self.settings, renew=self.options.renew)
        self.reached("loaded")
        result = self.result
        for name in COUNTS:
            setattr(result, name, getattr(result, name) + getattr(loaded, name))
        result.runs.append(loaded.run_id)
        by_path = {file.path: file for file in loaded.files}
        numbers = [file.file_id for file in loaded.files if file.file_id]
        census = retry.in_transaction(self.engine, lambda conn: ledger.census(conn, numbers))
        counted: dict[int, tuple[int, int]] = {}
        for (number, _), (read, rejected) in census.items():
            before = counted.get(number, (0, 0))
            counted[number] = (before[0] + read, before[1] + rejected)
        good: list[Loaded] = []
        for file_here in files:
            file = by_path[str(file_here.path)]
            if file.status in ("done", "skipped"):
                records, rejected = counted.get(file.file_id, (0, 0))
                good.append(Loaded(file_here, records, rejected, file.status == "done" and not loaded.duplicate))
        result.files += len(good)
        if remember:
            self.remember(good, loaded.run_id)
        bad = [
            by_path[str(file_here.path)]
            for file_here in files
            if by_path[str(file_here.path)].status not in ("done", "skipped")
        ]
        if bad:
            name = next(file_here.name for file_here in files if str(file_here.path) == bad[0].path)
            raise LayoutChanged(f"A file of the publisher was not loaded: {bad[0].reason}", name=name)
        return good

    def remember(self, files: Sequence[Loaded], run_id: int | None) -> None:
        """Note that files were mirrored, in that run; delete them unless they are to be kept."""
        rows = [
            {
                "publisher": self.publisher,
                "name": file.here.name,
                "sign": file.here.sign,
                "listed": file.here.listed,
                "records": file.records,
                "rejected": file.rejected,
                "run_id": run_id,
            }
            for file in files
        ]
        if rows:
            retry.in_transaction(self.engine, lambda conn: conn.execute(_statement("remember"), rows))
        self.reached("remembered")
        if not self.options.keep:
            for file in files:
                self.downloads.remove(file.here.path)

    def note(self, text: str) -> None:
        """Say *text* to whoever asked."""
        _log.info("%s", text)
        self.result.notes.append(text)


@contextmanager
def tool(
    publisher: str,
    address: str,
    options: Options,
    *,
    settings: Settings,
    folder: Path | None = None,
    others: tuple[str, ...] = (),
    clock: Clock = SYSTEM,
    reached: Callable[[str], None] = lambda step: None,
    got: Callable[[int], None] = lambda count: None,
) -> Iterator[Tool]:
    """What a mirror of *publisher* works with: its database up to date, its folder held against a second one.

    Raises SyncRunning when another mirror runs in the folder.
    """
    place = folder or settings.home / "mirror" / publisher
    place.mkdir(parents=True, exist_ok=True)
    result = Result(publisher)

    def count(size: int) -> None:
        result.downloaded += size
        got(size)

    with _held(place):
        engine, settings = open_database(settings)
        try:
            with Downloads(place, options.url or address, others=others, clock=clock, got=count) as downloads:
                yield Tool(publisher, engine, settings, options, downloads, clock, result, reached)
        finally:
            engine.dispose()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Nobody else fetches into *folder* meanwhile. The lock ends with the process, however that ends."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SyncRunning(
                "Another mirror fetches into this folder; wait until it has ended.", folder=str(folder)
            ) from None
        yield
    finally:
        os.close(handle)


def batches(files: Iterator[Here]) -> Iterator[list[Here]]:
    """*files* in lists that are worth loading together, and small enough to lie here."""
    waiting: list[Here] = []
    size = 0
    for file in files:
        waiting.append(file)
        size += file.path.stat().st_size
        if size >= BATCH_BYTES or len(waiting) >= BATCH_FILES:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting
