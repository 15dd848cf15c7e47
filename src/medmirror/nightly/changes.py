"""What a transaction that is still open would change: its own rows beside those of the snapshot that it began with.

Rows are told by the transaction that wrote them, so nothing is compared that was not touched; counts are exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, text

from medmirror import sources
from medmirror.db import sql
from medmirror.nightly.book import statement

_PAGE = 2_000  # rows that are compared at once
_SAMPLE = 5  # changes of each kind that are shown of a table
_OURS = ["run_id", "created_at", "mapped_at"]  # columns that say when and by whom, not what

Row = Mapping[str, Any]
Key = tuple[Any, ...]


class Watched(NamedTuple):
    """A table that is looked at. *relation* is counted; *shown*, which has the same key, is what differences are shown
    of. *deleted*: whether a row is a deletion; *conflict*: whether two versions of a row should not both be."""

    name: str
    relation: str
    shown: str
    deleted: Callable[[Row], bool]
    conflict: Callable[[Row, Row], bool]


def watched(names: Sequence[str], entities: Sequence[str]) -> Iterator[Watched]:
    """The tables of the sources *names*, and the canonical ones of *entities*."""
    for name in names:
        for feed in sources.get(name).feeds:
            table = f'"{name}"."{feed.name}"'
            fact = f'"{name}"."{feed.name}_fact"'
            yield Watched(f"{name}.{feed.name}", fact, table, lambda row: bool(row["deleted"]), _same_version)
    if any(sources.get(name).tenant for name in names):
        mapping = "medmirror.sync_mapping"
        yield Watched(mapping, mapping, mapping, lambda row: row["state"] == "deleted", _same_version)
        for entity in entities:
            table = f'canonical."{entity}_record"'
            yield Watched(f"canonical.{entity}", table, table, lambda row: False, lambda before, after: False)


def _same_version(before: Row, after: Row) -> bool:
    """Other content under the same version: one of the two is not what the source says it is."""
    digest = "digest" if "digest" in after else "source_hash"
    versions = before.get("version"), after.get("version")
    return versions[0] is not None and versions[0] == versions[1] and before.get(digest) != after.get(digest)


class Difference:
    """What the open transaction of *after* changed, which began at the snapshot of *before*. *first*: see ``first``."""

    def __init__(self, before: Connection, after: Connection, first: str, show_values: bool) -> None:
        self.before, self.after, self.first, self.show_values = before, after, first, show_values

    def of(self, watched: Watched) -> dict[str, Any]:
        """Counts of *watched*: inserts, updates, deletes, conflicts; and a sample of the changes, by fields."""
        counts = dict.fromkeys(("inserts", "updates", "deletes", "conflicts"), 0)
        keys = _keys(self.after, watched.relation)
        sample: dict[str, list[Key]] = {}
        new = 0
        for page in self._written(watched, keys):
            old = self._rows(self.before, watched.relation, keys, list(page))
            for key, row in page.items():
                kind = _kind(watched, old.get(key), row)
                new += key not in old
                if kind:
                    counts[kind] += 1
                    sampled = sample.setdefault(kind, [])
                    sampled += [key] if len(sampled) < _SAMPLE else []
                if key in old and watched.conflict(old[key], row):
                    counts["conflicts"] += 1
        counts["deletes"] += _size(self.before, watched.relation) + new - _size(self.after, watched.relation)
        shown = [change for kind, sampled in sample.items() for change in self._shown(watched, kind, keys, sampled)]
        return {**counts, "sample": shown}

    def _written(self, watched: Watched, keys: Mapping[str, str]) -> Iterator[dict[Key, Row]]:
        """The rows that the transaction wrote, some at a time, by their keys."""
        result = self.after.execution_options(stream_results=True, max_row_buffer=_PAGE).execute(
            text(_filled("written", watched.relation, keys)), {"first": self.first, "without": _OURS}
        )
        width = len(keys)
        for rows in result.partitions(_PAGE):
            yield {tuple(row[:width]): row[width] for row in rows}

    def _rows(self, conn: Connection, relation: str, keys: Mapping[str, str], wanted: Sequence[Key]) -> dict[Key, Row]:
        columns = {f"key{place}": list(values) for place, values in enumerate(zip(*wanted, strict=True))}
        result = conn.execute(text(_filled("rows", relation, keys)), {**columns, "without": _OURS})
        return {tuple(row[: len(keys)]): row[len(keys)] for row in result}

    def _shown(
        self, watched: Watched, kind: str, keys: Mapping[str, str], sampled: list[Key]
    ) -> Iterator[dict[str, Any]]:
        before = self._rows(self.before, watched.shown, keys, sampled)
        after = self._rows(self.after, watched.shown, keys, sampled)
        for key in sampled:
            named = " ".join(map(str, key)) if self.show_values else _digest(key)
            fields = list(_fields(before.get(key, {}), after.get(key, {}), self.show_values, set(keys)))
            yield {"op": kind.removesuffix("s"), "record": named, "fields": fields}


def first(after: Connection) -> str:
    """The number of the transaction that has just begun, which must be REPEATABLE READ. Ask before anything else."""
    return str(after.execute(statement("first transaction")).scalar_one())


def _kind(watched: Watched, old: Row | None, new: Row) -> str | None:
    """inserts, updates or deletes; None when nothing is changed but what says when and by whom."""
    gone = watched.deleted(new)
    if old is None:
        return "deletes" if gone else "inserts"
    if gone and not watched.deleted(old):
        return "deletes"
    return None if _content(old) == _content(new) else "updates"


def _content(row: Row) -> Row:
    """A row without its version, which may move while all else stays."""
    return {name: value for name, value in row.items() if name != "version"}


def _fields(before: Row, after: Row, show_values: bool, keys: set[str]) -> Iterator[dict[str, Any]]:
    """Which fields differ: columns, and within a JSON object its members. Values only when asked for."""
    for name in sorted({*before, *after} - keys):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if isinstance(new, dict) and isinstance(old, dict | None):
            for inner in _fields(old or {}, new, show_values, set()):
                yield {**inner, "name": f"{name}.{inner['name']}"}
            continue
        change = "added" if old is None else "removed" if new is None else "changed"
        yield {"name": name, "change": change, **({"before": old, "after": new} if show_values else {})}


def _digest(key: Key) -> str:
    """A name for a record that says nothing about it."""
    return hashlib.sha256(orjson.dumps(key, default=str)).hexdigest()[:12]


def _keys(conn: Connection, relation: str) -> dict[str, str]:
    """The columns of the primary key, with their types."""
    row = conn.execute(statement("key columns"), {"relation": relation}).one()
    return dict(zip(row.names, row.types, strict=True))


def _filled(name: str, relation: str, keys: Mapping[str, str]) -> str:
    """The section *name* for a table. All that is put in comes out of the catalogue or out of ``Watched``."""
    return sql.sections("nightly.sql")[name].format(
        relation=relation,
        keys=", ".join(f't."{column}"' for column in keys),
        names=", ".join(f'"{column}"' for column in keys),
        unnest=", ".join(f"CAST(:key{place} AS {kind}[])" for place, kind in enumerate(keys.values())),
    )


def _size(conn: Connection, relation: str) -> int:
    return int(conn.execute(text(sql.sections("nightly.sql")["size"].format(relation=relation))).scalar_one())
