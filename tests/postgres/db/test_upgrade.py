"""A database of version 0.1 with records in it: the next version migrates it, reads it and loads on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

import medmirror
from medmirror.db import connect, migrate
from medmirror.settings import Settings

SECTIONS = {"core": 6, "mapping": 2, "clinicaltrials": 2, "fhir": 4, "openfda": 2, "pubmed": 2}
SECTIONS |= dict.fromkeys(("budget", "destination", "digest", "jobs", "matching", "nightly", "publishers", "queue"), 1)
SECTIONS |= dict.fromkeys(("schedule", "service", "sync", "cliniko", "csv", "sql"), 1)
"""How many sections `migrate N` each file had in 0.1.0."""

# As 0.1 stored them: the version of a citation held its place in the file, and the facts no day of revision.
STORED = """
INSERT INTO pubmed.citation (pmid, pmid_version, deleted, title, pub_date_text, date_revised) VALUES
    (1, 1, false, 'old 1', 'Winter 1999-2000', '2026-01-10'),
    (2, 1, false, 'old 2', '2020', '2026-01-10'),
    (3, 1, true, NULL, NULL, NULL);
INSERT INTO pubmed.citation_fact (pmid, pmid_version, deleted, version, run_id, digest) VALUES
    (1, 1, false, (26::bigint << 52) | (1400::bigint << 32) | 7, 1, sha256('1')),
    (2, 1, false, (26::bigint << 52) | (1400::bigint << 32) | 8, 1, sha256('2')),
    (3, 1, true, (26::bigint << 52) | (1400::bigint << 32) | 4294967295, 1, sha256(''));
INSERT INTO fhir.resource VALUES
    ('org_1', 'Patient', 'p', false, '{"resourceType": "Patient", "id": "p"}', '9', '2026-05-01T00:00:00Z');
INSERT INTO fhir.resource_fact VALUES ('org_1', 'Patient', 'p', false, 1777593600000000, 1, sha256('9'));
"""


@pytest.fixture
def old(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The DSN of a database that 0.1 has made and filled."""
    everything = migrate.declared()
    with monkeypatch.context() as patch:
        sections = tuple(section for section in everything if section.number <= SECTIONS.get(section.source, 0))
        assert len(sections) == sum(SECTIONS.values())
        patch.setattr(migrate, "declared", lambda: sections)
        engine = connect.engine(empty_dsn)
        migrate.migrate(engine)
        engine.dispose()
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("SELECT set_config('medmirror.organization', '*', true)")
        connection.execute(STORED)
    return empty_dsn


def article(pmid: int, title: str, day: int) -> str:
    revised = f"<DateRevised><Year>2026</Year><Month>01</Month><Day>{day}</Day></DateRevised>"
    inner = f'<PMID Version="1">{pmid}</PMID>{revised}<Article><ArticleTitle>{title}</ArticleTitle></Article>'
    return f"<PubmedArticle><MedlineCitation>{inner}</MedlineCitation></PubmedArticle>"


def test_what_an_earlier_version_stored_is_kept_and_loaded_on(old: str, tmp_path: Path) -> None:
    settings = replace(Settings.from_environment(environ={}), dsn=old, workers=1)
    fetched = tmp_path / "efetch.xml"
    articles = [article(1, "same day", 10), article(2, "fetched 2", 11), article(3, "fetched 3", 11)]
    fetched.write_text(f"<PubmedArticleSet>{''.join(articles)}</PubmedArticleSet>")
    result = medmirror.load("pubmed", [fetched], settings=settings)
    assert (result.updated, result.duplicate, result.exit_code) == (1, 2, 0)
    corrected = tmp_path / "pubmed26n1400.xml"
    corrected.write_text(
        f"<PubmedArticleSet>{article(1, 'corrected 1', 10)}{article(2, 'old 2', 10)}</PubmedArticleSet>"
    )
    assert medmirror.load("pubmed", [corrected], settings=settings).updated == 1
    patients = tmp_path / "patients.ndjson"
    line = (
        '{"resourceType": "Patient", "id": "p", "meta": {"versionId": "%s", "lastUpdated": "2026-05-01T00:00:00Z"}}\n'
    )
    patients.write_text(line % 10)
    assert medmirror.load("fhir", [patients], organization="org_1", settings=settings).updated == 1
    with psycopg.connect(old) as connection:
        connection.execute("SELECT set_config('medmirror.organization', '*', true)")
        titles = connection.execute("SELECT pmid, title FROM pubmed.citation ORDER BY pmid").fetchall()
        version = connection.execute("SELECT version FROM fhir.resource").fetchone()
    assert titles == [(1, "corrected 1"), (2, "fetched 2"), (3, None)]
    assert version == ("10",)


def test_the_year_of_an_older_row_is_read_from_its_words(old: str) -> None:
    engine = connect.engine(old)
    migrate.migrate(engine)
    engine.dispose()
    with psycopg.connect(old) as connection:
        years = connection.execute("SELECT pmid, pub_year FROM pubmed.article ORDER BY pmid").fetchall()
    assert years == [(1, 1999), (2, 2020)]
