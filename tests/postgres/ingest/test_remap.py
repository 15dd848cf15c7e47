"""``medmirror map``: after an edit only what it touches is written, and it comes to what a load would have made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

import feedfiles
import medmirror
import mirrors
from medmirror import RemapResult, remap, sources
from medmirror.cli import cli
from medmirror.db.digests import SetDigest
from medmirror.errors import UsageError
from medmirror.settings import Settings
from medmirror_testing.samples import write_cliniko_page
from mirrors import books_are_right

PATIENTS, APPOINTMENTS, DELETED = 40, 30, 6

EDITED = """
[[mapper]]
source = "cliniko"
feed = "patient"
entity = "patient"
[mapper.fields]
"names[official].use" = { value = "USUAL" }
"""

SHEET = """
[file]
kind = "patient"
key = ["number"]

[[mapper]]
source = "csv"
feed = "patient"
entity = "patient"
[mapper.fields]
"names[official].family" = "surname"
[mapper.drop]
number = "it is the key"
"""


@pytest.fixture
def settings(dsn: str) -> Settings:
    """Settings on this test's database, one worker."""
    return replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """A mapping file of the user's own."""
    path = tmp_path / "own.toml"
    path.write_text(EDITED, encoding="utf-8")
    return path


@pytest.fixture
def pages(tmp_path: Path) -> list[Path]:
    """Pages of patients, appointments and deleted patients."""
    counts = {"patient": PATIENTS, "appointment": APPOINTMENTS, "deletion": DELETED}
    return [write_cliniko_page(tmp_path / f"{feed}.json", feed, count) for feed, count in counts.items()]


def load(settings: Settings, pages: list[Path], organization: str = "org_1", **how: Any) -> None:
    assert medmirror.load("cliniko", pages, organization=organization, settings=settings, **how).status == "done"


def digests(settings: Settings) -> dict[str, SetDigest]:
    """What the mapping has written, as two numbers a table."""
    found = mirrors.digests(settings.dsn_text)
    return {name: one for name, one in found.items() if name.startswith(("canonical.", "medmirror."))}


def ask(settings: Settings, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.dsn_text, autocommit=True) as connection:
        connection.execute("SET medmirror.organization = '*'")
        cursor = connection.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []


def touched(settings: Settings, feed: str) -> list[tuple[Any, ...]]:
    """Which transaction wrote each row that says what a feed's records mean."""
    canonical = "SELECT source_id, xmin::text FROM canonical.record WHERE feed = %s ORDER BY 1"
    mapped = "SELECT source_id, xmin::text FROM medmirror.sync_mapping WHERE feed = %s ORDER BY 1"
    return ask(settings, canonical, feed) + ask(settings, mapped, feed)


def counts(result: RemapResult) -> dict[str, tuple[int, int, int]]:
    return {name: (one.records, one.mapped, one.unchanged) for name, one in result.feeds.items() if any(one)}


def test_after_a_load_there_is_nothing_to_map(settings: Settings, pages: list[Path]) -> None:
    load(settings, pages)
    before = digests(settings)
    result = remap(settings=settings)
    assert (result.status, counts(result)) == ("done", {})
    assert digests(settings) == before


def test_an_edited_mapper_maps_its_own_feed_anew_and_comes_to_what_a_load_makes(
    settings: Settings, pages: list[Path], edited: Path, database: Callable[[], AbstractContextManager[str]]
) -> None:
    load(settings, pages)
    others = touched(settings, "appointment")
    result = remap(mapping=edited, settings=settings)
    assert counts(result) == {"cliniko.patient": (PATIENTS, PATIENTS, 0)}
    assert touched(settings, "appointment") == others
    assert ask(settings, "SELECT DISTINCT record #>> '{names, 0, use, code}' FROM canonical.patient") == [("USUAL",)]
    with database() as fresh:
        anew = replace(settings, dsn=fresh)
        load(anew, pages, mapping=edited)
        assert digests(settings) == digests(anew)
    assert counts(remap(mapping=edited, settings=settings)) == {}
    books_are_right(settings.dsn_text)


def test_straight_after_a_load_postgres_counts_what_is_to_be_read(settings: Settings, pages: list[Path]) -> None:
    """Without it each page of records would be looked for in all of them."""
    load(settings, pages)
    unknown = "SELECT count(*) FROM pg_class WHERE reltuples < 0 AND oid = ANY (CAST(%s AS regclass[]))"
    tables = ["cliniko.patient", "cliniko.patient_fact", "medmirror.sync_mapping", "canonical.patient_record"]
    assert ask(settings, unknown, tables) == [(len(tables),)]
    remap(settings=settings)
    assert ask(settings, unknown, tables) == [(0,)]


def test_without_the_users_file_its_mappings_are_undone(settings: Settings, pages: list[Path], edited: Path) -> None:
    load(settings, pages)
    before = digests(settings)
    remap(mapping=edited, settings=settings)
    assert digests(settings) != before
    remap(settings=settings)
    assert digests(settings) == before


def test_a_lambda_maps_anew_and_the_same_one_once_only(settings: Settings, pages: list[Path]) -> None:
    load(settings, pages)
    shouting = {("cliniko", "patient"): lambda document, record: {**record, "occupation": "SHOUTED"}}
    assert counts(remap(map_with=shouting, settings=settings)) == {"cliniko.patient": (PATIENTS, PATIENTS, 0)}
    assert ask(settings, "SELECT DISTINCT record ->> 'occupation' FROM canonical.patient") == [("SHOUTED",)]
    assert counts(remap(map_with=shouting, settings=settings)) == {}


def test_where_the_meaning_is_the_same_only_the_mapper_is_noted(settings: Settings, pages: list[Path]) -> None:
    load(settings, pages)
    mapped = "SELECT source_id, mapped_at, run_id FROM medmirror.sync_mapping WHERE feed = 'patient' ORDER BY 1"
    records = "SELECT source_id, xmin::text FROM canonical.record WHERE feed = 'patient' ORDER BY 1"
    before = ask(settings, records), ask(settings, mapped), digests(settings)
    same = {("cliniko", "patient"): lambda document, record: record}
    assert counts(remap(map_with=same, settings=settings)) == {"cliniko.patient": (PATIENTS, 0, PATIENTS)}
    assert (ask(settings, records), ask(settings, mapped), digests(settings)) == before
    assert counts(remap(map_with=same, settings=settings)) == {}


def test_a_function_that_fails_is_told_of_and_costs_no_record(settings: Settings, pages: list[Path]) -> None:
    load(settings, pages)
    before = digests(settings)
    result = remap(map_with={("cliniko", "patient"): lambda document, record: record["not there"]}, settings=settings)
    assert result.problems == {"cliniko.patient:  function_failed": PATIENTS}
    assert digests(settings) == before


def test_records_from_before_the_mapping_are_mapped_and_so_are_deletions(settings: Settings, pages: list[Path]) -> None:
    load(settings, pages)
    before = digests(settings)
    states = "SELECT feed, source_id, state, tombstone, deleted_version FROM medmirror.sync_mapping ORDER BY 1, 2"
    held = ask(settings, states)
    ask(settings, "DELETE FROM canonical.record")
    ask(settings, "DELETE FROM medmirror.sync_mapping")
    result = remap(settings=settings)
    assert result.counts.deletions == DELETED
    assert (digests(settings), ask(settings, states)) == (before, held)
    assert [row for row in held if row[2] == "deleted"] != []
    assert counts(remap(settings=settings)) == {}


@pytest.mark.parametrize("feed", [one for one in feedfiles.feeds() if sources.get(one[0]).tenant], ids=".".join)
def test_mapping_what_is_stored_comes_to_what_loading_made(
    feed: feedfiles.Feed, settings: Settings, tmp_path: Path
) -> None:
    options = feedfiles.options(tmp_path, [feed])
    for path in feedfiles.generations(tmp_path, feed, records=30)[:2]:
        medmirror.load(feed[0], path, settings=settings, **options)
    states = (
        "SELECT feed, source_id, entity, version, source_hash, canonical_hash, mapping_digest, state, tombstone,"
        " deleted_version FROM medmirror.sync_mapping ORDER BY 1, 2"
    )
    before, held = digests(settings), ask(settings, states)
    assert remap(mapping=options["mapping"], settings=settings).counts.records == 0
    ask(settings, "DELETE FROM canonical.record")
    ask(settings, "DELETE FROM medmirror.sync_mapping")
    remap(mapping=options["mapping"], settings=settings)
    assert held != []
    assert ask(settings, states) == held
    assert digests(settings) == before
    books_are_right(settings.dsn_text)


def test_only_what_was_asked_for_is_touched(settings: Settings, pages: list[Path], edited: Path) -> None:
    load(settings, pages)
    load(settings, [pages[0]], organization="org_2")
    last = ask(settings, "SELECT max(run_id) FROM medmirror.run WHERE command = 'load'")[0][0]
    assert counts(remap(mapping=edited, source="fhir", settings=settings)) == {}
    assert counts(remap(mapping=edited, organization="org_3", settings=settings)) == {}
    second = remap(mapping=edited, since=last, settings=settings)
    assert counts(second) == {"cliniko.patient": (PATIENTS, PATIENTS, 0)}
    whose = "SELECT DISTINCT organization_id FROM medmirror.sync_mapping WHERE run_id = %s"
    assert ask(settings, whose, second.run_id) == [("org_2",)]
    assert remap(mapping=edited, organization="org_1", settings=settings).counts.mapped == PATIENTS


def test_everything_may_be_asked_for(settings: Settings, pages: list[Path]) -> None:
    load(settings, pages)
    before = digests(settings)
    ask(settings, """UPDATE canonical.record SET record = '{"spoilt": true}' WHERE feed = 'patient'""")
    assert counts(remap(settings=settings)) == {}
    assert remap(everything=True, settings=settings).counts.mapped == PATIENTS + APPOINTMENTS
    assert digests(settings) == before


def test_what_a_whole_pass_missed_stays_missing(settings: Settings, pages: list[Path], edited: Path) -> None:
    load(settings, pages)
    ask(settings, "UPDATE medmirror.sync_mapping SET missing = 1 WHERE feed = 'patient'")
    remap(mapping=edited, settings=settings)
    assert ask(settings, "SELECT DISTINCT missing FROM medmirror.sync_mapping WHERE feed = 'patient'") == [(1,)]


def test_where_no_mapper_is_left_records_keep_what_they_mean(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "sheet.toml").write_text(SHEET, encoding="utf-8")
    (tmp_path / "patient.csv").write_text("number,surname\n1,Zqa\n2,Zqb\n", encoding="utf-8")
    medmirror.load(
        "csv", tmp_path / "patient.csv", organization="org_1", mapping=tmp_path / "sheet.toml", settings=settings
    )
    before = digests(settings)
    assert before["canonical.patient"].rows == 2
    result = remap(settings=settings)
    assert (result.counts.left, result.counts.mapped) == (2, 0)
    assert digests(settings) == before
    assert remap(mapping=tmp_path / "sheet.toml", settings=settings).counts.left == 0


def test_two_at_once_come_to_the_same_as_one(settings: Settings, pages: list[Path], edited: Path) -> None:
    load(settings, pages)
    together = Barrier(2)
    results: list[RemapResult] = []

    def work() -> None:
        together.wait()
        results.append(remap(mapping=edited, settings=settings))

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.status for one in results] == ["done", "done"]
    found = digests(settings)
    remap(settings=settings)
    remap(mapping=edited, settings=settings)
    assert digests(settings) == found


def test_wrong_arguments_are_told_of_before_anything_begins(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[[mapper]]\nsource = 1", encoding="utf-8")
    with pytest.raises(UsageError, match="public"):
        remap(source="pubmed", settings=settings)
    with pytest.raises(UsageError):
        remap(mapping=tmp_path / "wrong.toml", settings=settings)
    with pytest.raises(UsageError, match="cannot be read"):
        remap(mapping=tmp_path / "none.toml", settings=settings)
    assert ask(settings, "SELECT count(*) FROM medmirror.run") == [(0,)]


def test_the_command_tells_what_it_did(settings: Settings, pages: list[Path], edited: Path) -> None:
    load(settings, pages)
    command = ["--dsn", settings.dsn_text, "map", "--workers", "1"]
    done = CliRunner().invoke(cli, [*command, "--mapping", str(edited)])
    assert (done.exit_code, done.exception, f"{PATIENTS} mapped anew" in done.output) == (0, None, True)
    again = CliRunner().invoke(cli, [*command, "--mapping", str(edited)])
    assert again.output == "Everything is mapped as it should be.\n"
    assert ask(settings, "SELECT status FROM medmirror.run WHERE command = 'map' ORDER BY run_id") == [("done",)] * 2
