"""From what the user named to chunks: find files, tell their source, skip what is loaded, split, group.

Runs in the parent. A file that is not what it claims is noted with its reason, and the rest goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, TypeVar

import orjson
from sqlalchemy import Connection, Engine

from medmirror import sources
from medmirror.db import ledger, retry
from medmirror.errors import LayoutChanged, SourceError, TruncatedFile, UnsafeFile, UsageError
from medmirror.ingest import candidates
from medmirror.ingest.candidates import CHECKSUM, DOCUMENT, HIDDEN, Candidate
from medmirror.ingest.order import place
from medmirror.model import Block, Certificate, Chunk, Flaw, Part, Witness
from medmirror.readers import files
from medmirror.readers.files import Stream
from medmirror.readers.folders import shown
from medmirror.settings import Settings
from medmirror.sources.base import Context, Given, Source

_log = logging.getLogger(__name__)

_LONGEST_ORDER = 1000  # bytes
_TRIES = 1000  # members of an archive that may be none of a known source before one is
_BOM = b"\xef\xbb\xbf"
_TOGETHER = 500  # small files that are registered with one statement


_T = TypeVar("_T")
_Numbers = dict[tuple[bytes, str], int]
_Registered = tuple[list[ledger.FileFacts], _Numbers, _Numbers, dict[int, set[ledger.Span]]]


@dataclass(slots=True)
class FileState:
    """A file of the run (or another origin of records): what the ledger calls it, how much of it is under way, how it
    ended."""

    path: Path | str
    size: int
    source: str
    file_id: int = 0
    bytes: int = 0
    open_parts: int = 0
    chunks: int = 0  # rows in the ledger that workers said they committed
    done: set[ledger.Span] = field(default_factory=set)  # spans that earlier runs have committed
    items: int = 0  # of the streams before it, or more
    first: tuple[Stream, Context] | None = None  # the only stream of a file that is no archive
    contexts: dict[str, Context] = field(default_factory=dict)  # of its streams, by member
    split: bool = False  # every part of it has been handed out
    status: str = "open"  # open, done, skipped, refused, ignored
    error: SourceError | None = None
    beneath: Path | None = None  # the folder that it was found in: below it no link is followed
    ignored: str = ""  # why it is not loaded

    @property
    def name(self) -> str:
        """What the ledger and messages call it."""
        return shown(self.path)

    @property
    def candidate(self) -> Candidate:
        """The file as it was found."""
        return Candidate(Path(self.path), self.beneath, self.ignored)


@dataclass(slots=True)
class Inputs:
    """The files of a run on their way to chunks. Iterate over ``chunks()`` once; ``files`` tells of each file met."""

    engine: Engine
    settings: Settings
    run_id: int
    source: Source | None  # None: told from the content of each file
    force: bool = False
    given: Given = field(default_factory=dict)  # what the user said of the files
    files: list[FileState] = field(default_factory=list)
    by_id: dict[int, FileState] = field(default_factory=dict)
    _met: set[int] = field(default_factory=set)  # files of this run by their number in the ledger
    _items: int = 0  # of the streams that were split so far, or more

    def chunks(self, paths: Iterable[Path | Candidate]) -> Iterator[Chunk]:
        """Chunks of about ``chunk_bytes`` each, of one source each, in the order of the files."""
        return self._together(self._from_origins() if self.source and self.source.origins else self._parts(paths))

    def again(self, states: Sequence[FileState]) -> Iterator[Chunk]:
        """Chunks of what the ledger lacks of files that were split before: a crash of the server has taken it away."""
        numbers = [state.file_id for state in states]
        spans = retry.in_transaction(self.engine, lambda conn: ledger.spans_of_run(conn, self.run_id, numbers))
        for state in states:
            there = spans.get(state.file_id, set())
            state.done, state.chunks = state.done | there, len(there)
            state.bytes = state.open_parts = 0
            state.split = False
            self.by_id[state.file_id] = state
        return self._together(self._parts_again(states))

    def _parts_again(self, states: Sequence[FileState]) -> Iterator[tuple[str, Part]]:
        for state in states:
            self._items = state.items  # each item has the place that it had the first time
            yield from ((state.source, part) for part in self._split(state))
            state.split = True

    def _together(self, parts: Iterable[tuple[str, Part]]) -> Iterator[Chunk]:
        waiting: list[Part] = []
        size = 0
        name = ""
        for source, part in parts:
            if waiting and (source != name or size + len(part.data) > self.settings.chunk_bytes):
                yield Chunk(name, tuple(waiting))
                waiting, size = [], 0
            name = source
            waiting.append(part)
            size += len(part.data)
        if waiting:
            yield Chunk(name, tuple(waiting))

    def _parts(self, paths: Iterable[Path | Candidate]) -> Iterator[tuple[str, Part]]:
        listed = candidates.find(paths, self._exports)
        for group in _groups(listed, _TOGETHER, weigh=_weight, most=self.settings.chunk_bytes):
            for state in self._register(group):
                yield from ((state.source, part) for part in self._split(state))
                state.split = True

    def _from_origins(self) -> Iterator[tuple[str, Part]]:
        assert self.source is not None
        assert self.source.origins is not None
        for origin in self.source.origins(self.given):
            context = self._with_organization(self.source, origin.context)
            state = FileState(origin.name, 0, self.source.name, first=(Stream(origin.name, "", origin.open), context))
            state.contexts[""] = context
            self.files.append(state)
            facts = ledger.FileFacts(origin.name, None, origin.identity, order_of(context))
            for entered in self._enter(
                self.source.name, [facts], {(self.source.name, facts.digest, facts.order): state}
            ):
                yield from ((entered.source, part) for part in self._split(entered))
                entered.split = True

    def _with_organization(self, source: Source, context: Context) -> Context:
        return {**context, "organization": self.given["organization"]} if source.tenant else context

    def _exports(self, name: str) -> bool:
        return candidates.named(self.source, self.given)(name)

    def _register(self, group: Sequence[Candidate]) -> list[FileState]:
        """Tell and digest *group*, make the files known to the ledger; return those that have to be loaded."""
        states: dict[tuple[str, bytes, str], FileState] = {}
        facts: dict[str, list[ledger.FileFacts]] = {}
        for path, beneath, reason in group:
            if reason in (HIDDEN, CHECKSUM):  # they stand for no records
                continue
            state = FileState(path, 0, self.source.name if self.source else "", beneath=beneath)
            self.files.append(state)
            if reason:
                self._ignore(state, reason)
                continue
            try:
                source, stream, context = self._tell(state)
                state.source = source.name
                state.first = None if stream.member else (stream, context)
                if not stream.member:
                    state.contexts[""] = context
                # An archive's members have contexts of their own; whose it is must tell it from another's all the same.
                order = order_of(self._with_organization(source, {}) if stream.member else context)
                wanted = files.sidecar_md5(path, beneath)
                digests = files.digest(path, stream.raw, md5=wanted is not None, beneath=beneath)
                state.size = digests.size
                if wanted and wanted != digests.md5:
                    raise TruncatedFile("The file's MD5 is not the one beside it; fetch both again.", file=shown(path))
            except SourceError as error:
                self.refuse(state, error)
                continue
            key = (source.name, digests.sha256, order)
            if key in states:
                state.status = "skipped"  # the same bytes a second time in this run
                continue
            states[key] = state
            found_in = shown(beneath) if beneath else ""
            of_file = ledger.FileFacts(state.name, digests.size, digests.sha256, order, found_in)
            facts.setdefault(source.name, []).append(of_file)
        return [entry for name, of_source in facts.items() for entry in self._enter(name, of_source, states)]

    def _enter(
        self,
        name: str,
        facts: Sequence[ledger.FileFacts],
        states: dict[tuple[str, bytes, str], FileState],
    ) -> Iterator[FileState]:
        organization = self.given.get("organization") if sources.get(name).tenant else None

        def register(conn: Connection) -> _Registered:
            placed = list(facts)
            done = {} if self.force else ledger.done_files(conn, name, facts)
            if done and organization:
                placed = ledger.placed(conn, name, organization, facts, done)
                done = ledger.done_files(conn, name, placed)
            new = [file for file in placed if (file.digest, file.order) not in done]
            numbers = ledger.register_files(conn, name, self.run_id, new, organization) if new else {}
            return placed, done, numbers, {} if self.force else ledger.done_spans(conn, list(numbers.values()))

        placed, done, registered, spans = retry.in_transaction(self.engine, register)
        numbers = done | registered
        for given, (_, _, digest, order, _) in zip(facts, placed, strict=True):
            state, file_id = states[name, digest, given.order], numbers[digest, order]
            state.file_id = file_id
            if (digest, order) in done or file_id in self._met:
                state.status = "skipped"
                _log.info("skipped, loaded before: %s", state.name)
            else:
                self._met.add(file_id)
                self.by_id[file_id] = state
                state.done = spans.get(file_id, set())
                yield state

    def _streams(self, state: FileState) -> Iterator[Stream]:
        return files.streams(Path(state.path), self.settings.max_zip_ratio, state.beneath)

    def _tell(self, state: FileState) -> tuple[Source, Stream, Context]:
        """The source of a file, told from its first stream that can be loaded; that stream, and its context, which
        orders it among its source's files. What is wrong with the first one is raised when there is none."""
        wrong, tries = None, _TRIES
        for stream in self._streams(state):
            if self._beside(stream):
                continue
            try:
                return self._tell_stream(Path(state.path), stream)
            except SourceError as error:
                wrong, tries = wrong or error, tries - 1
            if not stream.member or not tries:
                break
        raise wrong or TruncatedFile("The archive holds no file to load.", file=state.name)

    def _tell_stream(self, path: Path, stream: Stream) -> tuple[Source, Stream, Context]:
        start = files.head(stream)
        if not start:
            raise TruncatedFile("The file is empty.", file=shown(path))
        source = self.source or _recognise(stream.name, start)
        if source is None:
            raise LayoutChanged(f"This is no file of a known source; it begins like {_looks_like(start)}.")
        try:
            return source, stream, self._context(source, path, stream, start)
        except UsageError as error:
            if self.source is not None:
                raise
            # What only looks like a source's file must not stop the files beside it.
            raise LayoutChanged(error.message) from None

    def _context(self, source: Source, path: Path | str, stream: Stream, start: bytes) -> Context:
        """The context of *stream*; LayoutChanged when it is not one of *source*."""
        if not source.recognise(stream.name, start):
            raise LayoutChanged(f"This is not a file of {source.name}; it begins like {_looks_like(start)}.")
        if source.tenant and not self.given.get("organization"):
            raise LayoutChanged(f"This is a file of {source.name}: say whose it is with --org.")
        context = source.context(
            stream.name, start, stream.open, {**self.given, "path": str(Path(path) / stream.member)}
        )
        return self._with_organization(source, context)

    def _split(self, state: FileState) -> Iterator[Part]:
        """The parts of a file that no run has committed yet."""
        source = sources.get(state.source)
        first, state.first = state.first, None  # a small file's bytes are held no longer than needed
        state.items = self._items
        try:
            for part in self._blocks(source, state, *first) if first else self._members(source, state):
                if (part.member, part.start, part.end) not in state.done:
                    state.open_parts += 1
                    yield part
        except SourceError as error:
            self.refuse(state, error)

    def _members(self, source: Source, state: FileState) -> Iterator[Part]:
        """The parts of every file in an archive."""
        met: set[str] = set()
        for stream in self._streams(state):
            if stream.member in met:  # spans of the two could not be told apart
                raise UnsafeFile("The archive has two members of the same name.")
            met.add(stream.member)
            if reason := self._beside(stream):
                path = Path(state.path) / stream.member
                if reason not in (HIDDEN, CHECKSUM):
                    self.files.append(member := FileState(path, 0, state.source, beneath=state.beneath))
                    self._ignore(member, reason)
                continue
            yield from self._stream(source, state, stream)

    def _stream(self, source: Source, state: FileState, stream: Stream) -> Iterator[Part]:
        """The parts of one file in an archive. A bad one is a flaw of its own, and the others are read on."""
        try:
            context = self._context(source, state.path, stream, files.head(stream))
            state.contexts[stream.member] = context
            yield from self._blocks(source, state, stream, context)
        except SourceError as error:
            _log.error("refused: %s, member %s: %s", state.name, stream.member, error)
            flaw = Flaw(None, 0, 0, 0, type(error).__name__, error.message)
            state.contexts.setdefault(stream.member, {})
            whose = self._with_organization(source, {})
            yield Part(state.file_id, state.name, stream.member, whose, 0, 0, 0, b"", (flaw,))

    def _blocks(self, source: Source, state: FileState, stream: Stream, context: Context) -> Iterator[Part]:
        """The blocks of a stream as parts (``parts_of``)."""

        def blocks(file: BinaryIO) -> Iterator[Block | Flaw]:
            last: Block | Flaw | None = None
            end, flawed = 0, False
            try:
                for block in source.split(file, context, self.settings.chunk_bytes, self.settings.max_record_bytes):
                    flawed = isinstance(block, Flaw)
                    end = block.end if isinstance(block, Flaw) else block.start + len(block.data)
                    yield block
                    last = block
                if last and file.read(1):  # of an empty list or a manifest nothing is read
                    raise LayoutChanged("Bytes are left behind the last record that was read.")
            except SourceError as error:
                if not (flawed and stream.member):
                    raise
                # The item that is cut off is a flaw already: all there is to say of this member.
                _log.error("refused: %s, member %s: %s", state.name, stream.member, error)
            finally:
                state.bytes += end
                self._items += _items_to(last) if last else 0

        first = place(self.run_id, self._items)
        whole = Part(state.file_id, state.name, stream.member, context, 0, 0, 0, b"", place=first)
        with stream.open() as file:
            yield from parts_of(blocks(file), whole)

    def witnesses(self, census: Mapping[tuple[int, str], ledger.Count]) -> dict[str, list[Witness]]:
        """What is known of every stream of the run's files, by source; *census* is that of the ledger."""
        by_source: dict[str, list[Witness]] = {}
        for state in self.files:
            if (not state.file_id and state.status == "skipped") or state.status == "ignored":
                continue  # the same bytes stand for themselves elsewhere in the list; a document is no input
            if state.status == "skipped" and not state.contexts:
                self._tell_members(state)
            for member, context in state.contexts.items() or [("", {})]:
                read, rejected = census.get((state.file_id, member), (0, 0))
                status = state.status if context else "refused"  # of a member that nobody could tell nothing is known
                witness = Witness(state.name, context, status, read, rejected)
                by_source.setdefault(state.source, []).append(witness)
        return by_source

    def _tell_members(self, state: FileState) -> None:
        """The contexts of an archive that was not read in this run."""
        source = sources.get(state.source)
        for stream in self._streams(state):
            if self._beside(stream):
                continue
            state.contexts[stream.member] = {}
            with suppress(SourceError):
                state.contexts[stream.member] = self._context(source, state.path, stream, files.head(stream))

    def _beside(self, stream: Stream) -> str:
        """Why *stream* of an archive is not loaded, as it would not be in a folder; empty: it is.

        A document that a source recognises is an export all the same.
        """
        reason = candidates.of_member(stream.member, self._exports) if stream.member else ""
        if reason != DOCUMENT:
            return reason
        able = [self.source] if self.source else [sources.get(name) for name in sources.names()]
        able = [
            source for source in able if source.claims is None or source.claims(stream.name, self.given) is not False
        ]
        try:
            start = files.head(stream)
        except SourceError:
            return ""  # whoever reads it says so
        return "" if any(source.recognise(stream.name, start) for source in able) else DOCUMENT

    def qualified(self, certificates: Iterable[Certificate]) -> list[Certificate]:
        """*certificates*, none of which is whole when something in a folder was not read that may hold records."""
        reasons = candidates.unread(state.candidate for state in self.files)
        if not reasons:
            return list(certificates)
        return [
            certificate._replace(whole=False, reasons=(*certificate.reasons, *reasons)) for certificate in certificates
        ]

    def _ignore(self, state: FileState, reason: str) -> None:
        state.status, state.ignored, state.split = "ignored", reason, True
        level = logging.WARNING if reason in candidates.UNREAD else logging.INFO
        _log.log(level, "ignored, %s: %s", reason, state.name)

    def refuse(self, state: FileState, error: SourceError) -> None:
        """Note that a file is not what it claims to be."""
        error.context.setdefault("file", state.name)
        state.status, state.error, state.split = "refused", error, True
        _log.error("refused: %s", error)


def _items_to(last: Block | Flaw) -> int:
    """How many items a stream has whose last piece is *last*, or more: each takes two bytes at least."""
    return last.ordinal + 1 + (0 if isinstance(last, Flaw) else len(last.data) // 2)


def _weight(candidate: Candidate) -> int:
    try:
        return 0 if candidate.ignored else candidate.path.stat(follow_symlinks=candidate.beneath is None).st_size
    except OSError:
        return 0


def _groups(paths: Iterable[_T], count: int, weigh: Callable[[_T], int], most: int) -> Iterator[list[_T]]:
    """*paths* in groups of at most *count* that weigh at most *most* together (or are one)."""
    group: list[_T] = []
    weight = 0
    for path in paths:
        heavy = weigh(path)
        if group and (len(group) >= count or weight + heavy > most):
            yield group
            group, weight = [], 0
        group.append(path)
        weight += heavy
    if group:
        yield group


def parts_of(blocks: Iterable[Block | Flaw], whole: Part) -> Iterator[Part]:
    """*blocks* as parts of *whole*, whose file, member and context they have; a flaw travels with the block after it,
    or in an empty part at the end."""
    flaws: list[Flaw] = []
    end = ordinal = 0
    for block in blocks:
        if isinstance(block, Flaw):
            flaws.append(block)
            end, ordinal = block.end, block.ordinal + 1
            continue
        if flaws and "layout" in block.facts:  # what belongs to no document has not the facts of the next one
            yield whole._replace(start=flaws[0].start, end=end, ordinal=ordinal, flaws=tuple(flaws))
            flaws.clear()
        end = block.start + len(block.data)
        yield whole._replace(
            context={**whole.context, **block.facts} if block.facts else whole.context,
            start=block.start,
            end=end,
            ordinal=block.ordinal,
            data=block.data,
            flaws=tuple(flaws),
        )
        flaws.clear()
    if flaws:
        yield whole._replace(start=flaws[0].start, end=end, ordinal=ordinal, flaws=tuple(flaws))


def order_of(context: Context) -> str:
    """What tells a file from another one of the same bytes: its context, as text, or a digest of that where an index
    could not hold it; "" for none."""
    text = orjson.dumps(context, option=orjson.OPT_SORT_KEYS) if context else b""
    return text.decode() if len(text) <= _LONGEST_ORDER else sha256(text).hexdigest()


def _recognise(name: str, start: bytes) -> Source | None:
    if start.startswith(_WIDE) and start.replace(b"\0", b"").lstrip(b"\xff\xfe \t\r\n")[:1] in (b"{", b"["):
        return None  # JSON in UTF-16 is no table
    return next((source for source in map(sources.get, sources.names()) if source.recognise(name, start)), None)


_PACKED = (
    (b"BZh", "a file compressed with bzip2"),
    (b"\xfd7zXZ\0", "a file compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "a file compressed with zstd"),
    (b"\x1f\x9d", "a file compressed with compress (.Z)"),
    (b"\x04\x22\x4d\x18", "a file compressed with lz4"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"PK", "a zip archive within another file"),
)
_TAR = 257  # where a tar archive says that it is one
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"{\0", b"\0{", b"[\0", b"\0[")


def _looks_like(start: bytes) -> str:
    packed = next((words for mark, words in _PACKED if start.startswith(mark)), "")
    if start[_TAR : _TAR + 5] == b"ustar":
        packed = "a tar archive"
    if packed:
        return f"{packed}; only plain files, .gz and .zip are read: unpack it first"
    if start.startswith(_WIDE):
        return "text in UTF-16, which only XML and CSV may be; convert it to UTF-8 first"
    text = start.removeprefix(_BOM).lstrip()[:512].lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "HTML (an error page of a web server?)"
    if text.startswith(b"<"):
        return "XML"
    if text.startswith((b"{", b"[")):
        return "JSON"
    return "something that is neither XML nor JSON"
