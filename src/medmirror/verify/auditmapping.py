"""The audit of what organisations' records mean.

Every stored record must be noted in sync_mapping; every canonical record must be there, be what its hash says and
belong to a stored record; walls must be up; references should lead to a record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection, text

from medmirror import sources
from medmirror.db import sql
from medmirror.mapping import canonical_hash
from medmirror.sources.base import Feed, Source
from medmirror.verify.findings import AuditReport, Check, Finding

_NAMED = ("medmirror.sync_mapping", "medmirror.withheld", "medmirror.reject", "medmirror.match",
          "medmirror.match_decision", "medmirror.match_seen", "medmirror.match_model")  # fmt: skip
_FETCH = 2_000  # records in memory at a time
_REFERENCES = 50_000  # looked up at a time

_MAP = "medmirror map"
_MAP_ALL = "Map them again: medmirror map --all, with the mapping files that `load` is given."


def check(conn: Connection, report: AuditReport) -> None:
    """Add to *report* what is wrong with the mapping and its walls. Reads only."""
    tenants = [source for source in map(sources.get, sources.names()) if source.tenant]
    _walls(conn, tenants, report)
    for source in tenants:
        for feed in source.feeds:
            if not feed.deletions:
                _noted(conn, source, feed, report)
    _canonical(conn, report)
    _meanings(conn, report)
    for row in conn.execute(_statement("nothing made")):
        what = f"{row.records:,} living records of which the mapper makes nothing"
        advice = "medmirror mapping check says whether it is right; their state is unmapped."
        report.warnings.append(Finding("mapped", f"{row.source}.{row.feed}", what, advice))


def _walls(conn: Connection, tenants: list[Source], report: AuditReport) -> None:
    values = {"schemas": [*(source.name for source in tenants), "canonical"], "named": list(_NAMED)}
    bare = conn.execute(_statement("unwalled"), values).all()
    what = "organisations' tables are walled off"
    report.checks.append(Check(what, conn.execute(_statement("size: walled"), values).scalar_one(), len(bare)))
    for row in bare:
        if row.view:
            wrong, advice = "it asks with its owner's rights", f"SELECT medmirror.show_safely('{row.name}')."
        else:
            wrong, advice = (
                "row-level security is off, or not as it was made",
                f"SELECT medmirror.wall_off('{row.name}').",
            )
        report.findings.append(Finding(what, row.name, wrong, advice))


def _noted(conn: Connection, source: Source, feed: Feed, report: AuditReport) -> None:
    keys = [column.name for column in feed.key]
    names = {
        "fact": f'"{source.name}"."{feed.name}_fact"',
        "organization": f"f.{keys[0]}",
        "kind": f"f.{keys[1]}" if len(keys) == 3 else "CAST(:feed AS text)",
        "id": f"f.{keys[-1]}",
    }
    statement = text(sql.sections("audit.sql")["noted"].format(**names))
    row = conn.execute(statement, {"source": source.name, "feed": None if len(keys) == 3 else feed.name}).one()
    where = f"{source.name}.{feed.name}"
    what = f"records of {where} are noted in medmirror.sync_mapping as they are"
    report.checks.append(Check(what, row.facts, row.unnoted + row.stale + row.orphans))
    for number, wrong, advice in (
        (row.unnoted, "records are not noted there", f"{_MAP} --source {source.name}"),
        (row.stale, "records are noted with another version or content", f"{_MAP} --source {source.name}"),
        (
            row.orphans,
            "records are noted there that are not stored",
            "Something else deleted them; load their files again.",
        ),
    ):
        if number:
            report.findings.append(Finding(what, where, f"{number:,} {wrong}", advice))


def _canonical(conn: Connection, report: AuditReport) -> None:
    what = "each mapped record has its canonical record, and each of those its record"
    rows = conn.execute(_statement("canonical")).all()
    size = conn.execute(_statement("size: canonical")).scalar_one()
    report.checks.append(Check(what, size, sum(row.lost + row.orphans for row in rows)))
    for row in rows:
        for number, wrong in (
            (row.lost, "canonical records are missing"),
            (row.orphans, "canonical records belong to no record"),
        ):
            if number:
                report.findings.append(Finding(what, f"{row.source}.{row.feed}", f"{number:,} {wrong}", _MAP_ALL))


Reference = tuple[str, str, str, str, str]  # organisation, source, feed, feed and id that it leads to


def _meanings(conn: Connection, report: AuditReport) -> None:
    """Add to *report* the canonical records that their hash contradicts, and the references that lead nowhere.

    One pass; at most 2,000 records and 50,000 references are in memory.
    """
    wrong: Counter[tuple[str, str]] = Counter()
    open_ends: Counter[tuple[str, str, str]] = Counter()
    targets: Counter[Reference] = Counter()
    looked_at = 0
    options = {"stream_results": True, "yield_per": _FETCH}
    for row in conn.execute(_statement("meanings"), execution_options=options):
        looked_at += 1
        record = orjson.loads(row.record)
        if canonical_hash(record) != bytes(row.canonical_hash):
            wrong[row.source, row.feed] += 1
        targets.update((row.organization_id, row.source, row.feed, feed, key) for feed, key in references(record))
        if len(targets) > _REFERENCES:
            open_ends += _unresolved(conn, targets)
            targets.clear()
    open_ends += _unresolved(conn, targets)
    what = "each canonical record is what its hash says"
    report.checks.append(Check(what, looked_at, wrong.total()))
    for (source, feed), number in sorted(wrong.items()):
        report.findings.append(Finding(what, f"{source}.{feed}", f"{number:,} have been changed", _MAP_ALL))
    for (source, feed, target), number in sorted(open_ends.items()):
        message = f"{number:,} references to {source}.{target} lead to records that are not here"
        advice = f"Load the {target} records too, if there are any to load."
        report.warnings.append(Finding("references", f"{source}.{feed}", message, advice))


def references(value: Any) -> Iterator[tuple[str, str]]:
    """(feed, id) of every reference within *value*, a canonical record or a part of one."""
    if isinstance(value, dict):
        feed, identifier = value.get("feed"), value.get("id")
        if isinstance(feed, str) and isinstance(identifier, str):
            yield feed, identifier
        for member in value.values():
            if isinstance(member, dict | list):
                yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


def _unresolved(conn: Connection, targets: Mapping[Reference, int]) -> Counter[tuple[str, str, str]]:
    """The number of *targets* that no record ever had, by (source, feed, target feed)."""
    if not targets:
        return Counter()
    columns = ("organization", "source", "feed", "target", "id")
    values: dict[str, Any] = dict(zip(columns, map(list, zip(*targets, strict=True)), strict=True))
    rows = conn.execute(_statement("unresolved"), {**values, "times": list(targets.values())})
    return Counter({(row.source, row.feed, row.target): row.times for row in rows})


_statement = partial(sql.statement, "audit.sql")
