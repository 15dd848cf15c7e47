"""Reading a real MariaDB: what becomes of its types, pages over its collations, its snapshots, lost connections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, text

from mariadbserver import Server
from medmirror.errors import DatabaseLost, QueryRefused
from medmirror.model import Item
from medmirror.readers.database import errors as databaseerrors
from medmirror.readers.database import rows as databaserows
from medmirror.readers.database import session as database
from medmirror.readers.database import tables as databasetables
from medmirror.readers.database.session import Snapshot
from medmirror.readers.database.tables import Plan, Table
from medmirror.sources import sql
from medmirror.sources.base import Origin
from medmirror.sources.sql import passes
from medmirror.sources.sql.tables import sections
from medmirror_testing.samples.people import MARK
from medmirror_testing.samples.practice import write_practice


@pytest.fixture
def clinic(mariadb: Server, practice: str) -> Engine:
    """By which the test plays the clinic."""
    return mariadb.engine(practice)


@pytest.fixture
def reader(mariadb: Server, practice: str) -> Engine:
    """The engine that medmirror reads with."""
    return database.engine(mariadb.url(practice, "reader"))


@pytest.fixture
def snapshot(clinic: Engine, reader: Engine) -> Iterator[Snapshot]:
    made = database.begin(reader)
    yield made
    database.end(made.connection)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows a page, taken two by two."""
    monkeypatch.setattr(databaserows, "_FIRST_PAGE", 3)
    monkeypatch.setattr(databaserows, "_MOST_ROWS", 3)
    monkeypatch.setattr(databaserows, "_AT_ONCE", 2)


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET sql_mode = ''"))
        for statement in statements:
            connection.exec_driver_sql(statement)


def reading(reader: Engine, wanted: Table) -> tuple[Plan, list[dict[str, Any]]]:
    """How *wanted* is read, and its rows."""
    snapshot = database.begin(reader)
    try:
        plan = databasetables.look(snapshot, wanted)
        rows = databaserows.Rows(snapshot, plan)
        found = [orjson.loads(line) for line in rows.read().splitlines()]
        assert not rows.lost
        assert rows.count == len(found) == databasetables.count(snapshot, plan)
        return plan, found
    finally:
        database.end(snapshot.connection)


def paged_by(plan: Plan) -> list[str]:
    return [column.name for column in plan.columns]


# Types


def test_every_type_becomes_what_is_written_down(clinic: Engine, reader: Engine) -> None:
    columns = {
        "id": ("bigint unsigned PRIMARY KEY", "18446744073709551615", 18446744073709551615),
        "tiny": ("tinyint(1)", "2", 2),
        "flag": ("boolean", "true", 1),
        "year_": ("year", "2026", 2026),
        "money": ("decimal(30,10)", "12345678901234567890.1234567891", "12345678901234567890.1234567891"),
        "single_": ("float", "1.2345678", 1.23457),
        "double_": ("double", "0.1", 0.1),
        "fixed": ("char(5)", "'ab '", "ab"),
        "words": ("varchar(50) CHARACTER SET utf8mb4", "'é😀\n\"'", 'é😀\n"'),
        "latin": ("varchar(20) CHARACTER SET latin1", "'é€'", "é€"),
        "enum_": ("enum('b','a')", "'a'", "a"),
        "set_": ("set('x','y')", "'x,y'", "x,y"),
        "bit_": ("bit(1)", "b'1'", True),
        "bits": ("bit(9)", "b'100000001'", 257),
        "day": ("date", "'2026-02-28'", "2026-02-28"),
        "at": ("datetime(3)", "'2026-02-28 10:00:00.123'", "2026-02-28T10:00:00.123"),
        "instant": ("timestamp NULL", "'2026-02-28 10:00:00'", "2026-02-28T00:00:00+00:00"),
        "time_": ("time", "'-838:59:59'", "-838:59:59"),
        "bin_": ("binary(4)", "'ab'", "YWIAAA=="),
        "blob_": ("longblob", "x'00ff'", "AP8="),
        "json_": ("json", "'{\"a\": [1, 2.50]}'", '{"a": [1, 2.50]}'),
        "uuid_": ("uuid", "'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000"),
        "inet_": ("inet6", "'::1'", "::1"),
        "point_": ("point", "point(1, 2)", "AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA=="),
        "none": ("varchar(5)", "NULL", None),
        "zero_day": ("date", "'0000-00-00'", None),
        "zero_time": ("datetime", "'0000-00-00'", None),
        "zero_instant": ("timestamp NULL", "'0000-00-00'", None),
        "no_day": ("date", "'2026-02-00'", "2026-02-00"),
        "letter": ("longtext CHARACTER SET utf8mb4", "repeat('ü', 2000000)", "ü" * 2_000_000),
        "nul": ("varchar(5)", "concat('a', char(0), 'b')", "a\0b"),
    }
    run(
        clinic,
        f"CREATE TABLE t ({', '.join(f'{name} {kind}' for name, (kind, *_) in columns.items())})",
        "SET time_zone = '+10:00'",
        f"INSERT INTO t VALUES ({', '.join(value for _, value, _ in columns.values())})",  # noqa: S608
    )
    _, (found,) = reading(reader, Table("t", None, ("id",)))
    assert found == {name: expected for name, (_, _, expected) in columns.items()}


# Pages


KEYS = {
    "case": ("varchar(20) COLLATE utf8mb4_general_ci", "('{n}aB'), ('{n}Ab ')"),
    "accents": ("varchar(20) COLLATE utf8mb4_unicode_ci", "('{n}é'), ('{n}f'), ('{n}ß')"),
    "numeric text": ("varchar(20)", "('{n}'), ('0{n}'), ('{n}.0'), ('-{n}')"),
    "padded": ("char(20) COLLATE utf8mb4_nopad_bin", "('{n}'), (' {n}')"),
    "binary": ("varbinary(20)", "(x'00{n:02x}'), (x'{n:02x}'), (x'{n:02x}00'), (x'ff{n:02x}')"),
    "latin1": ("varchar(20) CHARACTER SET latin1 COLLATE latin1_german2_ci", "('{n}ä'), ('{n}az'), ('{n}o')"),
    "decimal": ("decimal(20,5)", "({n}), ({n}.1), (-{n}.00001)"),
    "date": ("date", "(date '2026-01-01' + interval {n} day)"),
    "datetime": ("datetime(6)", "('2026-01-01' + interval {n} microsecond)"),
    "timestamp": ("timestamp(6)", "('2026-01-01' + interval {n} microsecond)"),
    "uuid": ("uuid", "('{n:08x}-0000-1000-8000-{n:012x}'), ('0000000{n:x}-0000-4000-9000-00000000000{n:x}')"),
    "unsigned": ("bigint unsigned", "(18446744073709551615 - {n}), ({n})"),
}


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("name", KEYS)
def test_pages_over_any_key_lose_no_row_and_repeat_none(name: str, clinic: Engine, reader: Engine) -> None:
    kind, values = KEYS[name]
    run(clinic, f"CREATE TABLE t (k {kind} NOT NULL PRIMARY KEY) DEFAULT CHARSET utf8mb4")
    run(clinic, *(f"INSERT IGNORE INTO t VALUES {values.format(n=n)}" for n in range(1, 12)))  # noqa: S608
    plan, found = reading(reader, Table("t", None, ("k",)))
    assert paged_by(plan) == ["k"]
    with clinic.connect() as connection:
        expected = connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one()
    assert len(found) == len({one["k"] for one in found}) == expected >= 11


@pytest.mark.usefixtures("small_pages")
def test_pages_over_a_key_of_several_columns(clinic: Engine, reader: Engine) -> None:
    run(
        clinic,
        "CREATE TABLE t (a varchar(5) NOT NULL, b int NOT NULL, c date NOT NULL, PRIMARY KEY (a, b, c))",
        "INSERT INTO t SELECT elt(1 + mod(seq, 3), 'x', 'Y', 'z '), mod(seq, 2), date '2026-01-01' + interval seq day"
        " FROM seq_1_to_40",
    )
    plan, found = reading(reader, Table("t", None, ("c",)))
    assert paged_by(plan) == ["a", "b", "c"]
    assert len({one["c"] for one in found}) == len(found) == 40


@pytest.mark.parametrize(
    ("columns", "paged"),
    [
        ("k enum('b', 'a', 'd', 'c') NOT NULL PRIMARY KEY", []),  # ordered by number, compared as text
        ("k float NOT NULL PRIMARY KEY", []),  # 0.1 comes back as another number than it is
        ("k varchar(20) NULL, UNIQUE (k)", []),
        ("k varchar(20) NOT NULL, UNIQUE (k(1))", []),  # unique are its first letters
        ("k varchar(20) NOT NULL, KEY (k)", []),
        ("k varchar(20) NOT NULL, n int AUTO_INCREMENT PRIMARY KEY", ["n"]),
        ("k varchar(20) NOT NULL, n int AUTO_INCREMENT PRIMARY KEY, UNIQUE (k)", ["k"]),
    ],
)
@pytest.mark.usefixtures("small_pages")
def test_only_what_is_safe_to_page_by_is_paged_by(
    columns: str, paged: list[str], clinic: Engine, reader: Engine
) -> None:
    run(clinic, f"CREATE TABLE t ({columns})")
    values = ["0.1", "0.2", "0.7", "0.3"] if "float" in columns else ["'a'", "'b'", "'c'", "'d'"]
    run(clinic, *(f"INSERT INTO t (k) VALUES ({value})" for value in values))  # noqa: S608
    plan, found = reading(reader, Table("t", None, ("k",)))
    assert paged_by(plan) == paged
    assert len(found) == 4


def test_a_view_is_read_by_one_query(clinic: Engine, reader: Engine) -> None:
    run(clinic, "CREATE TABLE t (id int PRIMARY KEY, n int)", "CREATE VIEW v AS SELECT * FROM t WHERE n > 1")
    run(clinic, "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
    plan, found = reading(reader, Table("v", None, ("id",)))
    assert (paged_by(plan), plan.apart) == ([], "")
    assert [one["id"] for one in found] == [2, 3]


def test_a_page_goes_through_the_index(clinic: Engine, snapshot: Snapshot) -> None:
    run(
        clinic,
        "CREATE TABLE t (a int NOT NULL, b int NOT NULL, c text, PRIMARY KEY (a, b))",
        "INSERT INTO t SELECT seq DIV 1000, seq, repeat('x', 50) FROM seq_1_to_20000",
        "ANALYZE TABLE t",
    )
    plan = databasetables.look(snapshot, Table("t", None, ("a", "b")))
    query = plan.query.where(databaserows._after(plan, (7, 7_500))).order_by(*plan.columns).limit(100)
    said = query.compile(dialect=snapshot.connection.dialect)
    with clinic.connect() as connection:
        explained = connection.exec_driver_sql(f"EXPLAIN {said}", said.params).mappings().one()
    assert (explained["type"], explained["key"]) == ("range", "PRIMARY")
    assert "filesort" not in (explained["Extra"] or "")


# Snapshots


Tables = Callable[..., Iterator[Origin]]


@pytest.fixture
def tables() -> Iterator[Tables]:
    """The origins of a pass over tables that have a column `id`; what is left of a pass is ended with the test."""
    begun: list[Generator[Origin]] = []

    def begin(engine: Engine, *names: str) -> Iterator[Origin]:
        texts = [f'[[table]]\nkind = "{name}"\nname = "{name}"\nkey = ["id"]\n' for name in names]
        begun.append(passes.origins(engine, sections(texts), sleep=lambda seconds: None))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


def ids(origin: Origin) -> list[int]:
    facts = {**origin.context, "organization": "o"}
    data = origin.open().read()
    return [int(one.key[-1]) for one in sql.items(data, 0, facts) if isinstance(one, Item)]


@pytest.mark.usefixtures("small_pages")
def test_all_tables_are_read_as_they_were_at_one_moment(clinic: Engine, reader: Engine, tables: Tables) -> None:
    run(clinic, "CREATE TABLE a (id int PRIMARY KEY) SELECT seq AS id FROM seq_1_to_10", "CREATE TABLE b LIKE a")
    run(clinic, "INSERT INTO b SELECT * FROM a")
    some = tables(reader, "a", "b")
    first = next(some)
    stream = first.open()
    head = stream.read(1)
    run(clinic, "DELETE FROM a WHERE id > 5", "INSERT INTO a VALUES (100)", "DELETE FROM b", "INSERT INTO b VALUES (7)")
    lines = (head + stream.read()).splitlines()
    assert [orjson.loads(line)["id"] for line in lines] == list(range(1, 11))
    second = next(some)
    assert (first.context["expected"], second.context["expected"]) == (10, 10)
    assert ids(second) == list(range(1, 11))
    assert first.context["apart"] == ""


def test_a_table_without_snapshots_says_so(clinic: Engine, reader: Engine, tables: Tables) -> None:
    run(clinic, "CREATE TABLE t (id int PRIMARY KEY) ENGINE MyISAM", "INSERT INTO t VALUES (1)")
    (origin,) = tables(reader, "t")
    assert origin.context["apart"] == "the table's engine, MyISAM, has no snapshots"


def test_nothing_can_be_written(mariadb: Server, practice: str, clinic: Engine) -> None:
    """Not even by a user who may."""
    run(clinic, "CREATE TABLE t (id int PRIMARY KEY)")
    made = database.begin(database.engine(mariadb.url(practice)))
    with pytest.raises(Exception, match="READ ONLY") as caught:
        made.connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    assert databaseerrors.facts(caught.value)["code"] == 1792
    database.end(made.connection)


def test_a_reader_who_may_not_see_a_table_is_told_so_and_reads_the_others(
    mariadb: Server, practice: str, clinic: Engine, tables: Tables
) -> None:
    run(
        clinic, "CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY)", "INSERT INTO b VALUES (1)"
    )
    run(clinic, "CREATE OR REPLACE USER half@localhost", f"GRANT SELECT ON {practice}.b TO half@localhost")
    first, second = tables(database.engine(mariadb.url(practice, "half")), "a", "b")
    with pytest.raises(QueryRefused, match="code=1142") as caught:
        first.open()
    assert "SELECT" not in str(caught.value)
    assert second.context["expected"] == 1


# Lost connections


@pytest.mark.usefixtures("small_pages")
def test_a_reading_goes_on_behind_the_last_row_when_the_connection_is_lost(
    mariadb: Server, clinic: Engine, reader: Engine, caplog: pytest.LogCaptureFixture, tables: Tables
) -> None:
    run(
        clinic,
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT seq, repeat('x', 100) FROM seq_1_to_50",
    )
    run(clinic, "CREATE TABLE u (id int PRIMARY KEY)", "INSERT INTO u VALUES (1)")
    some = tables(reader, "t", "u")
    first = next(some)
    stream = first.open()
    read = stream.read(700)
    mariadb.kill("reader")
    run(clinic, "INSERT INTO t VALUES (51, 'new')", "DELETE FROM t WHERE id = 1")
    with caplog.at_level(logging.WARNING):
        read += stream.read()
        second = next(some)
    found = [orjson.loads(line)["id"] for line in read.splitlines()]
    assert 0 < len(found) < 50
    assert second.name.endswith("/t (part 2)")
    rest = ids(second)
    assert found + rest == list(range(1, 52))
    assert (first.context["part"], second.context["part"], second.context["goes_on"]) == (1, 2, 1)
    third = next(some)
    assert (third.context["kind"], third.context["part"], ids(third)) == ("u", 1, [1])
    assert "was lost at table t" in caplog.text


@pytest.mark.usefixtures("small_pages")
def test_a_table_that_is_not_paged_is_read_again_from_its_begin(
    mariadb: Server, clinic: Engine, reader: Engine, tables: Tables
) -> None:
    run(clinic, "CREATE TABLE t (id int, v longtext)")
    run(
        clinic, "INSERT INTO t SELECT seq, repeat('x', 400000) FROM seq_1_to_50"
    )  # more than any buffer on the way holds
    some = tables(reader, "t")
    stream = next(some).open()
    stream.read(1)
    mariadb.kill("reader")
    stream.read()
    second = next(some)
    assert (second.context["part"], second.context["goes_on"]) == (2, 0)
    assert sorted(ids(second)) == list(range(1, 51))


def test_a_database_that_stays_away_ends_the_pass(
    mariadb: Server, clinic: Engine, reader: Engine, tables: Tables
) -> None:
    run(clinic, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT seq FROM seq_1_to_3000")
    some = tables(reader, "t")
    stream = next(some).open()
    run(clinic, "ALTER USER reader@localhost ACCOUNT LOCK")
    try:
        mariadb.kill("reader")
        stream.read()
        with pytest.raises(DatabaseLost, match="code=4151"):
            next(some)
    finally:
        run(clinic, "ALTER USER reader@localhost ACCOUNT UNLOCK")


def test_a_query_that_fails_midway_quotes_no_row_and_leaves_the_next_table_readable(
    clinic: Engine, reader: Engine, tables: Tables
) -> None:
    with clinic.begin() as connection:
        write_practice(connection, 300)
    run(
        clinic,
        "CREATE VIEW v AS SELECT PatientID AS id, LastName, exp(10 * greatest(PatientID - 200, 0)) AS x FROM patients",
        "CREATE TABLE t (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (1)",
    )
    some = tables(reader, "v", "t")
    stream = next(some).open()
    with pytest.raises(QueryRefused, match="code=1690") as caught:
        stream.read()
    assert MARK not in f"{caught.value} {caught.value.__cause__}"
    assert ids(next(some)) == [1]


def test_a_reading_that_is_stopped_does_not_fetch_the_rest(clinic: Engine, reader: Engine, tables: Tables) -> None:
    run(
        clinic,
        "CREATE TABLE t (id int, v longtext)",
        "INSERT INTO t SELECT seq, repeat('x', 400000) FROM seq_1_to_200",  # not paged: one query gives all of it
        "CREATE TABLE u (id int PRIMARY KEY)",
        "INSERT INTO u VALUES (1)",
    )
    sent = "SELECT bytes_sent FROM information_schema.user_statistics WHERE user = 'reader'"
    run(clinic, "SET GLOBAL userstat = 1", "FLUSH USER_STATISTICS")
    some = tables(reader, "t", "u")
    with next(some).open() as stream:
        stream.read(1)
    assert ids(next(some)) == [1]
    with clinic.connect() as connection:
        assert connection.exec_driver_sql(sent).scalar_one() < 60_000_000
    run(clinic, "SET GLOBAL userstat = 0")
