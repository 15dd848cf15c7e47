"""A practice's database loaded into the mirror: from SQLite, and from Postgres itself."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import orjson
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Engine, create_engine

import medmirror
import mirrors
from gates import Gate
from medmirror.ingest import worker
from medmirror.ingest.run import LoadResult
from medmirror.model import Item
from medmirror.readers.database import rows as databaserows
from medmirror.readers.database import session as database
from medmirror.readers.database import tables as databasetables
from medmirror.readers.database.tables import Table
from medmirror.settings import Settings
from medmirror.sources import sql
from medmirror_testing.samples.practice import METADATA, write_practice

VSRX = files("medmirror.mapping").joinpath("examples", "vsrx.toml").read_text(encoding="utf-8")
ROWS = 20 + 40 + 40 + 6


@pytest.fixture
def settings(dsn: str) -> Iterator[Settings]:
    """Settings on this test's database: small chunks, two workers."""
    yield replace(Settings.from_environment(environ={}), dsn=dsn, chunk_bytes=4_000, workers=2)
    worker.own_engine.cache_clear()


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "vsrx.toml"
    path.write_text(VSRX)
    return path


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """A practice of 20 patients."""
    path = tmp_path / "practice.db"
    write(path)
    return path


def write(path: Path, **options: Any) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        METADATA.drop_all(connection)
        write_practice(connection, 20, **options)
    engine.dispose()


def run(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def load(settings: Settings, clinic: Path, mapping: Path, organization: str = "org_c", **options: Any) -> LoadResult:
    return medmirror.load(
        "sql", organization=organization, mapping=mapping, url=f"sqlite:///{clinic}", settings=settings, **options
    )


def test_a_practice_is_loaded_mapped_and_certified_and_a_second_load_writes_nothing(
    settings: Settings, clinic: Path, mapping: Path
) -> None:
    dsn = str(settings.dsn)
    first = load(settings, clinic, mapping)
    assert (first.status, first.read, first.inserted, first.rejected) == ("done", ROWS, ROWS, 0)
    assert {one.kinds[0]: (one.whole, one.seen) for one in first.certificates["sql"]} == {
        "patient": (True, 20),
        "appointment": (True, 40),
        "prescription": (True, 40),
        "inventory_item": (True, 6),
    }
    before = mirrors.contents(dsn)
    assert mirrors.one(dsn, "SELECT count(*) FROM medmirror.sync_mapping WHERE state = 'active'") == (ROWS,)
    again = load(settings, clinic, mapping)
    assert (again.read, again.unchanged, again.updated, again.inserted) == (ROWS, ROWS, 0, 0)
    assert all(one.whole for one in again.certificates["sql"])
    mirrors.same(dsn, before)
    assert mirrors.one(dsn, "SELECT count(*) FROM medmirror.sync_mapping WHERE run_id > 1") == (0,)


def test_rows_are_equal_to_those_of_the_practice(settings: Settings, clinic: Path, mapping: Path) -> None:
    load(settings, clinic, mapping)
    found = dict(
        mirrors.every(str(settings.dsn), "SELECT id, record FROM sql.record WHERE kind = 'patient'")  # type: ignore[arg-type]
    )
    with sqlite3.connect(clinic) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("SELECT * FROM patients")]
    assert len(rows) == len(found)
    for row in rows:
        expected = {**row, "Balance": str(row["Balance"]), "ModifiedAt": row["ModifiedAt"].replace(" ", "T")}
        assert found[str(row["PatientID"])] == expected


def test_only_what_changed_is_written(settings: Settings, clinic: Path, mapping: Path) -> None:
    dsn = str(settings.dsn)
    load(settings, clinic, mapping)
    run(
        clinic,
        "UPDATE patients SET Notes = 'new', ModifiedAt = '2026-06-01 10:00:00.000000' WHERE PatientID = 3",
        "UPDATE patients SET Notes = 'no new time' WHERE PatientID = 4",
        "UPDATE patients SET ModifiedAt = '2026-06-01 10:00:00.000000' WHERE PatientID = 5",
        "DELETE FROM appointments WHERE AppointmentID = 2",
        "INSERT INTO inventory_items (ItemCode, Description) VALUES ('NEW', 'Bandage')",
    )
    result = load(settings, clinic, mapping)
    assert (result.updated, result.inserted, result.unchanged) == (3, 1, ROWS - 4)
    changed = "SELECT id, record ->> 'Notes' FROM sql.record WHERE kind = 'patient' AND id IN ('3', '4') ORDER BY id"
    assert mirrors.every(dsn, changed) == [("3", "new"), ("4", "no new time")]
    assert all(one.whole for one in result.certificates["sql"])
    assert mirrors.one(dsn, "SELECT count(*) FROM sql.record WHERE kind = 'appointment'") == (40,)  # nobody said so
    mirrors.books_are_right(dsn)


def test_a_row_that_says_it_is_deleted_becomes_a_tombstone_and_may_come_back(
    settings: Settings, clinic: Path, mapping: Path
) -> None:
    dsn = str(settings.dsn)
    mapping.write_text(
        VSRX.replace('key = ["PatientID"]', 'key = ["PatientID"]\ndeleted = {column = "Active", values = [0]}')
    )
    state = "SELECT deleted, record IS NULL, state FROM sql.record AS r JOIN medmirror.sync_mapping AS m"
    state += " ON (m.feed, m.source_id) = (r.kind, r.id) WHERE r.kind = 'patient' AND r.id = '3'"
    load(settings, clinic, mapping)
    run(clinic, "UPDATE patients SET Active = 0 WHERE PatientID = 3")
    assert load(settings, clinic, mapping).tombstoned == 1
    assert mirrors.one(dsn, state) == (True, True, "deleted")
    run(clinic, "UPDATE patients SET Active = 1 WHERE PatientID = 3")
    assert load(settings, clinic, mapping).updated == 1
    assert mirrors.one(dsn, state) == (False, False, "active")


def test_a_row_that_cannot_be_stored_costs_a_reject_and_the_pass_is_not_whole(
    settings: Settings, clinic: Path, mapping: Path
) -> None:
    run(clinic, "UPDATE patients SET Notes = 'a' || char(0) || 'b' WHERE PatientID = 3")
    result = load(settings, clinic, mapping)
    assert (result.rejected, result.inserted) == (1, ROWS - 1)
    (patients,) = [one for one in result.certificates["sql"] if one.kinds == ("patient",)]
    assert (patients.whole, patients.expected, patients.seen) == (False, 20, 20)
    still = "SELECT count(*) FROM medmirror.reject WHERE resolved_at IS NULL"
    assert load(settings, clinic, mapping).rejected == 1
    assert mirrors.one(str(settings.dsn), still) == (1,), "that of the pass before is out of date"
    run(clinic, "UPDATE patients SET Notes = NULL WHERE PatientID = 3")
    assert load(settings, clinic, mapping).inserted == 1
    assert mirrors.one(str(settings.dsn), still) == (0,)
    mirrors.books_are_right(str(settings.dsn))


def test_two_organisations_rows_do_not_meet(settings: Settings, clinic: Path, mapping: Path) -> None:
    load(settings, clinic, mapping)
    run(clinic, "UPDATE patients SET Notes = 'other'")
    result = load(settings, clinic, mapping, "org_d")
    assert result.inserted == ROWS
    notes = "SELECT DISTINCT organization_id, record ->> 'Notes' = 'other' FROM sql.record WHERE kind = 'patient'"
    assert sorted(mirrors.every(str(settings.dsn), notes)) == [("org_c", False), ("org_d", True)]


def test_a_table_that_is_missing_is_refused_and_the_others_are_loaded(
    settings: Settings, clinic: Path, mapping: Path
) -> None:
    run(clinic, "DROP TABLE appointments")
    result = load(settings, clinic, mapping)
    assert (result.status, result.exit_code, result.inserted) == ("rejects", 3, ROWS - 40)
    assert [one.reason for one in result.files if one.status == "refused"] == [
        "There is no table of this name. (table=appointments)"
    ]
    assert {one.kinds[0]: one.whole for one in result.certificates["sql"]} == {
        "patient": True,
        "inventory_item": True,
        "appointment": False,
        "prescription": True,
    }


def test_a_killed_load_is_taken_up_by_the_same_command(settings: Settings, clinic: Path, mapping: Path) -> None:
    dsn = str(settings.dsn)
    command = [sys.executable, "-m", "medmirror", "load", "sql", "--org", "org_c", "--mapping", str(mapping)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDMIRROR_")} | {
        "MEDMIRROR_DSN": dsn,
        "MEDMIRROR_CHUNK_BYTES": "1KiB",
        "MEDMIRROR_SOURCE_URL": f"sqlite:///{clinic}",
    }
    gate = Gate(dsn, "medmirror.chunk", 3)
    program = Popen(command, env=environment, stdout=PIPE, stderr=PIPE)
    gate.until_somebody_waits()
    os.kill(program.pid, signal.SIGKILL)
    gate.open()
    program.communicate()
    mirrors.wait_until_alone(dsn)
    (before,) = mirrors.one(dsn, "SELECT count(*) FROM sql.record")
    assert 0 < before < ROWS  # type: ignore[operator]
    program = Popen([*command, "--json"], env=environment, stdout=PIPE, stderr=PIPE)
    out, err = program.communicate(timeout=mirrors.PATIENCE)
    assert program.returncode == 0, err
    told = orjson.loads(out)
    assert (told["read"], told["inserted"], told["unchanged"]) == (ROWS, ROWS - before, before)  # type: ignore[operator]
    assert all(one["whole"] for one in told["certificates"]["sql"])
    mirrors.books_are_right(dsn)


def test_the_password_stands_nowhere(
    settings: Settings, dsn: str, mapping: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = conninfo_to_dict(dsn)
    url = URL.create(
        "postgresql",
        str(parts.get("user")),
        "tiger-lion",
        database=str(parts["dbname"]),
        query={"host": str(parts["host"]), "port": str(parts.get("port", 5432))},
    )
    shown = url.render_as_string(hide_password=False)
    result = medmirror.load("sql", organization="o", mapping=mapping, url=shown, settings=settings)
    assert {one.status for one in result.files} == {"refused"}
    everything = "SELECT concat(r, f) FROM medmirror.run AS r LEFT JOIN medmirror.file AS f USING (run_id)"
    told = f"{mirrors.every(dsn, everything)} {result} {caplog.text}"
    assert "patients" in told
    assert "tiger-lion" not in told


# Postgres as a practice's database


@pytest.fixture
def other(empty_dsn: str) -> Iterator[tuple[Engine, str]]:
    """An empty database, an engine to play the clinic with, and its URL."""
    parts = conninfo_to_dict(empty_dsn)
    query = {name: str(parts[name]) for name in ("host", "port") if name in parts}
    url = URL.create(
        "postgresql+psycopg",
        str(parts["user"]) if "user" in parts else None,
        str(parts["password"]) if "password" in parts else None,
        database=str(parts["dbname"]),
        query=query,
    )
    engine = create_engine(url)
    yield engine, url.render_as_string(hide_password=False)
    engine.dispose()


def reading(url: str, wanted: Table) -> tuple[list[str], list[dict[str, Any]]]:
    """What *wanted* is paged by, and its rows."""
    snapshot = database.begin(database.engine(url))
    try:
        plan = databasetables.look(snapshot, wanted)
        rows = databaserows.Rows(snapshot, plan)
        return [one.name for one in plan.columns], [orjson.loads(line) for line in rows.read().splitlines()]
    finally:
        database.end(snapshot.connection)


def test_every_type_of_postgres_becomes_what_is_written_down(other: tuple[Engine, str]) -> None:
    columns = {
        "id": ("bigint PRIMARY KEY", "9223372036854775807", 9223372036854775807),
        "exact": ("numeric", "12345678901234567890.10", "12345678901234567890.10"),
        "nan": ("numeric", "'NaN'", "NaN"),
        "floating": ("double precision", "0.1", 0.1),
        "endless": ("real", "'-Infinity'", "-Infinity"),
        "fixed": ("char(5)", "'ab'", "ab"),
        "words": ("text", "E'é😀\\n\"'", 'é😀\n"'),
        "flag": ("boolean", "true", True),
        "day": ("date", "'2026-02-28'", "2026-02-28"),
        "no_day": ("date", "'infinity'", "infinity"),
        "clock": ("time", "'10:00'", "10:00:00"),
        "at": ("timestamp", "'2026-02-28 10:00:00.5'", "2026-02-28T10:00:00.5"),
        "instant": ("timestamptz", "'2026-02-28 10:00:00+10'", "2026-02-28T00:00:00+00:00"),
        "long_ago": ("timestamptz", "'0044-03-15 10:00:00+00 BC'", "0044-03-15T10:00:00+00 BC"),
        "span": ("interval", "'1 day 2 hours'", "P1DT2H"),
        "bytes": ("bytea", "'\\x00ff'", "AP8="),
        "json_": ("json", 'E\'{"a": 1,\\n "b": 2.500}\'', {"a": 1, "b": 2.5}),
        "uuid_": ("uuid", "'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000"),
        "numbers": ("int[]", "'{1,NULL}'", [1, None]),
        "amounts": ("numeric[]", "'{1.50}'", ["1.50"]),
        "net": ("inet", "'10.0.0.1/8'", "10.0.0.1/8"),
        "range_": ("int4range", "'[1,5)'", "[1,5)"),
        "mood_": ("mood", "'ok'", "ok"),
        "pair_": ("pair", "'(1,x)'", "(1,x)"),
        "post_": ("post", "7", 7),
        "bits": ("bit(3)", "'101'", "101"),
        "point_": ("point", "'(1,2)'", "(1,2)"),
        "none": ("text", "NULL", None),
    }
    with other[0].begin() as connection:
        for statement in (
            "CREATE TYPE mood AS ENUM ('sad', 'ok')",
            "CREATE TYPE pair AS (a int, b text)",
            "CREATE DOMAIN post AS int",
            "SET timezone = 'Asia/Tokyo'",
            f"CREATE TABLE t ({', '.join(f'{name} {kind}' for name, (kind, *_) in columns.items())})",
            f"INSERT INTO t VALUES ({', '.join(value for _, value, _ in columns.values())})",  # noqa: S608
        ):
            connection.exec_driver_sql(statement)
    _, (found,) = reading(other[1], Table("t", "public", ("id",)))
    assert found == {name: expected for name, (_, _, expected) in columns.items()}


KEYS = {
    "char": ("char(8)", "'k' || n || ' '"),
    "folded": ("text COLLATE folded", "CASE mod(n, 2) WHEN 0 THEN 'k' ELSE 'K' END || n"),
    "enum": ("mood", "CAST((ARRAY['sad', 'ok', 'zz', 'aa'])[n] AS mood)"),
    "numeric": ("numeric", "n / 3.0"),
    "instant": ("timestamptz", "CAST('2026-01-01' AS timestamptz) + n * interval '1 microsecond'"),
    "bytes": ("bytea", "int8send(n - 2)"),
    "uuid": ("uuid", "CAST(md5(CAST(n AS text)) AS uuid)"),
}


@pytest.mark.parametrize("name", KEYS)
def test_pages_over_any_key_of_postgres(name: str, other: tuple[Engine, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databaserows, "_FIRST_PAGE", 3)
    monkeypatch.setattr(databaserows, "_MOST_ROWS", 3)
    kind, value = KEYS[name]
    rows = 4 if name == "enum" else 11
    with other[0].begin() as connection:
        for statement in (
            "CREATE TYPE mood AS ENUM ('sad', 'ok', 'zz', 'aa')",
            "CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
            if name == "folded"
            else "SELECT 1",
            f"CREATE TABLE t (k {kind} NOT NULL, m int NOT NULL, PRIMARY KEY (k, m))",
            f"INSERT INTO t SELECT {value}, 7 FROM generate_series(1, {rows}) AS n",  # noqa: S608
        ):
            connection.exec_driver_sql(statement)
    paged, found = reading(other[1], Table("t", None, ("k",)))
    assert paged == ["k", "m"]
    assert len({one["k"] for one in found}) == len(found) == rows


def test_postgres_is_read_as_it_was_at_one_moment_and_goes_on_after_a_lost_connection(
    other: tuple[Engine, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databaserows, "_FIRST_PAGE", 3)
    monkeypatch.setattr(databaserows, "_MOST_ROWS", 3)
    engine, url = other

    def play(*statements: str) -> None:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    play("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 20)")
    text = '[[table]]\nkind = "t"\nname = "t"\nkey = ["id"]\n'
    some = sql.origins({"url": url, "mapping": orjson.dumps([text]).decode()})
    first = next(some)
    stream = first.open()
    read = stream.read(1)
    play("DELETE FROM t WHERE id < 15", "INSERT INTO t VALUES (21)")
    while len(read) < 40:
        read += stream.read(40)
    assert read.startswith(b'{"id":1}\n{"id":2}\n{"id":3}\n{"id":4}\n')
    play(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'medmirror'"
        " AND datname = current_database() AND pid <> pg_backend_pid()"
    )
    read += stream.read()
    second = next(some)
    assert (second.context["part"], second.context["goes_on"], second.context["expected"]) == (2, 1, 7)
    rest = sql.items(second.open().read(), 0, {**second.context, "organization": "o"})
    assert [one.key[-1] for one in rest if isinstance(one, Item)] == [str(n) for n in (*range(15, 22),)]
    assert len(read.splitlines()) < 15
    assert list(some) == []
