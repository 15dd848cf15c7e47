"""The difference of two mirrors, without sending all their rows to one another.

The kept digests say which tables differ, and in which organisations: that costs no scan. Each side then divides such
a table into buckets by the hashes of its keys. Only the rows of buckets that differ are read, in one order, and merged.
Content is compared by the digests in the facts: versions and runs may differ between mirrors with the same content.
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

from medmirror.db import sql
from medmirror.db.digests import Relation, SetDigest, by_organization, of_name, relations, total
from medmirror.errors import SchemaOutOfDate

T = TypeVar("T")

_ROWS_A_BUCKET = 256
_MOST_BITS = 16  # 65,536 buckets are some MB on the wire
_AT_ONCE = 100_000  # rows that may be read in one go; more come through a cursor, which no parallel plan feeds
_STREAMED = 5_000  # rows a fetch then
_BUCKET_BYTES = 24  # bucket, rows, sum
_ROW_BYTES = 16  # two hashes; the key comes on top


class Example(NamedTuple):
    """A key that differs. *kind* is only_a, only_b or content.

    *digest* stands for the key; *key* is empty where it may not be shown.
    """

    kind: str
    digest: str
    key: tuple[str, ...]


@dataclass(slots=True)
class TableDifference:
    """The difference in one table: how many keys are only in A, only in B, and in both with different content.

    *examples* lists a few of these keys. *wrong* names the mirrors ("A", "B") whose kept digest is not that of their
    rows.
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
    """The difference of two mirrors. *tables* is empty when they hold the same; *same* names the tables that agree.

    *buckets*, *rows* and *bytes* (estimated) count what both sides sent for the comparison.
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
            {
                **asdict(table),
                "a": table.a.text,
                "b": table.b.text,
                "examples": [example._asdict() for example in table.examples],
            }
            for table in self.tables
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
    """The difference of two mirrors. Each side is read in one snapshot.

    Raises SchemaOutOfDate when the two do not keep a table's digest in the same way.

    Parameters
    ----------
    a, b
        Engines on the two mirrors.
    organization
        Compare only what the mirrors hold of this organisation.
    thorough
        Read every table instead of trusting the kept digests.
    show_keys
        Give the keys of records that belong to an organisation, too.
    examples
        The largest number of examples a table.
    """
    began = time.perf_counter()
    with ExitStack() as stack:
        sides = [stack.enter_context(engine.connect()) for engine in (a, b)]
        conns = [connection.execution_options(isolation_level="REPEATABLE READ") for connection in sides]
        comparison = _Comparison(conns, stack.enter_context(ThreadPoolExecutor(2)), organization, show_keys, examples)
        for name in comparison.names():
            comparison.compare(name, thorough=thorough)
    comparison.difference.seconds = round(time.perf_counter() - began, 3)
    return comparison.difference


class _Row(NamedTuple):
    key_hash: int
    row_hash: int
    key: tuple[str, ...]


class _Question(NamedTuple):
    """The rows of a table that are compared, and how they are divided into buckets.

    *organizations* None means all rows.
    """

    name: str
    relation: Relation
    organizations: list[str] | None
    shift: int

    @property
    def values(self) -> dict[str, Any]:
        return {"name": self.name, "organizations": self.organizations, "shift": self.shift}


Buckets = dict[int, SetDigest]


class _Comparison:
    """Two mirrors, each in its snapshot, and their difference so far."""

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
        self.difference = Difference()
        for conn in conns:
            conn.execute(_statement("room"))
        self.kept = self._on_each_side(lambda side: by_organization(conns[side], organization))
        self.relations = self._on_each_side(lambda side: relations(conns[side]))

    def _on_each_side(self, query: Callable[[int], T]) -> list[T]:
        """The results of *query* for side 0 and for side 1, which run at the same time."""
        return list(self.pool.map(query, (0, 1)))

    def names(self) -> list[str]:
        """The names of all tables of which a side keeps a digest, sorted."""
        fixed = {relation.fixed_name for side in self.relations for relation in side if relation.fixed_name}
        return sorted(fixed | {name for side in self.kept for name, _ in side})

    def compare(self, name: str, *, thorough: bool) -> None:
        """Add the difference in the table *name* to ``difference``."""
        kept = [{org: digest for (of, org), digest in side.items() if of == name} for side in self.kept]
        organizations: list[str] | None = sorted(
            org for org in {*kept[0], *kept[1]} if kept[0].get(org) != kept[1].get(org)
        )
        if thorough:
            organizations = None if self.organization is None else [self.organization]
        elif not organizations:
            self.difference.same.append(name)
            return
        digests = [
            total(digest for org, digest in side.items() if organizations is None or org in organizations)
            for side in kept
        ]
        # An arithmetic shift: buckets have numbers below zero, too.
        shift = 64 - max(1, min(_MOST_BITS, (max(digest.rows for digest in digests) // _ROWS_A_BUCKET).bit_length()))
        question = _Question(name, self._relation(name), organizations, shift)
        buckets = self._on_each_side(lambda side: self._buckets(side, question))
        self.difference.buckets += (read := sum(map(len, buckets)))
        self.difference.bytes += _BUCKET_BYTES * read
        table = TableDifference(name, digests[0], digests[1])
        table.wrong = [
            mirror
            for mirror, digest, counted in zip("AB", digests, buckets, strict=True)
            if total(counted.values()) != digest
        ]
        unequal = {key for key in {*buckets[0], *buckets[1]} if buckets[0].get(key) != buckets[1].get(key)}
        if unequal:
            self._rows(table, question, buckets, unequal)
        if unequal or table.wrong:
            self.difference.tables.append(table)
        else:
            self.difference.same.append(name)

    def _relation(self, name: str) -> Relation:
        a, b = (of_name(side, name) for side in self.relations)
        if a is None or a != b:
            message = (
                "The two mirrors do not keep the digest of this table in the same way; bring both to the same version"
                " of medmirror."
            )
            raise SchemaOutOfDate(message, table=name)
        return a

    def _buckets(self, side: int, question: _Question) -> Buckets:
        rows = self.conns[side].execute(_statement("buckets", question.relation), question.values)
        return {row.bucket: SetDigest(row.rows, int(row.sum)) for row in rows}

    def _rows(self, table: TableDifference, question: _Question, buckets: Sequence[Buckets], unequal: set[int]) -> None:
        """Count the differences in the *unequal* buckets.

        A bucket that a side lacks is counted from its digest; its rows are read only for examples.
        """
        one_sided = {bucket for bucket in unequal if bucket not in buckets[0] or bucket not in buckets[1]}
        for bucket in one_sided:
            table.only_a += buckets[0].get(bucket, SetDigest()).rows
            table.only_b += buckets[1].get(bucket, SetDigest()).rows
        listed = sorted(unequal - one_sided) + sorted(one_sided)[: self.examples]
        values = {**question.values, "buckets": listed}
        statement = _statement("bucket rows", question.relation)
        expected = max(sum(side.get(bucket, SetDigest()).rows for bucket in listed) for side in buckets)
        options = {"stream_results": True, "yield_per": _STREAMED} if expected > _AT_ONCE else {}
        results = self._on_each_side(
            lambda side: self.conns[side].execute(statement, values, execution_options=options)
        )
        hidden = question.relation.of_organizations and not self.show_keys
        for kind, row in _merged(map(self._read, results)):
            if row.key_hash >> question.shift not in one_sided:
                setattr(table, kind, getattr(table, kind) + 1)
            if len(table.examples) < self.examples:
                table.examples.append(Example(kind, f"{row.key_hash % (1 << 64):016x}", () if hidden else row.key))

    def _read(self, rows: Iterable[Any]) -> Iterator[_Row]:
        for row in rows:
            self.difference.rows += 1
            self.difference.bytes += _ROW_BYTES + sum(map(len, row.key))
            yield _Row(row.key_hash, row.row_hash, tuple(row.key))


def _statement(section: str, relation: Relation | None = None) -> TextClause:
    if relation is None:
        return sql.statement("digest.sql", section)
    keys = ", ".join(f'r."{column}"::text' for column in relation.key)
    return text(sql.sections("digest.sql")[section].format(**relation._asdict(), keys=keys))


def _merged(sides: Iterable[Iterable[_Row]]) -> Iterator[tuple[str, _Row]]:
    """(kind, row) of each key that only one of two *sides* has, or that has another row hash there.

    Each side must be in the order of its keys' hashes; so is the result. Two keys with the same hash stay two.
    """

    def marked(side: int, rows: Iterable[_Row]) -> Iterator[tuple[_Row, int]]:
        return ((row, side) for row in rows)

    every = heapq.merge(*(marked(side, rows) for side, rows in enumerate(sides)))
    for _, same_hash in groupby(every, key=lambda entry: entry[0].key_hash):
        keys: tuple[dict[tuple[str, ...], _Row], dict[tuple[str, ...], _Row]] = ({}, {})
        for row, side in same_hash:
            keys[side][row.key] = row
        for key in sorted(keys[0].keys() | keys[1].keys()):
            first, second = keys[0].get(key), keys[1].get(key)
            if first is None or second is None:
                yield ("only_b", second) if second else ("only_a", first)  # type: ignore[misc]
            elif first.row_hash != second.row_hash:
                yield "content", first
