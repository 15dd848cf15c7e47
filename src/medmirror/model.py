"""The plain values that flow through medmirror. Imports nothing of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

Mode = Literal["incremental", "comprehensive", "basic", "patients-only"]
MODES: tuple[str, ...] = get_args(Mode)  #: of a sync, in the order that people are shown
DEPRECATED_MODES = MODES[2:]  #: incremental, of fewer feeds
MODES_BY_REACH = (*reversed(DEPRECATED_MODES), *MODES[:2])  #: each fetches at least what those before it do

DELETION = (1 << 63) - 1  #: the *tie* of a deletion at a moment of which a living copy may be, too


class Column(NamedTuple):
    """A column of a mirror table: its name and the kind of its values.

    *kind* is one of the kinds of ``medmirror.copyformat``: text, int2, int4, int8, float8, bool, date,
    timestamptz, jsonb, text[].
    """

    name: str
    kind: str


class Block(NamedTuple):
    """A run of whole items, cut out of a decoded stream by a source's ``split``.

    *start* is the offset of ``data[0]`` in the decoded stream, *ordinal* the number of items that ended before it.
    *facts* are added to the file's context for this block alone: for example, the line that it begins on.
    """

    data: bytes
    start: int
    ordinal: int
    facts: Mapping[str, int | str] = {}


class Item(NamedTuple):
    """A record before it is parsed: its identity, and the place of its bytes.

    *start* and *end* are offsets into the block's data. *ordinal* counts from 0 within the block. Two copies of a key
    are ordered by *version*, a number that the source derives from its own facts (never from the time of import).
    A *deleted* item is a tombstone: it has no values.
    *parsed* may hold the values that were parsed to find the key (JSON), so that they are not parsed twice.
    *tie* orders copies of one version by another number of the source; ``ingest.order`` says how. *arrival*: nothing
    but the order of arrival tells copies of this version apart (no time, or one that a clock showed twice).
    """

    feed: str
    key: tuple[int | str, ...]
    version: int
    ordinal: int
    start: int
    end: int
    deleted: bool = False
    parsed: Any = None
    arrival: bool = False
    tie: int = 0


class Flaw(NamedTuple):
    """An item that cannot be loaded: the place of its bytes, and why. *error* is the class name of a RecordError.

    *reason* never quotes a value of the record.
    """

    feed: str | None
    ordinal: int
    start: int
    end: int
    error: str
    reason: str


class Part(NamedTuple):
    """The part of a chunk that comes from one file: a block of it, and the facts that its items need.

    *start*, *end* are offsets in the decoded stream of *member* (the file itself, or one file of an archive). *flaws*
    are items that splitting could not cut, with offsets and ordinals in the stream. With *given_up* the data is not
    parsed, only stored with the flaws. *place* is that of the stream's first item in the order of arrival
    (``ingest.order``).
    """

    file_id: int
    path: str
    member: str
    context: Mapping[str, int | str]
    start: int
    end: int
    ordinal: int
    data: bytes
    flaws: tuple[Flaw, ...] = ()
    given_up: bool = False
    place: int = 0


class Chunk(NamedTuple):
    """The work that a worker takes at a time: whole items of one big file, or many small files."""

    source: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes of data, decoded."""
        return sum(len(part.data) for part in self.parts)


class Counts(NamedTuple):
    """The numbers of records by what happened to them, as the database reported it.

    *read* is the sum of all others but *created*.
    """

    read: int = 0
    inserted: int = 0  # a key that was not there
    updated: int = 0  # newer content of a key
    unchanged: int = 0  # the content that is there already
    duplicate: int = 0  # an older or second copy of a key
    tombstoned: int = 0  # a deletion that took effect
    rejected: int = 0  # see medmirror.reject
    filtered: int = 0  # dropped by the user's own filter
    created: int = 0  # keys new to the table: inserted, and tombstones of keys never seen

    def plus(self, other: Counts) -> Counts:
        """The sum of both, field by field."""
        return Counts(*(left + right for left, right in zip(self, other, strict=True)))


LACKING = "column "  # how a problem begins that is a column's, and no field's
_KEPT = ("gap", "fold")  # codes of problems whose value was kept
_FEW = 2  # records that anybody may type wrongly


class Remarks(NamedTuple):
    """What mapping had to say of the records that were written, by their feed ("csv.patient"): how many were
    *mapped*, how many have which problem with which field ("birth_date unreadable"), and how many still keep a field
    whose emptiness is *withheld* (all of them, whatever run began it). No value of a record."""

    mapped: Counter[str]
    problems: Counter[tuple[str, str]]
    withheld: Counter[tuple[str, str]]

    @classmethod
    def nothing(cls) -> Remarks:
        """Empty ones, to add to."""
        return cls(Counter(), Counter(), Counter())

    @classmethod
    def of(cls, mapped: Mapping[str, int], problems: Mapping[str, int]) -> Remarks:
        """The remarks of a load that ended with these."""
        pairs = ((name.partition(": "), times) for name, times in problems.items())
        return cls(Counter(mapped), Counter({(feed, field): times for (feed, _, field), times in pairs}), Counter())

    def add(self, other: Remarks) -> None:
        """Count what *other* says, too."""
        self.mapped.update(other.mapped)
        self.problems.update(other.problems)
        self.withheld.update(other.withheld)

    def over(self, limit: float) -> list[str]:
        """The problems that more than *limit* per cent of the mapped records of their feed have, and more than two of
        them unless the limit is 0; the most frequent first. A column that is not there is always one."""
        few = _FEW if limit else 0
        return [
            f"{feed}: {problem}"
            for (feed, problem), times in self.problems.most_common()
            if (times > few and times * 100 > limit * self.mapped[feed] and not problem.endswith(_KEPT))
            or problem.startswith(LACKING)
        ]

    def named(self, name: str) -> dict[str, int]:
        """The counts called *name* (problems, withheld), the most frequent first: "csv.patient: birth_date unreadable"
        to the number of records."""
        counts: Counter[tuple[str, str]] = getattr(self, name)
        return {f"{feed}: {field}": times for (feed, field), times in counts.most_common()}


class Outcome(NamedTuple):
    """A worker's report on a chunk: the counts of each part, and the cost. It holds no record and no value of one."""

    counts: tuple[Counts, ...]
    bytes: int
    seconds: dict[str, float]  # CPU seconds by stage
    peak_rss: int  # bytes, of the worker process so far
    pid: int
    retries: int
    deadlocks: int
    lock_waits: int
    remarks: Remarks


class Witness(NamedTuple):
    """The facts about one file of a run, from which a source certifies whether a pass was whole.

    *status* is done, skipped (its bytes were loaded before), refused or open. *read* counts the records in it, whatever
    run loaded them; *rejected* those of them that are open rejects.
    """

    path: str
    context: Mapping[str, int | str]
    status: str
    read: int
    rejected: int


class Certificate(NamedTuple):
    """A certificate for some kinds of record: *whole* when all of them were there.

    *kinds* are feeds as ``medmirror.sync_mapping`` names them. *expected* is their number by the source's own words,
    None when it gives none; *seen* is the number that was read. *reasons* say why it is not whole.
    """

    kinds: tuple[str, ...]
    whole: bool
    expected: int | None
    seen: int
    reasons: tuple[str, ...] = ()
