"""The audit of the books: each record read is accounted for once, and the tables hold what the ledger says.

Reads only, in one snapshot, so it may run while something is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, text

from medmirror import sources
from medmirror.db import digests, sql
from medmirror.errors import UsageError
from medmirror.sources.base import Feed
from medmirror.verify import auditmapping
from medmirror.verify.findings import AuditReport, Check, Finding

_MOST = 20  # findings of each check that are reported
_HEADER = 64 << 10  # bytes that may stand before a file's first record
_BETWEEN = 1 << 10  # and between two blocks of records


def audit(engine: Engine) -> AuditReport:
    """The report of checking the ledger against itself and against the tables.

    All checks read one snapshot and change nothing.

    Raises
    ------
    UsageError
        The user is not the tables' owner.

    Parameters
    ----------
    engine
        An engine on the mirror, as the tables' owner.
    """
    report = AuditReport()
    with engine.connect() as connection:
        conn = connection.execution_options(isolation_level="REPEATABLE READ")
        if not conn.execute(text(_statements()["owner"])).scalar_one():
            raise UsageError("Only the tables' owner can audit: others do not see all records and books.")
        for check in _BOOKS:
            _book(conn, check, report)
        _unframed(conn, report)
        for name in sources.names():
            _source(conn, name, report)
        for relation in digests.relations(conn):
            _digest(conn, relation, report)
        auditmapping.check(conn, report)
    return report


class _Book(NamedTuple):
    """A check of the ledger: its section in audit.sql, what it counts, and how a wrong row is described.

    *describe* gives (where, what is wrong, advice).
    """

    section: str
    size: str
    what: str
    describe: Callable[[Row[Any]], tuple[str, str, str]]


_RELOAD = "Load it again: medmirror load --force {}"


def _place(row: Row[Any]) -> str:
    return f"{row.path}, member {row.member}" if row.member else str(row.path)


def _chunk(row: Row[Any]) -> tuple[str, str, str]:
    what = f"bytes {row.start_byte} to {row.end_byte}, run {row.run_id}: {row.read} read, {row.accounted} accounted for"
    return _place(row), what, _RELOAD.format(row.path)


def _run(row: Row[Any]) -> tuple[str, str, str]:
    what = f"it said {row.said} {row.name}, its chunks hold {row.held}"
    return f"run {row.run_id}", what, f"Compare `medmirror runs show {row.run_id}`; load its files again with --force."


def _twice(row: Row[Any]) -> tuple[str, str, str]:
    what = f"run {row.run_id} counted bytes {row.start_byte} to {row.reached} twice"
    return _place(row), what, "The tables are right, the counts of that run are too high."


def _hole(row: Row[Any]) -> tuple[str, str, str]:
    what = f"no run loaded bytes {row.start_byte} to {row.end_byte}, though the file is called done"
    return _place(row), what, _RELOAD.format(row.path)


def _reject(row: Row[Any]) -> tuple[str, str, str]:
    what = f"{row.counted} failures were counted, {row.kept} are kept as rejects"
    return str(row.path), what, _RELOAD.format(row.path)


def _open(row: Row[Any]) -> tuple[str, str, str]:
    what = "it is open though a later run read it" if row.open else "it is closed though no later run read it"
    return (
        f"reject {row.reject_id} of {row.path}",
        what,
        f"medmirror rejects show {row.reject_id}, then load the file again.",
    )


_BOOKS = (
    _Book("chunks", "chunks", "what was read of a chunk is accounted for", _chunk),
    _Book("runs", "runs", "a run's counts are those of its chunks", _run),
    _Book("twice", "chunks", "no run read the same bytes twice", _twice),
    _Book("holes", "files", "a loaded file has no bytes left out", _hole),
    _Book("rejects", "files", "every failure is kept as a reject", _reject),
    _Book("open rejects", "rejects", "a reject is open until its bytes are loaded", _open),
)


@cache
def _statements() -> Mapping[str, str]:
    return sql.sections("audit.sql")


def _book(conn: Connection, book: _Book, report: AuditReport) -> None:
    limits = {"most": _MOST, "header": _HEADER, "between": _BETWEEN}
    statement = text(_statements()[book.section])
    rows = conn.execute(statement, {name: limits[name] for name in statement.compile().params}).all()
    size = conn.execute(text(_statements()[f"size: {book.size}"])).scalar_one()
    report.checks.append(Check(book.what, size, rows[0].wrong if rows else 0))
    report.findings.extend(Finding(book.what, *book.describe(row)) for row in rows)


def _unframed(conn: Connection, report: AuditReport) -> None:
    """Warn of pages of which an earlier version did not note the frame: nothing is known of bytes behind a record."""
    if pages := conn.execute(text(_statements()["unframed"])).scalar_one():
        what = f"{pages:,} pages were stored by a version that did not note what stands around their records"
        advice = "Nothing says that they are wrong. medmirror sync ORG --force-full reads every record once more."
        report.warnings.append(Finding("pages", "medmirror.file", what, advice))


def _source(conn: Connection, name: str, report: AuditReport) -> None:
    """Check the tables of a source's feeds against each other, and all of them together against the ledger."""
    total = 0
    for feed in sources.get(name).feeds:
        names = _names(name, feed)
        total += (size := conn.execute(text(_statements()["size: feed"].format(**names))).scalar_one())
        row = conn.execute(text(_statements()["feed"].format(**names))).one()
        what = f"{name}.{feed.name} agrees with its facts"
        disagreements = list(_disagreements(name, feed, row))
        report.checks.append(Check(what, size, row.only_fact + row.only_wide + row.flags))
        report.findings.extend(Finding(what, f"{name}.{feed.name}", *disagreement) for disagreement in disagreements)
    created = conn.execute(text(_statements()["created"]), {"source": name}).scalar_one()
    what = f"{name} holds as many keys as its chunks made"
    report.checks.append(Check(what, total, abs(total - created)))
    if total != created:
        advice = "Rows were added or removed by something else than medmirror; load the files again with --force."
        report.findings.append(Finding(what, name, f"{total} keys are there, {created} were made", advice))


def _digest(conn: Connection, relation: digests.Relation, report: AuditReport) -> None:
    """Check the set digests that are kept of a table against its rows."""
    kept = digests.by_relation(conn, relation.relation)
    counted = digests.recount(conn, relation.relation)
    wrong = [name for name in sorted(kept.keys() | counted.keys()) if kept.get(name) != counted.get(name)]
    what = f"the digest kept of {relation.relation} is that of its rows"
    report.checks.append(Check(what, digests.total(counted.values()).rows, len(wrong)))
    advice = (
        "Its triggers did not see something that was written. When the rows are as they should be:"
        f" SELECT medmirror.rebook_digest('{relation.relation}')."
    )
    for name, organization in wrong[:_MOST]:
        where = f"{name} of organisation {organization}" if organization else name
        report.findings.append(Finding(what, where, "what was booked and what is there differ", advice))


def _names(source: str, feed: Feed) -> dict[str, str]:
    keys = ", ".join(column.name for column in feed.key)
    return {"wide": f'"{source}"."{feed.name}"', "fact": f'"{source}"."{feed.name}_fact"', "keys": keys}


def _disagreements(source: str, feed: Feed, row: Row[Any]) -> Iterator[tuple[str, str]]:
    fact = f"{source}.{feed.name}_fact"
    if row.only_fact:
        advice = (
            f"Rows were deleted by something else: delete their rows in {fact}, too, and load the files with --force."
        )
        yield f"{row.only_fact} keys are only in {fact}", advice
    if row.only_wide:
        yield f"{row.only_wide} keys are missing from {fact}", "Delete those rows and load the files with --force."
    if row.flags:
        advice = f"Delete those keys in {fact} and load the files with --force."
        yield f"{row.flags} keys are deleted in one and not in the other", advice
