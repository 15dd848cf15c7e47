"""The source `sql`: its mapping file, its rows, its versions, its certificates; read from a real SQLite file."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import column as named
from sqlalchemy import create_engine, select, table, types
from sqlalchemy.dialects import mssql, mysql

from medmirror.errors import DatabaseLost, LayoutChanged, QueryRefused, UsageError
from medmirror.model import Block, Certificate, Flaw, Item, Witness
from medmirror.readers.database import rows as databaserows
from medmirror.readers.database import session as database
from medmirror.readers.database import tables as databasetables
from medmirror.readers.database.tables import Plan, Table
from medmirror.readers.database.types import converter, other, pages
from medmirror.sources import sql
from medmirror.sources.base import Origin
from medmirror.sources.sql.tables import Section, sections
from medmirror_testing.samples.practice import write_practice

PATIENTS = '[[table]]\nkind = "patient"\nname = "patients"\nkey = ["PatientID"]\n'


def of(text: str) -> list[Section]:
    return sections([text])


# The mapping file


def test_a_section_says_what_is_read_and_what_it_means() -> None:
    (one,) = of(
        PATIENTS + 'schema = "dbo"\nupdated = "ModifiedAt"\ntime_zone = "Australia/Sydney"\n'
        'deleted = {column = "Active", values = [0]}\ncolumns = ["LastName"]\n'
        'where = [{column = "State", value = "NSW"}, {column = "DOB", how = "null", value = false}]'
    )
    assert (one.kind, one.key, one.updated, one.time_zone) == (
        "patient",
        ("PatientID",),
        "ModifiedAt",
        "Australia/Sydney",
    )
    assert (one.deleted, one.deleted_values) == ("Active", (0,))
    assert one.table.shown == "dbo.patients"
    assert one.table.needed == ("PatientID", "ModifiedAt", "Active")
    assert [tuple(comparison) for comparison in one.table.where] == [("State", "=", "NSW"), ("DOB", "null", False)]
    assert one.facts()["narrowed"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[table", "no TOML"),
        ('[table]\nkind = "x"', r"\[\[table\]\]"),
        ('[[table]]\nname = "t"\nkey = ["a"]', "kind must be a text"),
        ('[[table]]\nkind = "x"\nname = "t"', "key must be a list"),
        ('[[table]]\nkind = "x"\nname = "t"\nkey = []', "key must be a list"),
        (PATIENTS + 'sql = "1=1"', "there is no 'sql'"),
        (PATIENTS + 'time_zone = "Mars/Base"', "no time zone"),
        (PATIENTS + 'deleted = "Active"', "deleted as"),
        (PATIENTS + "columns = [1]", "columns must be"),
        (PATIENTS + 'where = ["1=1"]', "a comparison as"),
        (PATIENTS + 'where = [{column = "a", how = "like", value = "x"}]', "how is one of"),
        (PATIENTS + 'where = [{column = "a", how = "in", value = "x"}]', "is a list"),
        (PATIENTS + PATIENTS, "Two tables"),
    ],
)
def test_a_wrong_mapping_file_is_refused_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        of(text)


def test_a_database_and_tables_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDMIRROR_SOURCE_URL", raising=False)
    with pytest.raises(UsageError, match="Name the database"):
        sql.origins({"mapping": orjson.dumps([PATIENTS]).decode()})
    with pytest.raises(UsageError, match="which tables"):
        sql.origins({"url": "sqlite:////nowhere/x.db"})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("what", "cannot be read"),
        ("oracle://scott:tiger@host/x", "No practice system is read from oracle"),
        ("mysql+nonsense://u:tiger@host/x", "no driver"),
        ("sqlite://", "Name the file"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        database.engine(url)
    assert "tiger" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [
        ("mysql://reader:tiger@host/x", "pymysql", "mysql"),
        ("mariadb+pymysql://reader:tiger@host/x", "pymysql", "mysql"),
        ("mssql://reader:tiger@host/x", "pymssql", "mssql"),
    ],
)
def test_a_missing_driver_is_named_with_the_extra_that_brings_it(
    url: str, driver: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(UsageError, match=rf"medmirror\[{extra}\]") as caught:
        database.engine(url)
    assert "tiger" not in str(caught.value)


def test_no_password_is_shown() -> None:
    made = database.engine("postgresql://reader:tiger@db.example.org:5433/vsrx?sslpassword=lion", "leopard")
    assert database.shown(made) == "postgresql://db.example.org:5433/vsrx"
    assert made.url.password == "leopard"
    assert not {"tiger", "leopard"} & set(repr(made).replace("@", ":").split(":"))


# Reading


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    return tmp_path / "clinic.db"


def fill(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def reading(path: Path, wanted: Table) -> tuple[Plan, list[dict[str, Any]]]:
    """How *wanted* is read, and its rows."""
    engine = database.engine(f"sqlite:///{path}")
    snapshot = database.begin(engine)
    try:
        plan = databasetables.look(snapshot, wanted)
        stream = databaserows.Rows(snapshot, plan)
        found = [orjson.loads(line) for line in stream.read().splitlines()]
        assert stream.count == len(found)
        return plan, found
    finally:
        database.end(snapshot.connection)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows a page."""
    monkeypatch.setattr(databaserows, "_FIRST_PAGE", 3)
    monkeypatch.setattr(databaserows, "_MOST_ROWS", 3)
    monkeypatch.setattr(databaserows, "_AT_ONCE", 2)


@pytest.mark.usefixtures("small_pages")
def test_pages_lose_no_row_and_repeat_none(clinic: Path) -> None:
    for rows in range(8):
        fill(
            clinic,
            "DROP TABLE IF EXISTS t",
            "CREATE TABLE t (a text NOT NULL COLLATE NOCASE, b int NOT NULL, UNIQUE (a, b))",
        )
        with sqlite3.connect(clinic) as connection:
            connection.executemany("INSERT INTO t VALUES (?, ?)", [("aAbB"[n % 4], n) for n in range(rows)])
        plan, found = reading(clinic, Table("t", None, ("a", "b")))
        assert len(plan.columns) == 2
        assert sorted((one["b"], one["a"]) for one in found) == [(n, "aAbB"[n % 4]) for n in range(rows)]


@pytest.mark.usefixtures("small_pages")
def test_a_key_that_the_server_does_not_keep_unique_is_not_paged_by(clinic: Path) -> None:
    """A page that ends between two equal keys would lose the second."""
    fill(clinic, "CREATE TABLE t (k text, n int)", "CREATE INDEX i ON t (k)")
    with sqlite3.connect(clinic) as connection:
        connection.executemany("INSERT INTO t VALUES (?, ?)", [("same", n) for n in range(10)])
    plan, found = reading(clinic, Table("t", None, ("k",)))
    assert plan.columns == ()
    assert [one["n"] for one in found] == list(range(10))


@pytest.mark.parametrize(
    ("table_", "index", "paged_by"),
    [
        ("(k text PRIMARY KEY, u int)", None, ()),  # SQLite lets such a key be NULL, many times
        ("(k text PRIMARY KEY NOT NULL, u int)", None, ("k",)),
        ("(id integer PRIMARY KEY NOT NULL, k text, u int)", None, ("id",)),
        ("(id integer PRIMARY KEY NOT NULL, k text NOT NULL, u int)", "CREATE UNIQUE INDEX i ON t (k)", ("k",)),
        ("(k text NOT NULL, u int)", "CREATE UNIQUE INDEX i ON t (k) WHERE u = 1", ()),
        ("(k text NOT NULL, u int)", "CREATE UNIQUE INDEX i ON t (lower(k))", ()),
        ("(k real PRIMARY KEY NOT NULL, u int)", None, ()),
    ],
)
def test_what_a_table_is_paged_by(clinic: Path, table_: str, index: str | None, paged_by: tuple[str, ...]) -> None:
    fill(clinic, f"CREATE TABLE t {table_}", *([index] if index else []))
    plan, _ = reading(clinic, Table("t", None, ("k",)))
    assert tuple(one.name for one in plan.columns) == paged_by


def test_values_of_sqlite_come_as_they_were_stored(clinic: Path) -> None:
    fill(
        clinic,
        "CREATE TABLE t (id integer PRIMARY KEY, d date, at datetime, money decimal(10,2), f real, b blob,"
        " flag boolean, j json)",
        "INSERT INTO t VALUES (9223372036854775807, '2026-02-28', '2026-02-28 10:00:00.5', 12.5, 9e999, x'00ff', 2,"
        " '{\"a\": 1}')",
        "INSERT INTO t (id, d, at, money) VALUES (-1, 'soon', '28/02/2026 10:00', '1.1')",
    )
    _, (second, first) = reading(clinic, Table("t", None, ("id",)))
    assert first == {
        "id": 9223372036854775807,
        "d": "2026-02-28",
        "at": "2026-02-28T10:00:00.5",
        "money": "12.5",
        "f": "Infinity",
        "b": "AP8=",
        "flag": 2,
        "j": '{"a": 1}',
    }
    assert (second["d"], second["at"], second["money"]) == ("soon", "28/02/2026 10:00", "1.1")


def test_a_text_that_is_no_utf8_costs_its_row(clinic: Path) -> None:
    fill(
        clinic,
        "CREATE TABLE t (id integer PRIMARY KEY, note text, other text)",
        "INSERT INTO t VALUES (1, 'good', 'x'), (2, CAST(x'e9' AS text), 'x'), (3, 'good', 'x')",
    )
    _, found = reading(clinic, Table("t", None, ("id",)))
    assert found[1] == {databaserows.UNREADABLE: ["note"], "id": 2, "other": "x"}
    facts = {**of('[[table]]\nkind = "t"\nname = "t"\nkey = "id"')[0].facts(), "organization": "o", "read_at": 0}
    data = b"".join(orjson.dumps(one) + b"\n" for one in found)
    first, flaw, third = sql.items(data, 0, facts)
    assert isinstance(flaw, Flaw)
    assert (flaw.error, flaw.reason) == ("InvalidRecord", "The text of note is not UTF-8.")
    assert [one.key[-1] for one in (first, third) if isinstance(one, Item)] == ["1", "3"]


def test_only_the_declared_columns_and_rows_are_read(clinic: Path) -> None:
    fill(
        clinic,
        "CREATE TABLE t (id integer PRIMARY KEY, name text, secret text, state text, n int)",
        "INSERT INTO t VALUES (1, 'a', 's', 'NSW', 5), (2, 'b', 's', 'VIC', 6), (3, 'c', 's', NULL, 7)",
        "INSERT INTO t VALUES (4, 'd', 's', 'QLD', 8)",
    )

    def ids(where: str) -> list[int]:
        (one,) = of(f'[[table]]\nkind = "t"\nname = "t"\nkey = "id"\ncolumns = ["name"]\nwhere = [{where}]')
        plan, found = reading(clinic, one.table)
        assert {tuple(row) for row in found} == {("id", "name")}
        assert "secret" not in str(plan.query)
        return [row["id"] for row in found]

    assert ids('{column = "state", value = "NSW"}') == [1]
    assert ids('{column = "state", how = "in", value = ["NSW", "VIC"]}') == [1, 2]
    assert ids('{column = "state", how = "null", value = true}') == [3]
    assert ids('{column = "n", how = ">=", value = 6}, {column = "n", how = "<", value = 8}') == [2, 3]
    with pytest.raises(UsageError, match="compare it with text"):  # a number would be compared as a number, by MySQL
        ids('{column = "state", value = 0}')


def test_a_table_or_column_that_is_not_there_is_named(clinic: Path) -> None:
    fill(clinic, "CREATE TABLE t (PatientID integer PRIMARY KEY)")
    with pytest.raises(LayoutChanged, match="no table"):
        reading(clinic, Table("u", None, ("PatientID",)))
    with pytest.raises(LayoutChanged, match="it is written PatientID"):
        reading(clinic, Table("t", None, ("patientid",)))
    with pytest.raises(LayoutChanged, match="there are PatientID"):
        reading(clinic, Table("t", None, ("PatientID",), ("Name",)))


def test_a_database_that_is_not_there_is_told_from_a_query_that_is_refused(clinic: Path) -> None:
    with pytest.raises(DatabaseLost, match=r"clinic\.db"):
        database.begin(database.engine(f"sqlite:///{clinic}"))
    fill(
        clinic,
        "CREATE TABLE t (id integer PRIMARY KEY)",
        "CREATE VIEW v AS SELECT id, abs(-9223372036854775807 - id) AS x FROM t",
    )
    fill(clinic, "INSERT INTO t VALUES (1)")
    with pytest.raises(QueryRefused, match="table=v") as caught:
        reading(clinic, Table("v", None, ("id",)))
    assert "SELECT" not in str(caught.value)


def test_nothing_can_be_written(clinic: Path) -> None:
    fill(clinic, "CREATE TABLE t (id integer PRIMARY KEY)")
    snapshot = database.begin(database.engine(f"sqlite:///{clinic}"))
    with pytest.raises(Exception, match="readonly"):
        snapshot.connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    database.end(snapshot.connection)


# From origins to items


def write(path: Path, patients: int = 5, **options: Any) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        write_practice(connection, patients, **options)
    engine.dispose()


Pass = Callable[[Path, str], Iterator[Origin]]


@pytest.fixture
def origins() -> Iterator[Pass]:
    """The origins of a pass; what is left of one is ended with the test."""
    begun: list[Any] = []

    def begin(path: Path, mapping: str) -> Iterator[Origin]:
        begun.append(sql.origins({"url": f"sqlite:///{path}", "mapping": orjson.dumps([mapping]).decode()}))
        return begun[-1]  # type: ignore[no-any-return]

    yield begin
    for one in begun:
        one.close()


def items_of(origin: Origin, wanted: int = 1 << 20) -> list[Item | Flaw]:
    facts = {**origin.context, "organization": "o"}
    found: list[Item | Flaw] = []
    with origin.open() as stream:
        for block in sql.split(stream, facts, wanted, 1 << 20):
            assert isinstance(block, Block)
            found += sql.items(block.data, block.ordinal, facts)
    return found


VSRX = "".join(
    f'[[table]]\nkind = "{kind}"\nname = "{name}"\nkey = {key}\n'
    'updated = "ModifiedAt"\ntime_zone = "Australia/Sydney"\n'
    for kind, name, key in (
        ("patient", "patients", '["PatientID"]'),
        ("prescription", "prescriptions", '["ScriptNo", "RefillNo"]'),
        ("inventory_item", "inventory_items", '["ItemCode"]'),
    )
)


def test_each_table_is_an_origin_and_each_row_an_item(clinic: Path, origins: Pass) -> None:
    write(clinic, 3)
    found = {str(one.context["kind"]): (one, items_of(one, 700)) for one in origins(clinic, VSRX)}
    assert {kind: len(some) for kind, (_, some) in found.items()} == {
        "patient": 3,
        "prescription": 6,
        "inventory_item": 6,
    }
    assert {one.context["expected"] for one, _ in found.values()} == {3, 6}
    keys = [one.key for one in found["prescription"][1] if isinstance(one, Item)]
    assert keys[:2] == [("o", "prescription", "RX0000001|0"), ("o", "prescription", "RX0000001|1")]
    assert found["patient"][0].name == f"sqlite:///{clinic}/patients"


def test_two_passes_are_told_apart_and_give_the_same_bytes(clinic: Path, origins: Pass) -> None:
    write(clinic, 3)
    first, again = ([(one.identity, one.open().read()) for one in origins(clinic, VSRX)] for _ in range(2))
    assert [data for _, data in first] == [data for _, data in again]
    assert len({identity for identity, _ in first + again}) == 6
    assert all(len(identity) == 32 for identity, _ in first)


def test_what_changes_while_the_tables_are_read_is_not_seen(clinic: Path, origins: Pass) -> None:
    write(clinic, 3)
    fill(clinic, "PRAGMA journal_mode = wal")  # else the clinic could not write at all
    some = origins(clinic, VSRX)
    patients = next(some)
    fill(clinic, "DELETE FROM prescriptions", "UPDATE patients SET Notes = 'new'")
    assert b"new" not in patients.open().read()
    assert len(items_of(next(some))) == 6


def test_a_table_that_cannot_be_read_does_not_keep_the_others(clinic: Path, origins: Pass) -> None:
    write(clinic, 3)
    missing = '[[table]]\nkind = "gone"\nname = "gone"\nkey = "id"\n'
    first, second, *_ = origins(clinic, missing + VSRX)
    with pytest.raises(LayoutChanged, match="no table of this name"):
        first.open()
    assert first.context["expected"] == -1
    assert second.context["kind"] == "patient"


def test_the_url_and_the_password_may_come_from_the_environment(clinic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(clinic, 1)
    monkeypatch.setenv("MEDMIRROR_SOURCE_URL", f"sqlite:///{clinic}")
    monkeypatch.setenv("MEDMIRROR_SOURCE_PASSWORD", "tiger")
    first, *_ = sql.origins({"mapping": orjson.dumps([VSRX]).decode()})
    assert "tiger" not in f"{first.name} {first.context}"


def test_files_are_not_taken_for_ours() -> None:
    assert not sql.recognise("x.ndjson", b'{"PatientID": 1}\n')
    with pytest.raises(LayoutChanged, match="--url"):
        sql.context("x.ndjson", b"{}", BytesIO, {})


# Items


def item(record: dict[str, Any], mapping: str = PATIENTS, read_at: datetime | None = None) -> Item | Flaw:
    now = read_at or datetime(2030, 1, 1, tzinfo=UTC)
    facts = {**of(mapping)[0].facts(), "organization": "o", "read_at": int(now.timestamp() * 1_000_000)}
    (found,) = sql.items(orjson.dumps(record), 0, facts)
    return found


def test_ids_of_several_columns_cannot_be_confused() -> None:
    two = '[[table]]\nkind = "t"\nname = "t"\nkey = ["a", "b"]'
    pairs = [("x", "y"), ("x|y", ""), ("x", "|y"), ("x\\", "y"), ("x\\|y", ""), ("", "x|y"), (1, 2), ("1", "2")]
    found = [item({"a": a, "b": b}, two) for a, b in pairs]
    ids = [str(one.key[-1]) for one in found if isinstance(one, Item)]
    assert ids[0] == "x|y"
    assert len(set(ids)) == len(pairs) - 1  # 1 and "1" are the same


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"PatientID": None}, "The key column PatientID is NULL."),
        ({}, "The key column PatientID is NULL."),
        ({"PatientID": [1]}, "The key column PatientID is an array."),
        (
            {"PatientID": 1, "ModifiedAt": "yesterday zq"},
            "ModifiedAt, which says when the record was changed, is text that is no time.",
        ),
    ],
)
def test_a_row_without_key_or_time_is_a_flaw_that_quotes_nothing(record: dict[str, Any], reason: str) -> None:
    found = item(record, PATIENTS + 'updated = "ModifiedAt"')
    assert isinstance(found, Flaw)
    assert (found.error, found.reason) == ("InvalidRecord", reason)


def version(value: Any, zone: str = "", read_at: datetime | None = None) -> int:
    mapping = PATIENTS + 'updated = "at"\n' + (f'time_zone = "{zone}"' if zone else "")
    found = item({"PatientID": 1, "at": value}, mapping, read_at)
    assert isinstance(found, Item)
    return found.version


def test_a_version_is_the_moment_in_microseconds() -> None:
    assert version("1970-01-01T00:00:01.000002") == 1_000_002
    assert version("1970-01-01T10:00:01", "Australia/Brisbane") == 1_000_000
    assert version("1970-01-01T10:00:01+10:00", "Europe/Berlin") == 1_000_000
    assert version("1970-01-02") == 86_400_000_000
    assert version(None) == 0
    assert version(77) == 77


@pytest.mark.parametrize(
    ("zone", "day", "first", "later"),
    [
        ("Australia/Sydney", "2026-04-05", "02:50:00", "02:10:00"),
        ("Australia/Lord_Howe", "2026-04-05", "01:50:00", "01:35:00"),
        ("Europe/Berlin", "2026-10-25", "02:59:59", "02:00:01"),
    ],
)
def test_a_change_in_the_hour_that_comes_twice_is_not_older_than_one_before_it(
    zone: str, day: str, first: str, later: str
) -> None:
    """Within the hour nobody can tell which was later: then the later run counts."""
    assert version(f"{day}T{later}", zone) == version(f"{day}T{first}", zone)
    assert version(f"{day}T00:59:59", zone) < version(f"{day}T{first}", zone) < version(f"{day}T03:00:00", zone)


def test_a_time_ahead_of_the_servers_clock_does_not_lock_the_row() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    wrong = version("2206-01-01T00:00:00", "Australia/Sydney", now)
    assert wrong == int(now.timestamp() * 1_000_000)
    later = datetime(2026, 1, 2, tzinfo=UTC)
    assert version("2026-01-02T09:00:00", "Australia/Sydney", later) > wrong


@pytest.mark.parametrize(
    ("value", "deleted"), [(0, True), (False, True), ("N", True), (1, False), (None, False), ("0", False)]
)
def test_a_row_that_says_it_is_deleted_is_a_tombstone(value: Any, deleted: bool) -> None:
    found = item({"PatientID": 1, "Active": value}, PATIENTS + 'deleted = {column = "Active", values = [0, "N"]}')
    assert isinstance(found, Item)
    assert found.deleted is deleted


def test_a_nul_character_costs_the_record_and_is_named() -> None:
    raw = orjson.dumps({"PatientID": 1, "Notes": "a\0b"})
    found = item({"PatientID": 1, "Notes": "a\0b"})
    assert isinstance(found, Item)
    (row,) = sql.rows(sql.FEEDS[0], raw, [found])
    assert "NUL" in str(row)


def test_a_record_is_all_of_its_row() -> None:
    record = {"PatientID": 1, "Balance": "12.50", "Tags": {"a": [1, None]}, "big": 18446744073709551615}
    raw = orjson.dumps(record)
    found = item(record)
    assert isinstance(found, Item)
    assert sql.record(sql.FEEDS[0], raw, found._replace(parsed=None)) == {
        "organization_id": "o",
        "kind": "patient",
        "id": "1",
        "record": record,
    }


# Certificates


def witness(**facts: Any) -> Witness:
    context = {"kind": "patient", "part": 1, "goes_on": 0, "expected": 10, "apart": "", "narrowed": 0}
    own = {name: facts.pop(name) for name in ("status", "read", "rejected") if name in facts}
    return Witness("x", {**context, **facts}, **{"status": "done", "read": 10, "rejected": 0, **own})


def test_a_table_is_whole_when_every_row_of_one_moment_was_read() -> None:
    assert sql.SOURCE.certify
    assert sql.SOURCE.certify([witness(), witness(kind="appointment", expected=0, read=0)]) == [
        Certificate(("patient",), True, 10, 10),
        Certificate(("appointment",), True, 0, 0),
    ]


@pytest.mark.parametrize(
    ("some", "seen", "reason"),
    [
        ([witness(read=9)], 9, "9 rows were read of 10."),
        ([witness(read=11)], 11, "11 rows were read of 10."),
        ([witness(status="open", read=4)], 4, "did not come to its end"),
        ([witness(status="refused", read=0, expected=-1)], 0, "could not be read."),
        ([witness(status="refused", read=1, expected=-1)], 1, "could not be read to its end."),
        ([witness(rejected=1)], 10, "1 records were rejected."),
        ([witness(apart="no snapshots here")], 10, "not of one moment: no snapshots here"),
        ([witness(narrowed=1)], 10, "leaves rows out"),
        ([witness(read=4), witness(part=2, goes_on=1, read=6)], 10, "later snapshot"),
        ([witness(read=4), witness(part=2, read=10)], 10, "later snapshot"),
        ([witness(read=4), witness(part=2, read=2), witness(part=3, goes_on=1, read=8)], 10, "later snapshot"),
    ],
)
def test_what_keeps_a_table_from_being_whole(some: Sequence[Witness], seen: int, reason: str) -> None:
    assert sql.SOURCE.certify
    (found,) = sql.SOURCE.certify(some)
    assert not found.whole
    assert found.seen == seen
    assert any(reason in one for one in found.reasons)


# Systems that cannot be run here


def test_sql_server_is_asked_in_its_own_words() -> None:
    """Only the statement is looked at: there is no SQL Server to run it."""
    source = table("T", named("a", types.NullType()), named("b", types.NullType()), schema="dbo")
    plan = Plan(
        Table("T", "dbo", ("a", "b")),
        ("a", "b"),
        (),
        select(source),
        select(source),
        (0, 1),
        (source.c.a, source.c.b),
        False,
        "",
    )
    query = plan.query.where(databaserows._after(plan, (1, "x"))).order_by(*plan.columns).limit(5)
    said = " ".join(str(query.compile(dialect=mssql.dialect(), compile_kwargs={"literal_binds": False})).split())
    assert "TOP" in said
    assert "FROM dbo.[T] WHERE dbo.[T].a > :last_0 OR dbo.[T].a = :last_0 AND dbo.[T].b > :last_1 ORDER BY" in said


def test_types_that_cannot_be_paged_by() -> None:
    assert not pages(mysql.ENUM("b", "a"), "mysql")
    assert not pages(mysql.FLOAT(), "mysql")
    assert not pages(mssql.DATETIME(), "mssql")
    assert not pages(types.NullType(), "postgresql")
    assert pages(mysql.VARCHAR(10), "mysql")
    assert pages(mssql.UNIQUEIDENTIFIER(), "mssql")


@pytest.mark.parametrize(
    ("kind", "backend", "value", "expected"),
    [
        (mssql.DATETIMEOFFSET(), "mssql", "2026-02-28 10:00:00.0000000 +10:00", "2026-02-28T10:00:00.0000000+10:00"),
        (mssql.NCHAR(5), "mssql", "ab   ", "ab"),
        (mssql.BIT(), "mssql", True, True),
        (mysql.TIMESTAMP(), "mysql", "0000-00-00 00:00:00.000000", None),
        (mysql.DATETIME(), "mysql", "2026-02-28 00:00:00", "2026-02-28T00:00:00"),
        (types.DateTime(), "mssql", datetime(2026, 2, 28, 10), "2026-02-28T10:00:00"),
    ],
)
def test_what_values_become(kind: Any, backend: str, value: Any, expected: Any) -> None:
    convert = converter(kind, backend)
    made = convert(value) if convert else value
    assert orjson.loads(orjson.dumps(made, other)) == expected
