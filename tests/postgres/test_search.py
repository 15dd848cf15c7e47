"""What a search finds, who may search, and what holds it up: nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine

import medmirror
import mirrors
from medmirror import search
from medmirror.db import connect
from medmirror.errors import StoreError, UsageError
from medmirror.verify.audit import audit

_RARE = "zucchini"


def article(
    pmid: int, title: str = "A title", abstract: str = "", rest: str = "", ids: str = "", more: str = ""
) -> str:
    abstract = f"<Abstract><AbstractText>{abstract}</AbstractText></Abstract>" if abstract else ""
    return (
        f"<PubmedArticle><MedlineCitation><PMID>{pmid}</PMID><Article><ArticleTitle>{title}</ArticleTitle>{abstract}"
        f"{rest}</Article>{more}</MedlineCitation><PubmedData><ArticleIdList>{ids}</ArticleIdList></PubmedData>"
        "</PubmedArticle>"
    )


def load(dsn: str, path: Path, *articles: str) -> None:
    path.write_text(f"<PubmedArticleSet>{''.join(articles)}</PubmedArticleSet>")
    assert medmirror.load("pubmed", path, dsn=dsn, workers=1).rejected == 0


def found(engine: Engine, query: str) -> list[int]:
    return [hit.key[0] for hit in search.search(engine, query, source="pubmed")]


def test_a_citation_is_found_by_all_that_names_it(engine: Engine, dsn: str, tmp_path: Path) -> None:
    names = "<Author><CollectiveName>Nightshade Study Group</CollectiveName></Author>"
    names += "<Author><LastName>Jones</LastName></Author>"
    rest = f"<AuthorList>{names}</AuthorList><VernacularTitle>Die Wirkung</VernacularTitle>"
    rest = rest.replace("<VernacularTitle>", "<PublicationTypeList><PublicationType>Twin Study</PublicationType>"
                        "</PublicationTypeList><VernacularTitle>")  # fmt: skip
    ids = '<ArticleId IdType="doi">10.1000/ABC(1)\'x</ArticleId><ArticleId IdType="pmc">PMC77</ArticleId>'
    chemical = "<ChemicalList><Chemical><NameOfSubstance>Zidovudine</NameOfSubstance></Chemical></ChemicalList>"
    other = "<OtherAbstract Language='spa'><AbstractText>El efecto\ndel calabacín</AbstractText></OtherAbstract>"
    load(
        dsn,
        tmp_path / "a.xml",
        article(13, "Müller cells in H<sub>2</sub>O", "C<sub>max</sub> of 10<sup>6</sup>", rest, ids, chemical + other),
        *(article(pmid, "13 and 13", f"13 {_RARE}") for pmid in range(20, 45)),
    )
    for query in ("PMC77", "pmc77", "10.1000/abc(1)'x", "doi:10.1000/ABC(1)'x", "https://doi.org/10.1000/ABC(1)'x"):
        assert found(engine, query) == [13], query
    assert found(engine, "13")[0] == 13
    assert found(engine, "PMID: 13")[0] == 13
    for query in ("Wirkung", '"study group"', "Jones", "Zidovudine", '"twin study"', "efecto", "calabacin", "calabacín",
                  "Muller", "Müller", "MÜLLER", "H2O", "H₂O", "Cmax", "C_max", "10^6", "10⁶"):  # fmt: skip
        assert found(engine, query) == [13], query
    assert len(found(engine, f"{_RARE} -zidovudine")) == 20
    assert found(engine, "106") == []


@pytest.mark.parametrize("query", ["the", "of and the", "", " ", "!?", '""'])
def test_a_query_without_a_word_says_so(engine: Engine, query: str) -> None:
    with pytest.raises(UsageError, match="no word"):
        search.search(engine, query)


def words(count: int) -> str:
    return " ".join(f"w{n:x}q" for n in range(count))


def test_a_very_long_record_is_found_by_its_first_part(engine: Engine, dsn: str, tmp_path: Path) -> None:
    long = article(2, "Endless", f"{_RARE} {words(110_000)}")
    load(dsn, tmp_path / "a.xml", article(1, "findme"), long, article(3, "findme too"))
    assert search.refresh(engine, ["pubmed"]) == 3
    assert found(engine, "findme") == [1, 3]
    assert found(engine, "endless") == found(engine, _RARE) == [2]
    assert search.refresh(engine, ["pubmed"]) == 0


def test_a_record_that_is_refused_is_isolated_counted_and_holds_up_nothing(
    engine: Engine, dsn: str, tmp_path: Path
) -> None:
    load(dsn, tmp_path / "a.xml", *(article(pmid, f"findme {pmid}") for pmid in range(1, 8)))
    mirrors.run(  # whatever it is that Postgres cannot do
        dsn,
        "CREATE OR REPLACE FUNCTION medmirror.search_vector(words text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN IF words LIKE '%findme 3%' OR words LIKE '%findme 5%' AND length(words) > 20 THEN"
        " RAISE program_limit_exceeded; END IF; RETURN to_tsvector('english', words); END $$",
    )
    mirrors.run(dsn, "UPDATE pubmed.citation SET abstract = 'findme 5 and very much more' WHERE pmid = 5")
    assert search.refresh(engine, ["pubmed"]) == 7
    assert sorted(found(engine, "findme")) == [1, 2, 4, 6, 7]
    assert search.flaws(engine, ["pubmed"]) == {"nothing": 2}
    assert mirrors.every(dsn, "SELECT key, sqlstate FROM medmirror.search_flaw ORDER BY key") == [
        ("[3, 1]", "54000"),
        ("[5, 1]", "54000"),
    ]
    assert search.refresh(engine, ["pubmed"]) == 0  # it is not tried at each search
    load(dsn, tmp_path / "b.xml", article(3, "mended"))
    assert search.refresh(engine, ["pubmed"]) == 1
    assert found(engine, "mended") == [3]
    assert search.flaws(engine, ["pubmed"]) == {"nothing": 1}


def test_a_feed_that_fails_does_not_hold_up_the_others(engine: Engine, dsn: str, tmp_path: Path) -> None:
    load(dsn, tmp_path / "a.xml", article(1, "findme"))
    mirrors.run(dsn, "ALTER TABLE clinicaltrials.study_fact RENAME TO hidden")
    try:
        assert [hit.key[0] for hit in search.search(engine, "findme")] == [1]
    finally:
        mirrors.run(dsn, "ALTER TABLE clinicaltrials.hidden RENAME TO study_fact")


def test_vectors_of_an_older_form_are_made_anew_in_pieces_and_a_large_index_says_so(
    engine: Engine, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in (("_TOGETHER", 2), ("_PAGE", 3), ("_FEW", 4)):
        monkeypatch.setattr(f"medmirror.search.vectors.{name}", value)
    load(dsn, tmp_path / "a.xml", *(article(pmid, "findme") for pmid in range(1, 8)))
    assert search.refresh(engine, ["pubmed"]) == 7
    mirrors.run(dsn, "UPDATE pubmed.citation_search SET digest = substring(digest FOR 16), document = 'old:1'")
    mirrors.run(dsn, "UPDATE medmirror.search SET layout = NULL")
    load(dsn, tmp_path / "b.xml", article(8, "findme"))
    with caplog.at_level(logging.WARNING):
        assert found(engine, "findme") == [8]  # a search does not make a large index anew
    assert "pubmed.citation is not wholly made in the form of this version" in caplog.text
    assert len(found(engine, "old")) == 7  # and what was there is still found
    assert search.refresh(engine, ["pubmed"]) == 7
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert len(found(engine, "findme")) == 8
    assert caplog.text == ""
    assert search.refresh(engine, ["pubmed"]) == 0


@pytest.fixture
def reader(dsn: str) -> Iterator[Engine]:
    """An engine of somebody who may only read."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE test_search_reader LOGIN IN ROLE medmirror_reader")
        made = connect.engine(make_conninfo(dsn, user="test_search_reader"))
        yield made
        made.dispose()
        connection.execute("DROP ROLE test_search_reader")


def test_a_reader_searches_what_the_owner_has_indexed(
    engine: Engine, reader: Engine, dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(dsn, tmp_path / "a.xml", article(1, "findme"))
    with pytest.raises(StoreError, match="no search index yet"):
        search.search(reader, "findme")
    search.refresh(engine, ["pubmed"])
    assert [hit.key[0] for hit in search.search(reader, "findme")] == [1]
    assert "no search index yet of clinicaltrials, openfda" in caplog.text
    mirrors.run(dsn, "REVOKE SELECT ON pubmed.citation_search FROM medmirror_reader")  # as an earlier version left it
    search.refresh(engine, ["pubmed"])
    assert found(reader, "findme") == [1]


def test_an_audit_by_a_reader_is_refused_in_one_sentence(engine: Engine, reader: Engine) -> None:
    assert audit(engine).findings == []
    with pytest.raises(UsageError, match="owner"):
        audit(reader)
