"""The tables and views of PubMed, compared field by field with a reading of the same files by the standard library."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import catalogue
import psycopg
import pubmed_reading
import pubmed_views
import pytest
import tokens
from psycopg.rows import dict_row
from pubmed_reading import Copy, Key, Values

from medmirror.ingest.run import LoadResult

pytestmark = catalogue.SHARED

TOGETHER = 500

Connection = psycopg.Connection[dict[str, Any]]


class Read(NamedTuple):
    """A citation as the file has it."""

    copy: Copy
    values: Values
    said: Counter[str] | None  # its texts and attributes; None where only the columns are compared


class Difference(NamedTuple):
    file: str
    key: Key
    what: str
    expected: Any
    found: Any


@dataclass
class Findings:
    """What one pass over all files found. Of a key with several copies, all but the newest are left out at the end.

    Every column of every citation is compared; for the sake of time views and lost texts only in each tenth citation of
    the file of 30,000.
    """

    compared: int = 0
    columns: list[Difference] = field(default_factory=list)
    views: list[Difference] = field(default_factory=list)
    lost: list[Difference] = field(default_factory=list)
    copies: defaultdict[Key, list[Copy]] = field(default_factory=lambda: defaultdict(list))

    def newest(self) -> dict[Key, Copy]:
        return {key: max(some, key=_order) if len(some) > 1 else some[0] for key, some in self.copies.items()}

    def settle(self) -> None:
        """Forget what was found of copies that are not the newest."""
        newest = self.newest()
        for some in (self.columns, self.views, self.lost):
            some[:] = [one for one in some if newest[one.key].path.name == one.file and not newest[one.key].deleted]


def _order(copy: Copy) -> tuple[int, ...]:
    """What makes one copy newer than another: the year and number of its file, deletions last, then its place."""
    found = re.search(r"pubmed(\d\d)n(\d{4})", copy.path.name)
    assert found, f"{copy.path.name} has a PMID that another file has too, but no number: say here which one is newer"
    return int(found[1]), int(found[2]), copy.deleted, copy.place


@pytest.fixture(scope="module")
def findings(pubmed: tuple[str, LoadResult]) -> Findings:
    made = Findings()
    with psycopg.connect(pubmed[0], row_factory=dict_row) as connection:
        for path in catalogue.loading("pubmed"):
            waiting: list[Read] = []
            for copy in pubmed_reading.copies(path):
                made.copies[copy.key].append(copy._replace(element=None))
                if copy.element is not None:
                    whole = path.stat().st_size < 2_000_000 or copy.place % 10 == 0
                    said = tokens.read(copy.element) if whole else None
                    waiting.append(Read(copy, pubmed_reading.article(copy.element), said))
                if len(waiting) == TOGETHER:
                    _compare(connection, waiting, made)
                    waiting = []
            _compare(connection, waiting, made)
    made.settle()
    return made


def _compare(connection: Connection, waiting: list[Read], made: Findings) -> None:
    pmids = [read.copy.key[0] for read in waiting]
    rows = {
        (row["pmid"], row["pmid_version"]): row
        for row in connection.execute("SELECT * FROM pubmed.citation WHERE pmid = ANY(%s)", [pmids])
    }
    some = [read.copy.key[0] for read in waiting if read.said is not None]
    views = {name: _view(connection, name, columns, some) for name, (columns, _) in pubmed_views.COLUMNS.items()}
    for copy, values, said in waiting:
        made.compared += 1
        file, key = copy.path.name, copy.key
        row = rows.get(key)
        if row is None:
            made.columns.append(Difference(file, key, "the row", values["title"], None))
            continue
        assert set(row) == {"pmid", "pmid_version", *values}, "docs/pubmed-columns.md, the table, or pubmed_reading.py"
        made.columns += [
            Difference(file, key, name, value, row[name])
            for name, value in values.items()
            if value != row[name] or type(value) is not type(row[name])
        ]
        if said is None:
            continue
        if lost := tokens.missing(said, row):
            made.lost.append(Difference(file, key, "text or attribute", dict(lost), None))
        for name, (_, read_view) in pubmed_views.COLUMNS.items():
            wanted, found = list(read_view(values)), views[name].get(key, [])
            if sorted(wanted, key=repr) != sorted(found, key=repr):
                made.views.append(Difference(file, key, name, wanted, found))


def _view(connection: Connection, name: str, columns: str, pmids: list[int]) -> dict[Key, list[tuple[Any, ...]]]:
    made: defaultdict[Key, list[tuple[Any, ...]]] = defaultdict(list)
    statement = f"SELECT pmid, pmid_version, {columns} FROM pubmed.{name} WHERE pmid = ANY(%s)"  # noqa: S608
    for row in connection.execute(statement, [pmids]):
        pmid, version, *values = row.values()
        made[pmid, version].append(tuple(values))
    return made


def _summary(differences: list[Difference]) -> str:
    """How many differences of each kind, and the first few in full."""
    if not differences:
        return ""
    counts = Counter(one.what for one in differences)
    shown = "\n".join(
        f"{one.file} {one.key} {one.what}\n  expected {one.expected!r:.600}\n  found    {one.found!r:.600}"
        for one in differences[:10]
    )
    return f"{dict(counts)}\n{shown}"


def test_every_column_of_every_citation_is_what_the_file_says(findings: Findings) -> None:
    assert _summary(findings.columns) == ""
    assert findings.compared == 31_144


def test_every_view_has_what_the_file_says(findings: Findings) -> None:
    assert _summary(findings.views) == ""


def test_no_text_and_no_attribute_of_a_file_is_lost(findings: Findings) -> None:
    assert _summary(findings.lost) == ""


def test_table_has_no_other_rows_than_the_files(findings: Findings, pubmed: tuple[str, LoadResult]) -> None:
    newest = findings.newest()
    with psycopg.connect(pubmed[0]) as connection:
        rows = {
            (pmid, version): deleted
            for pmid, version, deleted in connection.execute("SELECT pmid, pmid_version, deleted FROM pubmed.citation")
        }
    assert rows == {key: copy.deleted for key, copy in newest.items()}


def test_a_deleted_citation_keeps_nothing_but_its_key(pubmed: tuple[str, LoadResult]) -> None:
    with psycopg.connect(pubmed[0], row_factory=dict_row) as connection:
        for row in connection.execute("SELECT * FROM pubmed.citation WHERE deleted"):
            assert {name for name, value in row.items() if value is not None} == {"pmid", "pmid_version", "deleted"}


def test_article_has_the_newest_living_version_of_each_pmid(findings: Findings, pubmed: tuple[str, LoadResult]) -> None:
    wanted: dict[int, int] = {}
    for (pmid, version), copy in findings.newest().items():
        if not copy.deleted:
            wanted[pmid] = max(version, wanted.get(pmid, 0))
    with psycopg.connect(pubmed[0]) as connection:
        found = connection.execute("SELECT pmid, pmid_version FROM pubmed.article").fetchall()
        equal = connection.execute(
            "SELECT count(*) FROM pubmed.article AS a JOIN pubmed.citation AS c USING (pmid, pmid_version)"
            " WHERE a.* IS NOT DISTINCT FROM c.*"
        ).fetchone()
    assert sorted(found) == sorted(wanted.items())
    assert equal == (len(found),)
