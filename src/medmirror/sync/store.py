"""Pages into tables: read by the source of their kind, in one transaction with the watermark that says they are read.

So the watermark can never be ahead of the data, and a page that is read twice changes nothing. A record that cannot be
stored becomes a reject; its neighbours are stored, and the watermark moves on.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Engine

from medmirror import sources
from medmirror.db import ledger, rehearsal, sql
from medmirror.errors import MedmirrorError, SourceError, SyncError, UsageError
from medmirror.ingest import inputs, order, run, worker
from medmirror.ingest.candidates import Candidate
from medmirror.ingest.chunk import process
from medmirror.model import Chunk, Counts, Part, Remarks
from medmirror.readers import files
from medmirror.readers.files import Stream
from medmirror.remotes.base import Page
from medmirror.settings import Settings
from medmirror.sources.base import Context, Source
from medmirror.sync import frames, organizations, watermark
from medmirror.sync.lists import Name
from medmirror.sync.marks import Mark
from medmirror.sync.organizations import Organization

_statement = partial(sql.statement, "sync.sql")
_ITEMS = 1 << 16  # places for the items of a page; no remote gives so many


class Poison(NamedTuple):
    """A record that could not be stored: its reject, its feed, and the error and its reason, without a value of the
    record.
    """

    reject_id: int
    feed: str | None
    error: str
    reason: str


Marks = Mapping[Name, Mark]
Learn = Callable[[Connection, Marks], Marks]


class Stored(NamedTuple):
    """The counts that the database reported, the marks as they were written, and the runs that loaded files."""

    counts: Counts
    marks: Marks
    loads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Store:
    """The place where a sync's pages are stored.

    *poisoned* is called for each record that could not be stored, in its transaction; *stored* before each commit, and
    *committed* after it.
    """

    engine: Engine  # the owner's
    settings: Settings
    organization: Organization
    run_id: int
    poisoned: Callable[[Connection, Poison], None] = lambda conn, poison: None
    stored: Callable[[], None] = lambda: None
    committed: Callable[[], None] = lambda: None
    file_ids: set[int] = field(default_factory=set)  # files of the ledger, so far
    _pages: Iterator[int] = field(default_factory=itertools.count)  # numbers them in the order in which they come
    remarks: Remarks = field(default_factory=Remarks.nothing)  # what mapping said of what was committed
    accept_empty: bool = False  # see ``ingest.withheld``

    def put(self, pages: Sequence[Page], marks: Marks, learn: Learn = lambda conn, marks: marks) -> Stored:
        """Store *pages* and write *marks*, which *learn* may change within the transaction; return the counts and the
        marks.

        All of it, or nothing. A page that is a file is loaded first, in transactions of its own, and the ledger knows
        which of its parts are done. Raises SyncError when a page is not what its remote says, and SyncPaused or
        SettingsChanged.
        """
        counts, remarks = Counts(), Remarks.nothing()
        loaded: list[int] = []  # files of the ledger
        loads: list[int] = []
        for page in pages:
            if isinstance(page.body, Path):
                run_id, file_counts, file_ids = self._load(page, page.body)
                counts, loaded = counts.plus(file_counts), [*loaded, *file_ids]
                loads.append(run_id)
        inline = [page for page in pages if isinstance(page.body, bytes) and page.records]
        source = sources.get(self.organization.source)
        for page in pages:
            if isinstance(page.body, bytes) and not page.records:
                frames.frame(source, page, {}, ())
        with self.engine.connect() as conn, conn.begin():
            if inline:
                counts = counts.plus(self._process(conn, inline, remarks))
            if loaded:
                self._poison(conn, "rejects without letter", loaded)
            organizations.check(self.organization, organizations.of(conn, self.organization))
            written = learn(conn, marks)
            watermark.move(conn, self.organization, written, self.run_id)
            self.stored()
        self.remarks.add(remarks)
        self.committed()
        return Stored(counts, written, tuple(loads))

    def earliest(self, conn: Connection, feed: str, since: int, before: int) -> int | None:
        """Return the earliest time of change in [*since*, *before*) among the records of *feed* that this run has
        written.

        None when there are none. A record that was stored before in the same version does not count.
        """
        values = {"feed": feed, "run_id": self.run_id, "since": since, "before": before}
        earliest = conn.execute(_statement("earliest"), {**self.organization.key, **values}).scalar()
        return None if earliest is None else int(earliest)

    def _process(self, conn: Connection, pages: Sequence[Page], remarks: Remarks) -> Counts:
        source = sources.get(self.organization.source)
        contexts = [(page, self._context(source, page)) for page in pages]
        facts = [_facts(page, context) for page, context in contexts]
        organization = self.organization.organization_id
        file_ids = ledger.register_files(conn, source.name, self.run_id, facts, organization)
        parts: list[Part] = []
        registered: dict[int, ledger.FileFacts] = {}
        around: dict[int, list[frames.Span]] = {}
        for (page, context), fact in zip(contexts, facts, strict=True):
            file_id = file_ids[fact.digest, fact.order]
            if file_id not in registered:  # the same bytes twice are one file
                registered[file_id] = fact
                of_page = self._parts(source, page, context, file_id)
                around[file_id] = frames.frame(source, page, context, of_page)
                parts += of_page
        engine = rehearsal.engine(conn, organization)
        job = worker.Job(
            self.settings, self.run_id, mappings=self.organization.mappings, accept_empty=self.accept_empty
        )
        outcome = process(Chunk(source.name, tuple(parts)), job, engine_of=lambda settings, organization_id: engine)
        remarks.add(outcome.remarks)
        read = sum(count.read for count in outcome.counts)
        if len(registered) == len(pages) and read < sum(page.records for page in pages):
            raise SyncError("A page holds fewer records than its remote says; nothing of it was stored.", read=read)
        ends = [ledger.FileEnd(file_id, "done", fact.size or 0, 1) for file_id, fact in registered.items()]
        ledger.finish_files(conn, self.run_id, ends)
        _frame(conn, around)
        self.file_ids.update(registered)
        if any(count.rejected for count in outcome.counts):
            self._poison(conn, "rejects of files", list(registered))
        return sum_of(outcome.counts)

    def _context(self, source: Source, page: Page) -> Context:
        """Return the facts that the source needs of *page*. Raises SyncError when it is not a page of that source."""
        assert isinstance(page.body, bytes)
        body = page.body
        context = page.context
        if context is None:
            stream = Stream(page.name, "", lambda: io.BytesIO(body), raw=body)
            options = {"organization": self.organization.organization_id, "path": page.name}
            if self.organization.mappings:
                options["mapping"] = orjson.dumps(self.organization.mappings).decode()
            try:
                context = source.context(page.name, files.head(stream), stream.open, options)
            except (SourceError, UsageError) as error:
                raise _unreadable(source, page, error) from None
        return {**context, "organization": self.organization.organization_id}

    def _parts(self, source: Source, page: Page, context: Context, file_id: int) -> list[Part]:
        assert isinstance(page.body, bytes)
        # A page is one part: the limit of a chunk is for files that do not fit into memory.
        block_bytes = max(self.settings.chunk_bytes, len(page.body))
        blocks = source.split(io.BytesIO(page.body), context, block_bytes, self.settings.max_record_bytes)
        first = order.place(self.run_id, next(self._pages) * _ITEMS)
        try:
            return list(inputs.parts_of(blocks, Part(file_id, page.name, "", context, 0, 0, 0, b"", place=first)))
        except SourceError as error:
            raise _unreadable(source, page, error) from None

    def _poison(self, conn: Connection, section: str, file_ids: Sequence[int]) -> None:
        """Call *poisoned* for the rejects of those files of the ledger."""
        for row in conn.execute(_statement(section), {"run_id": self.run_id, "file_ids": list(file_ids)}).all():
            self.poisoned(conn, Poison(row.reject_id, row.feed, row.error, row.reason))

    def _load(self, page: Page, path: Path) -> tuple[int, Counts, list[int]]:
        """Load a file as ``medmirror load`` does, with its worker processes and its ledger; return the run, its counts
        and the file ids.

        Raises SyncError when the file is refused.
        """
        result = run.execute(
            self.organization.source,
            [Candidate(path, page.beneath)],
            self.settings,
            organization=self.organization.organization_id,
            mappings=self.organization.mappings,
            accept_empty_fields=self.accept_empty,
        )
        self.remarks.add(Remarks.of(result.mapped, result.problems))
        file_ids = [file.file_id for file in result.files if file.file_id]
        self.file_ids.update(file_ids)
        refused = [file for file in result.files if file.status not in ("done", "skipped")]
        if refused:
            raise SyncError(f"A file of the remote was refused: {refused[0].reason}", page=page.name)
        return result.run_id, Counts(**{name: getattr(result, name, 0) for name in Counts._fields}), file_ids


def _unreadable(source: Source, page: Page, error: MedmirrorError) -> SyncError:
    return SyncError(f"The remote gave a page that {source.name} cannot read: {error.message}", page=page.name)


def _frame(conn: Connection, around: Mapping[int, Sequence[frames.Span]]) -> None:
    """Note in the ledger where each page has its frame."""
    texts = ["{" + ",".join(f"[{start},{end})" for start, end in spans) + "}" for spans in around.values()]
    conn.execute(_statement("frame pages"), {"file_ids": list(around), "frames": texts})


def _facts(page: Page, context: Context) -> ledger.FileFacts:
    assert isinstance(page.body, bytes)
    digest = hashlib.sha256(page.body).digest()
    return ledger.FileFacts(page.name, len(page.body), digest, inputs.order_of(context))


def sum_of(counts: Sequence[Counts]) -> Counts:
    """Return the sum of *counts*."""
    total = Counts()
    for count in counts:
        total = total.plus(count)
    return total


def as_dict(counts: Counts) -> dict[str, Any]:
    """Return the counts that are not 0, by name."""
    return {name: value for name, value in counts._asdict().items() if value}
