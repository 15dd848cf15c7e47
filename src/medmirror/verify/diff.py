"""Where two mirrors differ, found without sending their rows to one another.

The kept digests say which tables differ, and in which organisations: that costs no scan. Such a table is then parted
on either side by its keys' hashes into buckets, and only the rows of buckets that differ are read out, in one order,
and merged. Content is compared by the digests in the facts: versions and runs may differ between mirrors that hold the
same.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, TextClause, text

from medmirror.db import digests as setdigest
from medmirror.db import sql
from medmirror.db.digests import Relation, SetDigest, total
from medmirror.errors import SchemaOutOfDate

T = TypeVar("T")

_ROWS_A_BUCKET = 256
_MOST_BITS = 16  # 65,536 buckets are some MB on the wire
_AT_ONCE = 100_000  # rows that may be read in one go; more come through a cursor, which no parallel plan feeds
_STREAMED = 5_000  # rows a fetch then
_BUCKET_BYTES = 24  # bucket, rows, sum
_ROW_BYTES = 16  # two hashes; the key comes on top


class Example(NamedTuple):
    """A key that differs. *kind* is only_a, only_b or content; *digest* stands for the key, which is empty where it may
    not be shown."""

    kind: str
    digest: str
    key: tuple[str, ...]


@dataclass(slots=True)
class TableDifference:
    """What differs in one table: how many keys are only in A, only in B, and in both with different content.

    *examples* are some of them. *wrong* names the mirrors ("A", "B") whose kept digest is not that of their rows.
    """

    table: str
    a: SetDigest
    b: SetDigest
    only_a: int = 0
    only_b: int = 0
    content: int = 0
    examples: list[Example] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Difference:
    """What two mirrors differ in; nothing in *tables* when they hold the same. *same* names the tables that agree.

    *buckets*, *rows* and *bytes* (about) are what both sides had to send to find that out.
    """

    same: list[str] = field(default_factory=list)
    tables: list[TableDifference] = field(default_factory=list)
    buckets: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The difference as plain values, for JSON."""
        tables = [
            {**asdict(one), "a": one.a.text, "b": one.b.text, "examples": [each._asdict() for each in one.examples]}
            for one in self.tables
        ]
        return {**asdict(self), "tables": tables}


def diff(
    a: Engine,
    b: Engine,
    *,
    organization: str | None = None,
    thorough: bool = False,
    show_keys: bool = False,
    examples: int = 20,
) -> Difference:
    """Compare two mirrors, or what they hold of *organization*; tell at most so many *examples* a table.

    Each side is read in one snapshot. *thorough* reads every table instead of trusting the kept digests. Keys of
    records that belong to an organisation are left out unless *show_keys*. Raises SchemaOutOfDate when the two do not
    keep a table's digest in the same way.
    """
    began = time.perf_counter()
    with ExitStack() as stack:
        sides = [stack.enter_context(engine.connect()) for engine in (a, b)]
        conns = [one.execution_options(isolation_level="REPEATABLE READ") for one in sides]
        comparison = _Comparison(conns, stack.enter_context(ThreadPoolExecutor(2)), organization, show_keys, examples)
        for name in comparison.names():
            comparison.compare(name, thorough=thorough)
    comparison.found.seconds = round(time.perf_counter() - began, 3)
    return comparison.found


class _Row(NamedTuple):
    key_hash: int
    row_hash: int
    key: tuple[str, ...]


class _Question(NamedTuple):
    """Which rows of a table are compared (*whose* None: everybody's), and how they are parted into buckets."""

    name: str
    relation: Relation
    whose: list[str] | None
    shift: int

    @property
    def values(self) -> dict[str, Any]:
        return {"name": self.name, "organizations": self.whose, "shift": self.shift}


Buckets = dict[int, SetDigest]


class _Comparison:
    """Two mirrors, each in its snapshot, and what was found so far."""

    def __init__(
        self,
        conns: Sequence[Connection],
        pool: ThreadPoolExecutor,
        organization: str | None,
        show_keys: bool,
        examples: int,
    ) -> None:
        self.conns = conns
        self.pool = pool
        self.organization = organization
        self.show_keys = show_keys
        self.examples = examples
        self.found = Difference()
        for conn in conns:
            conn.execute(_statement("room"))
        self.kept = self._both(lambda side: setdigest.by_organization(conns[side], organization))
        self.relations = self._both(lambda side: setdigest.relations(conns[side]))

    def _both(self, ask: Callable[[int], T]) -> list[T]:
        """What *ask* says of side 0 and of side 1, asked at the same time."""
        return list(self.pool.map(ask, (0, 1)))

    def names(self) -> list[str]:
        """Every table that either side keeps a digest of, sorted."""
        fixed = {one.fixed_name for some in self.relations for one in some if one.fixed_name}
        return sorted(fixed | {name for kept in self.kept for name, _ in kept})

    def compare(self, name: str, *, thorough: bool) -> None:
        """Note in ``found`` what differs in the table *name*."""
        kept = [{org: digest for (of, org), digest in side.items() if of == name} for side in self.kept]
        whose: list[str] | None = sorted(org for org in {*kept[0], *kept[1]} if kept[0].get(org) != kept[1].get(org))
        if thorough:
            whose = None if self.organization is None else [self.organization]
        elif not whose:
            self.found.same.append(name)
            return
        digests = [total(one for org, one in side.items() if whose is None or org in whose) for side in kept]
        # An arithmetic shift: buckets have numbers below zero, too.
        shift = 64 - max(1, min(_MOST_BITS, (max(one.rows for one in digests) // _ROWS_A_BUCKET).bit_length()))
        question = _Question(name, self._relation(name), whose, shift)
        buckets = self._both(lambda side: self._buckets(side, question))
        self.found.buckets += (read := sum(map(len, buckets)))
        self.found.bytes += _BUCKET_BYTES * read
        table = TableDifference(name, digests[0], digests[1])
        table.wrong = [
            who for who, one, held in zip("AB", digests, buckets, strict=True) if total(held.values()) != one
        ]
        unequal = {one for one in {*buckets[0], *buckets[1]} if buckets[0].get(one) != buckets[1].get(one)}
        if unequal:
            self._rows(table, question, buckets, unequal)
        if unequal or table.wrong:
            self.found.tables.append(table)
        else:
            self.found.same.append(name)

    def _relation(self, name: str) -> Relation:
        both = [setdigest.of_name(some, name) for some in self.relations]
        if both[0] is None or both[0] != both[1]:
            message = (
                "The two mirrors do not keep the digest of this table in the same way; bring both to the same version"
                " of medmirror."
            )
            raise SchemaOutOfDate(message, table=name)
        return both[0]

    def _buckets(self, side: int, question: _Question) -> Buckets:
        rows = self.conns[side].execute(_statement("buckets", question.relation), question.values)
        return {row.bucket: SetDigest(row.rows, int(row.sum)) for row in rows}

    def _rows(self, table: TableDifference, question: _Question, buckets: Sequence[Buckets], unequal: set[int]) -> None:
        """Count what differs in the *unequal* buckets. Those that one side lacks are counted as they are, and of their
        rows only some read, for examples."""
        one_sided = {one for one in unequal if one not in buckets[0] or one not in buckets[1]}
        for one in one_sided:
            table.only_a += buckets[0].get(one, SetDigest()).rows
            table.only_b += buckets[1].get(one, SetDigest()).rows
        listed = sorted(unequal - one_sided) + sorted(one_sided)[: self.examples]
        values = {**question.values, "buckets": listed}
        statement = _statement("bucket rows", question.relation)
        expected = max(sum(side.get(one, SetDigest()).rows for one in listed) for side in buckets)
        options = {"stream_results": True, "yield_per": _STREAMED} if expected > _AT_ONCE else {}
        results = self._both(lambda side: self.conns[side].execute(statement, values, execution_options=options))
        hidden = question.relation.of_organizations and not self.show_keys
        for kind, row in _merged(map(self._read, results)):
            if row.key_hash >> question.shift not in one_sided:
                setattr(table, kind, getattr(table, kind) + 1)
            if len(table.examples) < self.examples:
                table.examples.append(Example(kind, f"{row.key_hash % (1 << 64):016x}", () if hidden else row.key))

    def _read(self, rows: Iterable[Any]) -> Iterator[_Row]:
        for row in rows:
            self.found.rows += 1
            self.found.bytes += _ROW_BYTES + sum(map(len, row.key))
            yield _Row(row.key_hash, row.row_hash, tuple(row.key))


def _statement(section: str, relation: Relation | None = None) -> TextClause:
    if relation is None:
        return sql.statement("digest.sql", section)
    keys = ", ".join(f'r."{column}"::text' for column in relation.key)
    return text(sql.sections("digest.sql")[section].format(**relation._asdict(), keys=keys))


def _merged(sides: Iterable[Iterable[_Row]]) -> Iterator[tuple[str, _Row]]:
    """(kind, row) of each key that is only on one of two *sides*, or has another hash there; both in order of their
    keys' hashes, as they come out. Two keys of one hash are told apart."""

    def marked(side: int, rows: Iterable[_Row]) -> Iterator[tuple[_Row, int]]:
        return ((row, side) for row in rows)

    every = heapq.merge(*(marked(side, rows) for side, rows in enumerate(sides)))
    for _, some in groupby(every, key=lambda one: one[0].key_hash):
        keys: tuple[dict[tuple[str, ...], _Row], dict[tuple[str, ...], _Row]] = ({}, {})
        for row, side in some:
            keys[side][row.key] = row
        for key in sorted(keys[0].keys() | keys[1].keys()):
            first, second = keys[0].get(key), keys[1].get(key)
            if first is None or second is None:
                yield ("only_b", second) if second else ("only_a", first)  # type: ignore[misc]
            elif first.row_hash != second.row_hash:
                yield "content", first
