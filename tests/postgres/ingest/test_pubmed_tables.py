"""What the tables of PubMed hold beside the columns of the records: long values, older rows, views."""

from __future__ import annotations

from pathlib import Path

import psycopg

import medmirror
import mirrors
from medmirror_testing.samples import write_pubmed
from medmirror_testing.samples.text import FIRST_PMID

_LONG = "10.1000/" + "".join(f"{n:x}-" for n in range(3_000))


def _load(dsn: str, path: Path, **options: bool) -> medmirror.LoadResult:
    return medmirror.load("pubmed", path, dsn=dsn, workers=1, **options)  # type: ignore[arg-type]


def _article(pmid: int, doi: str, title: str) -> str:
    return (
        f"<PubmedArticle><MedlineCitation><PMID>{pmid}</PMID><Article><Journal><JournalIssue><PubDate><MedlineDate>Fall"
        f" 2016</MedlineDate></PubDate></JournalIssue></Journal><ArticleTitle>{title}</ArticleTitle><ELocationID"
        f' EIdType="doi">{doi}</ELocationID></Article></MedlineCitation></PubmedArticle>'
    )


def test_no_doi_is_too_long_to_be_stored_and_found_by_index(dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "long.xml"
    path.write_text(f"<PubmedArticleSet>{_article(1, _LONG, 'a')}{_article(2, '10.1/x', 'b')}</PubmedArticleSet>")
    assert _load(dsn, path).rejected == 0
    assert mirrors.one(dsn, "SELECT pmid FROM pubmed.citation WHERE doi = %s", _LONG) == (1,)
    with psycopg.connect(dsn) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = connection.execute("EXPLAIN SELECT pmid FROM pubmed.citation WHERE doi = '10.1/x'").fetchall()
    assert "citation_doi" in str(plan)


def test_rows_of_earlier_versions_have_their_year_in_the_view_and_are_renewed_on_demand(
    dsn: str, tmp_path: Path
) -> None:
    path = tmp_path / "old.xml"
    title = "10<sup>6</sup> cells"
    path.write_text(f"<PubmedArticleSet>{_article(1, '10.1/x', title)}</PubmedArticleSet>")
    _load(dsn, path)
    row = "SELECT title, title_markup, pub_date::text, pub_year FROM pubmed.citation"
    new = ("10⁶ cells", title, "2016-01-01", 2016)
    assert mirrors.one(dsn, row) == new
    mirrors.run(
        dsn,
        "UPDATE pubmed.citation SET title = '106 cells', title_markup = NULL, pub_date = NULL, pub_year = NULL",
    )
    assert mirrors.one(dsn, "SELECT pub_year FROM pubmed.article") == (2016,)
    mirrors.books_are_right(dsn)
    assert _load(dsn, path, force=True).unchanged == 1
    assert mirrors.one(dsn, row)[0] == "106 cells"
    assert _load(dsn, path, renew=True).unchanged == 1
    assert mirrors.one(dsn, row) == new
    mirrors.run(dsn, "UPDATE pubmed.citation SET title = '106 cells'")
    mirrors.run(dsn, "UPDATE pubmed.citation_fact SET version = version + 1")  # it was ordered otherwise then
    assert _load(dsn, path, renew=True).duplicate == 1
    assert mirrors.one(dsn, row) == new
    mirrors.books_are_right(dsn)


def test_a_tombstone_is_not_renewed_and_a_newer_copy_stays(dsn: str, tmp_path: Path) -> None:
    first = write_pubmed(tmp_path / "a", 5, number=1, first_pmid=FIRST_PMID).path
    second = write_pubmed(tmp_path / "b", 0, number=2, revisions=[FIRST_PMID + 1], deletes=[FIRST_PMID + 2]).path
    _load(dsn, first)
    _load(dsn, second)
    before = mirrors.contents(dsn)
    _load(dsn, first, renew=True)
    mirrors.same(dsn, before)
