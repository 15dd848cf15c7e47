"""``medmirror diff``: what differs is found, all of it, and hardly anything else is read."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

import medmirror
from medmirror.cli import cli
from medmirror.db import connect
from medmirror.settings import Settings
from medmirror.verify.diff import _merged, _Row, diff
from medmirror_testing import samples
from medmirror_testing.samples.people import person
from mirrors import run

STUDY = "clinicaltrials.study"
MANY = 100_000

WHO = person(7).family
SHELF = f"""
    CREATE SCHEMA shelf;
    CREATE TABLE shelf.thing_fact (organization_id text, id text, digest bytea, deleted bool,
                                   PRIMARY KEY (organization_id, id));
    SELECT medmirror.keep_digest('shelf.thing_fact');
    INSERT INTO shelf.thing_fact SELECT o, '{WHO} ' || n, '', false
    FROM unnest('{{a, b, c}}'::text[]) AS o, generate_series(1, 200) AS n;
"""  # noqa: S608


class Pair(NamedTuple):
    """Two mirrors."""

    a: str
    b: str
    engines: tuple[Engine, Engine]


@pytest.fixture
def pair(database: Callable[[], AbstractContextManager[str]]) -> Iterator[Pair]:
    with database() as a, database() as b:
        engines = (connect.engine(a), connect.engine(b))
        yield Pair(a, b, engines)
        for engine in engines:
            engine.dispose()


def fill(dsn: str, numbers: range | list[int], text: str = "a") -> None:
    """Write facts of studies, as a loader would; a number that is there gets the new content."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO clinicaltrials.study_fact (nct_id, deleted, version, run_id, digest)"
            " SELECT 'NCT' || lpad(n::text, 8, '0'), false, 1, 1, sha256(%s::bytea) FROM unnest(%s::int[]) AS n"
            " ON CONFLICT (nct_id) DO UPDATE SET digest = excluded.digest",
            [text, list(numbers)],
        )


def names(numbers: list[int]) -> set[tuple[str, ...]]:
    return {(f"NCT{number:08}",) for number in numbers}


def command(*args: str) -> Result:
    return CliRunner().invoke(cli, ["diff", *args])


def test_mirrors_loaded_in_other_orders_are_the_same_without_a_look_at_their_rows(pair: Pair, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(3)]
    for number, path in enumerate(files):
        samples.write_studies(path, 4, big=False, first=4 * number)
    for dsn, some, size in ((pair.a, files, "16KiB"), (pair.b, files[::-1], "100KiB")):
        for path in some:
            settings = Settings.from_environment({}, dsn=dsn, workers=1, chunk_bytes=size)
            medmirror.load("clinicaltrials", path, settings=settings)
    found = diff(*pair.engines)
    assert (found.tables, found.buckets, found.rows) == ([], 0, 0)
    assert STUDY in found.same
    result = command(pair.a, pair.b)
    assert (result.exit_code, "hold the same" in result.output) == (0, True)


def test_a_few_keys_among_many_are_found_and_few_rows_are_read(pair: Pair) -> None:
    fill(pair.a, range(MANY))
    fill(pair.b, range(MANY))
    fill(pair.b, [7, 8, 15_000], "b")
    fill(pair.a, [MANY + 1])
    run(pair.b, "DELETE FROM clinicaltrials.study_fact WHERE nct_id IN ('NCT00000100', 'NCT00000101')")
    (table,) = (found := diff(*pair.engines)).tables
    assert (table.table, table.only_a, table.only_b, table.content) == (STUDY, 3, 0, 3)
    assert (table.a.rows, table.b.rows, table.wrong) == (MANY + 1, MANY - 2, [])
    assert {one.key for one in table.examples if one.kind == "content"} == names([7, 8, 15_000])
    assert {one.key for one in table.examples if one.kind == "only_a"} == names([100, 101, MANY + 1])
    assert found.rows < MANY / 20
    assert diff(*pair.engines[::-1]).tables[0].only_b == 3


def test_differences_are_exactly_those_of_the_two_sets(pair: Pair) -> None:
    chance = random.Random(3)
    for round_ in range(6):
        sides = [{chance.randrange(300): chance.choice("xy") for _ in range(chance.choice((0, 20, 300)))} for _ in "ab"]
        for dsn, side in zip((pair.a, pair.b), sides, strict=True):
            run(dsn, "TRUNCATE clinicaltrials.study_fact")
            for text in "xy":
                fill(dsn, [number for number, one in side.items() if one == text], text)
        found = diff(*pair.engines, examples=1_000)
        one, other = sides
        expected = {
            "only_a": names([n for n in one if n not in other]),
            "only_b": names([n for n in other if n not in one]),
            "content": names([n for n in one if n in other and one[n] != other[n]]),
        }
        examples = found.tables[0].examples if found.tables else []
        told = {kind: {example.key for example in examples if example.kind == kind} for kind in expected}
        assert told == expected, round_
        assert not found.tables or [getattr(found.tables[0], kind) for kind in expected] == [
            len(keys) for keys in expected.values()
        ]


def test_what_one_side_lacks_altogether_is_counted_but_not_read(pair: Pair) -> None:
    fill(pair.a, range(MANY))
    (table,) = (found := diff(*pair.engines, examples=5)).tables
    assert (table.only_a, table.only_b, table.content, len(table.examples)) == (MANY, 0, 0, 5)
    assert found.rows < MANY / 20


def test_versions_and_runs_are_no_difference(pair: Pair) -> None:
    for dsn in (pair.a, pair.b):
        fill(dsn, range(50))
    run(pair.b, "UPDATE clinicaltrials.study_fact SET version = 99, run_id = 99")
    assert diff(*pair.engines).tables == []


def test_only_the_organisations_that_differ_are_read(pair: Pair) -> None:
    for dsn in (pair.a, pair.b):
        run(dsn, SHELF)
    run(pair.b, "UPDATE shelf.thing_fact SET deleted = true WHERE organization_id = 'b'")
    (table,) = diff(*pair.engines).tables
    assert (table.content, table.a.rows) == (200, 200)
    assert diff(*pair.engines, organization="a").tables == []
    assert diff(*pair.engines, organization="b").tables[0].content == 200


def without_one(pair: Pair) -> None:
    """Two mirrors with organisations' records, of which B lacks one."""
    for dsn in (pair.a, pair.b):
        run(dsn, SHELF)
    run(pair.b, "DELETE FROM shelf.thing_fact WHERE id LIKE '% 7'")


def test_keys_of_organisations_records_are_not_shown(pair: Pair) -> None:
    without_one(pair)
    hidden = command(pair.a, pair.b)
    assert hidden.exit_code == 3
    assert "only in A: key digest" in hidden.output
    assert WHO not in hidden.output + command("--json", pair.a, pair.b).output


@pytest.mark.shows_values("diff --show-keys")
def test_keys_of_organisations_records_are_shown_when_asked_for(pair: Pair) -> None:
    without_one(pair)
    assert command("--show-keys", pair.a, pair.b).output.count(f"{WHO} 7\n") == 3


def test_a_thorough_look_finds_what_no_trigger_saw(pair: Pair) -> None:
    for dsn in (pair.a, pair.b):
        fill(dsn, range(100))
    run(pair.b, "SET session_replication_role = replica; UPDATE clinicaltrials.study_fact SET deleted = true"
                " WHERE nct_id = 'NCT00000001'")  # fmt: skip
    assert diff(*pair.engines).tables == []
    (table,) = diff(*pair.engines, thorough=True).tables
    assert (table.content, table.wrong) == (1, ["B"])
    result = command("--thorough", pair.a, pair.b)
    assert "medmirror audit" in result.output


def test_a_wrong_digest_is_told_apart_from_a_wrong_table(pair: Pair) -> None:
    for dsn in (pair.a, pair.b):
        fill(dsn, range(100))
    run(pair.a, "UPDATE medmirror.set_delta SET sum = sum + 1")
    (table,) = diff(*pair.engines).tables
    assert (table.only_a, table.only_b, table.content, table.wrong) == (0, 0, 0, ["A"])


def test_the_command_tells_counts_keys_and_cost(pair: Pair) -> None:
    fill(pair.a, range(100))
    fill(pair.b, range(2, 100))
    result = command("--limit", "1", pair.a, pair.b)
    assert result.exit_code == 3
    assert "only in A: NCT0000000" in result.output
    assert "and 1 more" in result.output
    document = json.loads(command("--json", pair.a, pair.b).output)
    assert [table["only_a"] for table in document["tables"]] == [2]
    assert json.loads(CliRunner().invoke(cli, ["--dsn", pair.a, "--json", "diff", pair.b]).output)["rows"] > 0


def test_a_mirror_of_an_older_version_is_refused_and_left_as_it_is(pair: Pair, empty_dsn: str) -> None:
    result = command(pair.a, empty_dsn)
    assert (result.exit_code, "older medmirror" in result.stderr) == (1, True)
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("SELECT to_regnamespace('medmirror')").fetchone() == (None,)


def test_three_databases_are_too_many(pair: Pair) -> None:
    assert command(pair.a, pair.b, pair.a).exit_code == 2


def test_keys_of_one_hash_are_told_apart() -> None:
    a = [_Row(1, 5, ("x",)), _Row(1, 6, ("y",)), _Row(2, 7, ("z",))]
    b = [_Row(1, 6, ("y",)), _Row(1, 8, ("w",)), _Row(2, 9, ("z",))]
    assert [(kind, row.key) for kind, row in _merged([a, b])] == [
        ("only_b", ("w",)),
        ("only_a", ("x",)),
        ("content", ("z",)),
    ]
