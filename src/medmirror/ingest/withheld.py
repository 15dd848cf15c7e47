"""Fields whose sudden emptiness is withheld: what all records had and none of the new copies has any more.

A column that an export has lost, or a permission, looks like a clinic that has deleted every telephone number. As with
deletions that come all at once, nothing is overwritten then: the canonical records keep what they had, the rows of
``medmirror.withheld`` say which fields of which record, and the run says so. A copy that has the field again ends it,
and so does a person (``--accept-empty-fields``).

Judged is a batch: the records of one feed that a transaction writes. A field is withheld when 95 % of what they replace
had it, and no record of the batch has it; with a few records only when 95 % of the feed have it, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Engine

from medmirror.db import sql
from medmirror.ingest.canonicalstore import Row
from medmirror.mapping import Mapper, Mappers, canonical_hash, canonical_text
from medmirror.mapping.coverage import targets_of
from medmirror.readers.json.values import exactly

FILLED = 0.95
"""How many of the records must have had a field."""
FEW, MANY = 3, 50
"""Records that must lose it; a batch of *many* speaks for its feed."""
_SAMPLE = 200

_statement = partial(sql.statement, "mapping.sql")
Paths = frozenset[str]


class Where(NamedTuple):
    """Whose records, of which source, in which run."""

    conn: Connection
    source: str
    organization: str
    run_id: int

    @property
    def key(self) -> dict[str, str]:
        """The organisation and the source, as parameters of a statement."""
        return {"organization": self.organization, "source": self.source}


def keep(where: Where, rows: Sequence[Row], mappers: Mappers, *, judge: bool = True, accept: bool = False) -> list[Row]:
    """*rows* with the fields put back whose emptiness is withheld. Must run in the transaction that holds their facts,
    before ``canonicalstore.store``. Without *judge* only what is withheld already stays so (a mapping that was edited
    means what it says); *accept*: a person has said that the fields are empty."""
    held = _held(where) if rows else {}
    if not (held or judge) or not rows:
        return list(rows)
    before = _before(where, rows) if held else {}
    kept: dict[tuple[str, str], Row] = {}
    for feed in sorted({row.feed for row in rows}) if not accept else ():
        mapper = mappers.of(where.source, feed)
        batch = {row.source_id: row for row in rows if row.feed == feed and row.record is not None}
        if mapper is None or not batch:
            continue
        documents = {source_id: _parsed(row.record or b"{}") for source_id, row in batch.items()}
        lost = _lost(where, feed, mapper, documents, held.get(feed, frozenset())) if judge else frozenset()
        wanted = {source_id: lost | before.get((feed, source_id), frozenset()) for source_id in batch}
        for source_id, fields in _restored(where, feed, mapper.entity, documents, wanted):
            record = documents[source_id]
            kept[feed, source_id] = batch[source_id]._replace(
                record=canonical_text(record),
                canonical_hash=canonical_hash(record),
                withheld=fields,
            )
    _write(where, before, kept)
    return [kept.get((row.feed, row.source_id), row) for row in rows]


def open_of(engine: Engine, organization: str | None, source: str | None) -> Counter[tuple[str, str]]:
    """How many records of *organization* keep which field of which feed ("csv.patient") until a person decides; of all
    sources when *source* is None."""
    with engine.connect() as conn:
        rows = conn.execute(_statement("withheld of organization"), {"organization": organization, "source": source})
        return Counter({(f"{row.source}.{row.feed}", row.field): row.records for row in rows})


def filled(value: Any, at: str = "") -> Iterator[str]:
    """The paths within *value*, a canonical record or a part of one, that hold something; lists do not count as steps,
    and a fact of one source only is one path, whatever it holds."""
    if isinstance(value, dict):
        if value.keys() == {"code", "raw"}:
            if value["code"] != "UNKNOWN":
                yield at
            return
        if at == "extra":
            yield from (f"extra.{name}" for name, inner in value.items() if inner not in (None, "", [], {}))
            return
        for name, inner in value.items():
            yield from filled(inner, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        for inner in value:
            yield from filled(inner, at)
    elif value is not None and value != "":
        yield at


def _lost(where: Where, feed: str, mapper: Mapper, documents: Mapping[str, Any], held: Paths) -> Paths:
    """The fields that what *documents* replace had, and none of them has. *held* are those that are withheld of others
    of the feed: they are lost however few records lose them."""
    ids = list(documents)
    values = {**where.key, "feed": feed, "entity": mapper.entity}
    sample = _records(where, {**values, "ids": ids[:: max(1, len(ids) // _SAMPLE)]}, "stored")
    usual = _usual(sample.values())
    if len(sample) < MANY:
        usual &= _usual(others := _records(where, {**values, "most": _SAMPLE}, "stored of feed").values())
        least = FEW if len(others) > len(sample) else min(FEW, 2)
    else:
        least = FEW
    usual = frozenset(path for path in usual if _is_within(path, targets_of(mapper)))
    here: set[str] = set()
    for document in documents.values():
        if usual <= here:
            return frozenset()
        here.update(filled(document))
    lost = frozenset(_shortest(path, here) for path in usual - here)
    return lost if len(sample) >= least else lost & held


def _usual(records: Iterable[Any]) -> Paths:
    """The paths that at least 95 % of *records* have filled."""
    counts: Counter[str] = Counter()
    number = 0
    for record in records:
        number += 1
        counts.update(set(filled(record)))
    return frozenset(path for path, times in counts.items() if times >= FILLED * number)


def _is_within(path: str, targets: Paths) -> bool:
    return any(above in targets for above in _above(path))


def _above(path: str) -> Iterator[str]:
    """*path* and the paths that it lies within, the shortest first."""
    steps = path.split(".")
    return (".".join(steps[:number]) for number in range(1, len(steps) + 1))


def _shortest(path: str, here: set[str]) -> str:
    """The shortest path above *path* of which nothing is *here*."""
    return next(above for above in _above(path) if not _holds(here, above))


def _holds(paths: Iterable[str], above: str) -> bool:
    return any(path == above or path.startswith(f"{above}.") for path in paths)


def _restored(
    where: Where, feed: str, entity: str, documents: Mapping[str, Any], wanted: Mapping[str, Paths]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Put what was there back into *documents*, where it lacks a wanted field; give each id with its fields. What is
    put back is the whole of the record's field, with all that lies within it."""
    lacking = {}
    for source_id, fields in wanted.items():
        here = set(filled(documents[source_id])) if fields else set()
        if missing := [field for field in sorted(fields) if not _holds(here, field)]:
            lacking[source_id] = missing
    if not lacking:
        return
    values = {**where.key, "feed": feed, "entity": entity, "ids": list(lacking)}
    for source_id, stored in _records(where, values, "stored").items():
        there = set(filled(stored))
        lost = tuple(field for field in lacking[source_id] if _holds(there, field))
        for top in {field.partition(".")[0] for field in lost}:
            _put_back(documents[source_id], stored, top, lost)
        if lost:
            yield source_id, lost


def _put_back(document: dict[str, Any], stored: Mapping[str, Any], top: str, fields: Sequence[str]) -> None:
    if top == "extra":  # a table of facts that have nothing to do with one another
        names = {field.split(".")[1] for field in fields if field.startswith("extra.")} or set(stored[top])
        document[top] = {**document.get(top, {}), **{name: stored[top][name] for name in names if name in stored[top]}}
    else:
        document[top] = stored[top]


def _records(where: Where, values: Mapping[str, Any], section: str) -> dict[str, Any]:
    rows = where.conn.execute(_statement(section), values)
    return {row.source_id: _parsed(row.record.encode()) for row in rows}


def _parsed(record: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = exactly(record, orjson.loads(record))
    return parsed


def _held(where: Where) -> dict[str, Paths]:
    """The fields that are withheld of some record, by feed."""
    rows = where.conn.execute(_statement("withheld fields"), where.key)
    return {row.feed: frozenset(row.fields) for row in rows}


def _before(where: Where, rows: Sequence[Row]) -> dict[tuple[str, str], Paths]:
    names = {"feed": [row.feed for row in rows], "source_id": [row.source_id for row in rows]}
    found = where.conn.execute(_statement("withheld before"), {**where.key, **names})
    return {(row.feed, row.source_id): frozenset(row.fields) for row in found}


def _write(where: Where, before: Mapping[tuple[str, str], Paths], kept: Mapping[tuple[str, str], Row]) -> None:
    """Bring ``medmirror.withheld`` to what is *kept* of the batch."""
    if ended := sorted(set(before) - set(kept)):
        feeds, ids = map(list, zip(*ended, strict=True))
        where.conn.execute(_statement("end withheld"), {**where.key, "feed": feeds, "source_id": ids})
    if kept:
        values = [
            {**where.key, "feed": feed, "source_id": source_id, "fields": list(row.withheld), "run_id": where.run_id}
            for (feed, source_id), row in sorted(kept.items())
        ]
        where.conn.execute(_statement("withhold"), values)
