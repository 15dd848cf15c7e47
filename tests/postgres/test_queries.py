"""The queries of docs/queries.md, as they stand there, on generated data that hangs together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier, Literal

import medmirror
import places
from medmirror_testing.samples import write_openfda, write_pubmed, write_studies
from medmirror_testing.samples.text import article_of, nct_id

DOCUMENT = places.ROOT / "docs" / "queries.md"
TRIAL = 7

Connection = psycopg.Connection[dict[str, Any]]


class Query(NamedTuple):
    title: str
    words: str  # what the document says above it
    statement: str


def queries() -> dict[str, Query]:
    """Every SQL block of the document by its heading."""
    made = {}
    for section in re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, rest = section.partition("\n")
        words, block, statement = rest.rpartition("```sql\n")  # one that makes an index or view may stand before
        assert block, f"no SQL under {title!r}"
        made[title] = Query(title, words, statement.partition("```")[0].strip().rstrip(";"))
    return made


QUERIES = queries()

# What a user asks with; a value that is a query is asked of the data first.
ASKED: dict[str, dict[str, str]] = {
    "The publications of a trial": {"trial": nct_id(TRIAL)},
    "The trials of a publication": {"pmid": str(article_of(TRIAL))},
    "A drug's products, labels and applications": {
        "ingredient": "SELECT unnest(active_ingredients) FROM openfda.drug"
        " WHERE set_id IS NOT NULL AND sponsor_name IS NOT NULL"
    },
    "The newest labels of an ingredient, with their boxed warnings": {
        "ingredient": "SELECT unnest(substance_name) FROM openfda.label"
    },
    "What is reported after a drug": {
        "ingredient": "SELECT unnest(substance_name) FROM openfda.event WHERE reactions IS NOT NULL"
    },
    "A subject over the years": {"heading": "SELECT descriptor_ui FROM pubmed.mesh_heading"},
    "Trials near a place": {
        "condition": "SELECT s.conditions[1] FROM clinicaltrials.study AS s"
        " JOIN clinicaltrials.location AS l USING (nct_id)"
        " WHERE s.overall_status = 'RECRUITING' AND l.latitude IS NOT NULL",
        "lat": "48.2",
        "lon": "16.37",
        "km": "20100",
    },
    "What an article cites": {"pmid": "SELECT pmid FROM pubmed.reference"},
    "What cites an article": {"pmid": "SELECT cited_pmid FROM pubmed.reference WHERE cited_pmid IS NOT NULL"},
    "Search, with filters": {"words": "patients -protein", "since": "1990-01-01"},
}  # fmt: skip

WHOLE_TABLE = {"A subject over the years", "What cites an article"}  # and the document says so


@pytest.fixture(scope="module")
def connection(
    server: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection to a database with generated articles, trials and drugs."""
    name = f"medmirror_test_{os.getpid()}_queries"
    folder = tmp_path_factory.mktemp("queries")
    write_pubmed(folder / "pubmed26n0001.xml", 1_500)
    write_studies(folder / "ctg-studies.json", 300, big=False)
    for endpoint in ("label", "ndc", "drugsfda", "event"):
        write_openfda(folder / f"drug-{endpoint}-0001-of-0001.json", endpoint, 300)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
    dsn = make_conninfo(server, dbname=name)
    try:
        result = medmirror.load(None, folder, dsn=dsn, workers=2, index=True)
        assert result.rejected == 0
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as made:
            made.execute("VACUUM ANALYZE")
            yield made
    finally:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


def filled(connection: Connection, title: str) -> str:
    """The statement with its variables filled in as psql does it."""
    values = {}
    for name, value in ASKED[title].items():
        if value.startswith("SELECT "):
            statement = f"SELECT value, count(*) FROM ({value}) AS one(value) GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1"  # noqa: S608
            row = connection.execute(statement).fetchone()
            assert row is not None, f"the generated data has nothing to ask {title!r} of"
            value = str(row["value"])
        values[name] = Literal(value).as_string(connection)
    return re.sub(r":'(\w+)'", lambda found: values[found[1]], QUERIES[title].statement)


def ask(connection: Connection, title: str) -> list[dict[str, Any]]:
    return connection.execute(filled(connection, title)).fetchall()


def test_every_query_of_the_document_is_tried() -> None:
    assert set(QUERIES) == set(ASKED)


@pytest.mark.parametrize("title", QUERIES)
def test_query_finds_something(connection: Connection, title: str) -> None:
    assert ask(connection, title)


def test_publications_of_a_trial_are_found_from_both_sides(connection: Connection) -> None:
    rows = {row["pmid"]: row["how"] for row in ask(connection, "The publications of a trial")}
    assert "the article names the trial" in rows[article_of(TRIAL)]
    named = connection.execute(
        "SELECT pmid FROM clinicaltrials.reference JOIN pubmed.article USING (pmid) WHERE nct_id = %s", [nct_id(TRIAL)]
    ).fetchall()
    for row in named:
        assert "the trial names the article" in rows[row["pmid"]]


def test_trials_of_a_publication_lead_back(connection: Connection) -> None:
    assert nct_id(TRIAL) in {row["nct_id"] for row in ask(connection, "The trials of a publication")}


def test_drug_has_product_label_and_application(connection: Connection) -> None:
    rows = ask(connection, "A drug's products, labels and applications")
    assert any(row["product_ndc"] and row["set_id"] and row["sponsor_name"] for row in rows)
    rows = ask(connection, "The newest labels of an ingredient, with their boxed warnings")
    days = [row["effective_time"] for row in rows if row["effective_time"]]
    assert days == sorted(days, reverse=True)


def test_near_trials_come_nearest_first_and_once(connection: Connection) -> None:
    rows = ask(connection, "Trials near a place")
    distances = [row["km"] for row in rows]
    assert distances == sorted(distances)
    assert all(0 <= km <= 20_100 for km in distances)
    assert len({row["nct_id"] for row in rows}) == len(rows)


def test_citing_articles_are_those_whose_references_name_it(connection: Connection) -> None:
    statement = filled(connection, "What cites an article")
    found = re.search(r"'value', '(\d+)'", statement)
    assert found
    wanted = connection.execute(
        "SELECT DISTINCT pmid FROM pubmed.reference JOIN pubmed.article USING (pmid, pmid_version)"
        " WHERE cited_pmid = %s",
        [int(found[1])],
    ).fetchall()
    rows = ask(connection, "What cites an article")
    assert {row["pmid"] for row in rows} == {row["pmid"] for row in wanted}


@pytest.mark.parametrize("title", [title for title in QUERIES if title not in WHOLE_TABLE])
def test_selective_query_needs_no_whole_table(connection: Connection, title: str) -> None:
    """An index can serve every table. These tables are small, so that Postgres must be kept from just reading them."""
    with connection.transaction():
        for way in ("seqscan", "hashjoin", "mergejoin"):
            connection.execute(f"SET LOCAL enable_{way} = off")
        row = connection.execute(f"EXPLAIN (FORMAT JSON) {filled(connection, title)}").fetchone()
    assert row
    whole = [
        f"{node['Node Type']} {node['Relation Name']}"
        for node in _nodes(row["QUERY PLAN"][0]["Plan"])
        if "Relation Name" in node
        and (
            node["Node Type"] == "Seq Scan"
            or (node["Node Type"] in ("Index Scan", "Index Only Scan") and "Index Cond" not in node)
        )
    ]
    assert whole == []


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


@pytest.mark.parametrize("title", sorted(WHOLE_TABLE))
def test_document_says_which_queries_read_a_whole_table(title: str) -> None:
    assert "reads the whole table" in QUERIES[title].words


def test_indexes_that_the_document_names_exist(connection: Connection) -> None:
    names = {row["indexname"] for row in connection.execute("SELECT indexname FROM pg_indexes")}
    for query in QUERIES.values():
        stated = re.search(r"\*Index\*:\s(.*)", query.words, flags=re.DOTALL)
        named = set(re.findall(r"`(\w+)`", stated[1])) if stated else set()
        assert named <= names, query.title
        assert stated or query.title in WHOLE_TABLE


def test_reference_view_is_expected_to_be_small(connection: Connection) -> None:
    """The planner's guess decides whether a join with the view reads whole tables."""
    row = connection.execute("EXPLAIN (FORMAT JSON) SELECT * FROM pubmed.reference WHERE pmid = 40000001").fetchone()
    assert row
    assert row["QUERY PLAN"][0]["Plan"]["Plan Rows"] <= 10_000
