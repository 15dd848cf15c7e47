"""Which of two copies holds where the time alone does not say it: whatever order chunks and files come in."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from sqlalchemy import Engine

import medmirror
import mirrors
from medmirror import sources
from medmirror.db import runs
from medmirror.ingest import rejects, worker
from medmirror.ingest.chunk import process
from medmirror.ingest.inputs import Inputs
from medmirror.settings import Settings

DAY = "2026-05-01T00:00:00Z"
NO_TIME = '[file]\nkind = "patient"\nkey = ["Id"]\n'
TIMES = """[file]
kind = "patient"
key = ["Id"]
updated = "Changed"
deleted = {column = "State", values = ["gone"]}
"""


@pytest.fixture
def settings(dsn: str) -> Iterator[Settings]:
    """Settings on this test's database, a chunk a record or two, two workers."""
    yield replace(Settings.from_environment(environ={}), dsn=dsn, chunk_bytes=60, workers=2)
    worker.own_engine.cache_clear()  # a chunk was processed in this process
    gc.collect()


def rows(settings: Settings, query: str) -> list[Any]:
    """What *query* gives to one who may see all organisations."""
    with psycopg.connect(str(settings.dsn)) as connection:
        connection.execute("SELECT set_config('medmirror.organization', '*', false)")
        return [row[0] if len(row) == 1 else row for row in connection.execute(query).fetchall()]


def begin(engine: Engine) -> int:
    with engine.begin() as connection:
        return runs.begin_run(connection, command="test", source=None, host="", pid=0, version="", settings={})


def in_any_order(engine: Engine, settings: Settings, source: str, loads: Sequence[Sequence[Path]], mapping: str) -> Any:
    """Load each of *loads*, its chunks in many orders; yield after each of these."""
    given = {"organization": "org_1"} if sources.get(source).tenant else {}
    given |= {"mapping": orjson.dumps([mapping]).decode()} if mapping else {}
    for seed in range(3):
        mirrors.empty(engine)
        for paths in loads:
            run_id = begin(engine)
            inputs = Inputs(engine, settings, run_id, sources.get(source), force=True, given=given)
            chunks = list(inputs.chunks(paths))
            random.Random(seed).shuffle(chunks)
            for chunk in chunks:
                process(chunk, worker.Job(settings, run_id))
        yield seed
    mirrors.books_are_right(str(settings.dsn))


def resource(name: str, family: str, **meta: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": name, "meta": meta, "name": [{"family": family}]}


def lines(path: Path, resources: Sequence[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(item) + b"\n" for item in resources))
    return path


FAMILIES = "SELECT id, resource #>> '{name,0,family}' FROM fhir.resource ORDER BY id"


def test_of_one_moment_the_greater_version_number_holds(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    numbers = [9, 10, 2, 100, 11]
    copies = [resource("p", f"V{number}", versionId=f"{number}", lastUpdated=DAY) for number in numbers]
    later = [resource("p", "V12", versionId="12", lastUpdated=DAY)]
    loads = [[lines(tmp_path / "a.ndjson", copies)], [lines(tmp_path / "b.ndjson", later)]]
    for _ in in_any_order(engine, settings, "fhir", loads, ""):
        assert rows(settings, FAMILIES) == [("p", "V100")]


def test_without_time_and_version_the_later_line_of_the_later_file_holds(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    names = [f"p{n}" for n in range(4)]
    first = lines(tmp_path / "Patient.000.ndjson", [resource(name, "Old") for name in names])
    second = lines(tmp_path / "Patient.001.ndjson", [resource(name, f"{n}") for n in "12" for name in names])
    for loads in ([[first, second]], [[first], [second]], [[first, second], [first, second]]):
        for _ in in_any_order(engine, settings, "fhir", loads, ""):
            assert rows(settings, FAMILIES) == [(name, "2") for name in names]


def test_a_table_without_times_is_read_in_the_order_of_its_rows(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    names = "abcdef"
    path = tmp_path / "patients.csv"
    path.write_text("Id,Note\n" + "".join(f"{name},{note}\n" for note in (1, 2, 3) for name in names))
    for loads in ([[path]], [[path], [path]], [[path], [path], [path]]):
        for _ in in_any_order(engine, settings, "csv", loads, NO_TIME):
            assert set(rows(settings, "SELECT record->>'Note' FROM csv.record")) == {"3"}


def entry(name: str, method: str, time: str, **more: Any) -> dict[str, Any]:
    request = {"method": method, "url": f"Patient/{name}"}
    return {"fullUrl": f"https://ehr.example.org/Patient/{name}", "request": request, **more} | {
        "response": {"status": "200", "lastModified": time, **more.get("response", {})}
    }


def test_a_deletion_at_the_moment_of_the_last_change_holds(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    def made(name: str, version: str) -> dict[str, Any]:
        return entry(name, "PUT", DAY, resource=resource(name, "x", versionId=version, lastUpdated=DAY))

    entries = [
        entry("gone", "DELETE", DAY),
        made("gone", "2"),
        made("again", "4"),
        entry("again", "DELETE", DAY, response={"etag": 'W/"3"'}),
        entry("for good", "DELETE", DAY, response={"etag": 'W/"10"'}),
        made("for good", "9"),
    ]
    paths = []
    for number, item in enumerate(entries):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_bytes(orjson.dumps({"resourceType": "Bundle", "type": "history", "entry": [item]}))
    state = "SELECT id, deleted FROM fhir.resource ORDER BY id"
    for loads in ([paths], [[path] for path in paths], [[path] for path in reversed(paths)]):
        for _ in in_any_order(engine, settings, "fhir", loads, ""):
            assert rows(settings, state) == [("again", False), ("for good", True), ("gone", True)]


def test_a_deleted_row_at_the_time_of_a_living_one_holds(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    living, gone = "1,active,2026-05-01 09:30\n", "1,gone,2026-05-01 09:30\n"
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, text in zip(paths, (gone + living, living), strict=True):
        path.write_text("Id,State,Changed\n" + text)
    for loads in ([paths], [[paths[0]], [paths[1]]], [[paths[1]], [paths[0]]]):
        for _ in in_any_order(engine, settings, "csv", loads, TIMES):
            assert rows(settings, "SELECT id, deleted FROM csv.record") == [("1", True)]


def article(pmid: int, title: str, day: int = 10) -> str:
    revised = f"<DateRevised><Year>2026</Year><Month>01</Month><Day>{day:02d}</Day></DateRevised>"
    inner = f'<PMID Version="1">{pmid}</PMID>{revised}<Article><ArticleTitle>{title}</ArticleTitle></Article>'
    return f"<PubmedArticle><MedlineCitation>{inner}</MedlineCitation></PubmedArticle>"


def citations(path: Path, *parts: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"<PubmedArticleSet>{''.join(parts)}</PubmedArticleSet>")
    return path


TITLES = "SELECT pmid, CASE WHEN deleted THEN '-' ELSE title END FROM pubmed.citation ORDER BY pmid"


def test_a_corrected_file_under_its_old_name_counts_wherever_a_citation_stands(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    first = citations(tmp_path / "1" / "pubmed26n1400.xml", *(article(n, f"first {n}") for n in range(1, 5)))
    deletion = "<DeleteCitation><PMID>1</PMID></DeleteCitation>"
    again = [article(n, f"again {n}") for n in (4, 2)]
    second = citations(tmp_path / "2" / "pubmed26n1400.xml", *again, deletion)
    next_file = citations(tmp_path / "1" / "pubmed26n1401.xml", article(2, "next 2"))
    for loads in ([[first], [second], [next_file]], [[next_file], [first], [second]], [[first], [next_file, second]]):
        for _ in in_any_order(engine, settings, "pubmed", loads, ""):
            assert rows(settings, TITLES) == [(1, "-"), (2, "next 2"), (3, "first 3"), (4, "again 4")]


def test_the_day_of_revision_decides_between_a_fetched_citation_and_one_of_a_file(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    file = citations(tmp_path / "1" / "pubmed26n1380.xml", *(article(n, "file", 10) for n in (1, 2, 3)))
    fetched = [citations(tmp_path / f"{n}.xml", article(n, "fetched", day)) for n, day in ((1, 9), (2, 10), (3, 18))]
    later = citations(tmp_path / "1" / "pubmed26n1385.xml", article(3, "later", 19))
    expected = [(1, "file"), (2, "file"), (3, "fetched")]
    for loads in ([[file], fetched], [fetched, [file]], [[*fetched, file]]):
        for _ in in_any_order(engine, settings, "pubmed", loads, ""):
            assert rows(settings, TITLES) == expected
    for loads in ([[file], fetched, [later]], [[later], fetched, [file]], [[*fetched, file, later]]):
        for _ in in_any_order(engine, settings, "pubmed", loads, ""):
            assert rows(settings, TITLES) == [*expected[:2], (3, "later")]


def test_a_rejected_row_that_is_tried_again_is_none_the_newer_for_it(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    """The table refuses the older copy; a newer file brings the newer one; then the older one is tried again."""
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(NO_TIME)
    for name, note in (("may.csv", "old"), ("june.csv", "new")):
        (tmp_path / name).write_text(f"Id,Note\n1,{note}\n2,{note}\n")

    def load(name: str) -> medmirror.LoadResult:
        return medmirror.load("csv", [tmp_path / name], organization="org_1", mapping=mapping, settings=settings)

    mirrors.run(str(settings.dsn), "ALTER TABLE csv.record ADD CONSTRAINT calm CHECK (record->>'Note' <> 'old')")
    assert load("may.csv").rejected == 2
    assert load("june.csv").inserted == 2
    mirrors.run(str(settings.dsn), "ALTER TABLE csv.record DROP CONSTRAINT calm")
    assert rejects.retry(engine, settings, mappings=(NO_TIME,)).loaded == 2
    assert rows(settings, "SELECT DISTINCT record->>'Note' FROM csv.record") == ["new"]
