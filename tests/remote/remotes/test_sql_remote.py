"""A practice's database as a remote: SQLite and Postgres (MariaDB: tests/mariadb)."""

# ruff: noqa: S608 - the test itself writes the statements

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Engine, create_engine, make_url, text

import medmirror
from medmirror.db import retry, runs
from medmirror.errors import LayoutChanged, RemoteRefused, RemoteUnavailable, StaleWrite, UsageError
from medmirror.ingest import worker
from medmirror.model import Counts, Item
from medmirror.remotes import kind
from medmirror.remotes.base import BEGINNING, Around, Page, Position, Remote, Secret
from medmirror.remotes.sql import times as sqltimes
from medmirror.settings import Settings
from medmirror.sources import sql as source
from medmirror.sync.organizations import Organization
from medmirror.sync.store import Store
from medmirror_testing.samples.people import person
from medmirror_testing.samples.practice import METADATA, write_practice

VSRX = (Path(medmirror.__file__).parent / "mapping" / "examples" / "vsrx.toml").read_text(encoding="utf-8")
NAMES = [person(number).family for number in range(1, 9)]
TABLE = """
[[table]]
kind = "patient"
name = "patients"
key = ["id"]
updated = "edited"
time_zone = "{zone}"
"""


NO_ZONE = TABLE.replace('time_zone = "{zone}"', "")


def moment(text_: str) -> int:
    return int(datetime.fromisoformat(text_).replace(tzinfo=UTC).timestamp() * 1_000_000)


def opened(url: str, mapping: str = TABLE.format(zone="UTC"), around: Around | None = None, **more: Any) -> Remote:
    whole = make_url(url)
    plain = whole._replace(password=None).render_as_string(hide_password=False)
    secret = Secret(str(whole.password)) if whole.password else None
    return kind("sql").open("org_s", {"url": plain, "mapping": mapping, **more}, secret, around or Around())


def records(pages: Iterator[Page] | list[Page]) -> list[dict[str, Any]]:
    return [orjson.loads(line) for page in pages for line in bytes(page.body).splitlines()]  # type: ignore[arg-type]


def items(page: Page) -> list[Item]:
    assert isinstance(page.body, bytes)
    assert page.context is not None
    found = list(source.items(page.body, 0, page.context))
    assert all(isinstance(one, Item) for one in found)
    return found  # type: ignore[return-value]


def ids(pages: Iterator[Page] | list[Page]) -> list[Any]:
    return [one["id"] for one in records(pages)]


class Clinic:
    """A database that the test writes to: SQLite or Postgres."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = create_engine(url)

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def rows(self, statement: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement)).all())


def _postgres(dsn: str) -> str:
    facts = conninfo_to_dict(dsn)
    given = {"username": facts.get("user"), "password": facts.get("password"), "database": facts.get("dbname")}
    socket = facts.get("host") or ""
    if str(socket).startswith("/"):
        query = {name: str(facts[name]) for name in ("host", "port") if facts.get(name)}
        made = URL.create("postgresql+psycopg", **given, query=query)  # type: ignore[arg-type]
    else:
        port = int(facts["port"]) if facts.get("port") else None
        made = URL.create("postgresql+psycopg", **given, host=socket, port=port)  # type: ignore[arg-type]
    return made.render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgres"])
def clinic(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Clinic]:
    """An empty practice."""
    if request.param == "sqlite":
        made = Clinic(f"sqlite:///{tmp_path / 'practice.db'}")
        made.run("CREATE TABLE other (a integer)")
    else:
        made = Clinic(_postgres(request.getfixturevalue("empty_dsn")))
    yield made
    made.engine.dispose()


@pytest.fixture
def patients(clinic: Clinic) -> Clinic:
    """Eight patients, edited a minute apart, three of them in the same second, one at no time."""
    clinic.run("CREATE TABLE patients (id integer NOT NULL PRIMARY KEY, name varchar(80), edited timestamp)")
    for number, name in enumerate(NAMES, 1):
        minute = 4 if number in (4, 5, 6) else number
        edited = "NULL" if number == 8 else f"'2026-03-01 10:{minute:02d}:00'"
        clinic.run(f"INSERT INTO patients VALUES ({number}, '{name}', {edited})")
    return clinic


def test_changes_come_in_the_order_of_time_and_key_between_the_bounds(patients: Clinic) -> None:
    remote = opened(patients.url, page=2)
    since, until = Position(moment("2026-03-01 10:02:00")), moment("2026-03-01 10:04:30")
    pages = list(remote.changed("patient", since, until))
    assert ids(pages) == [2, 3, 4, 5, 6]
    assert [page.records for page in pages] == [2, 2, 1]
    assert [page.upto for page in pages] == [Position(moment(f"2026-03-01 10:0{n}:00")) for n in (3, 4, 4)]


def test_a_list_goes_on_from_any_of_its_pages_without_a_gap(patients: Clinic) -> None:
    remote, until = opened(patients.url, page=2), moment("2026-03-01 11:00:00")
    pages = list(remote.changed("patient", Position(1), until))
    assert ids(pages) == [1, 2, 3, 4, 5, 6, 7]
    for number, page in enumerate(pages):
        assert page.upto is not None
        seen = set(ids(pages[: number + 1])) | set(ids(remote.changed("patient", page.upto, until)))
        assert seen == set(range(1, 8))


def test_rows_without_a_time_come_first_with_every_list_from_the_beginning(patients: Clinic) -> None:
    remote, until = opened(patients.url), moment("2026-03-01 11:00:00")
    pages = list(remote.changed("patient", BEGINNING, until))
    assert ids(pages) == [8, 1, 2, 3, 4, 5, 6, 7]
    assert pages[0].upto == BEGINNING  # a list that breaks off after them begins with them again
    assert 8 not in ids(remote.changed("patient", Position(1), until))


def test_a_row_dated_in_the_far_future_is_not_left_out_of_a_full_list(patients: Clinic) -> None:
    patients.run("UPDATE patients SET edited = '2999-01-01 00:00:00' WHERE id = 3")
    found = ids(opened(patients.url).changed("patient", BEGINNING, moment("2026-03-01 11:00:00")))
    assert sorted(found) == list(range(1, 9))


def test_a_row_touched_between_two_pages_hides_no_other(patients: Clinic) -> None:
    remote = opened(patients.url, page=2)
    pages = remote.changed("patient", Position(1), moment("2026-03-01 11:00:00"))
    first = ids([next(pages)])
    patients.run("UPDATE patients SET edited = '2026-03-01 10:50:00' WHERE id = 1")
    assert first == [1, 2]
    assert ids(pages) == [3, 4, 5, 6, 7, 1]


def test_now_is_the_servers_time(patients: Clinic) -> None:
    assert abs(opened(patients.url).now() / 1e6 - datetime.now(UTC).timestamp()) < 5


def test_one_row_is_got_by_its_key(patients: Clinic) -> None:
    remote = opened(patients.url)
    page = remote.get("patient", "3")
    assert page is not None
    assert ids([page]) == [3]
    assert items(page)[0].key == ("org_s", "patient", "3")
    assert remote.get("patient", "99") is None
    assert remote.get("patient", "x'; DROP TABLE patients") is None


def test_a_table_without_a_column_of_changes_is_read_whole_each_time(patients: Clinic) -> None:
    remote = opened(patients.url, changed={"patient": ""}, page=3)
    pages = list(remote.changed("patient", Position(moment("2026-03-01 10:06:00")), moment("2026-03-01 11:00:00")))
    assert sorted(ids(pages)) == list(range(1, 9))
    assert [page.upto for page in pages] == [None, None, None]


def test_a_table_without_a_unique_key_is_still_listed_in_order(clinic: Clinic) -> None:
    clinic.run("CREATE TABLE patients (id integer, edited timestamp)")
    clinic.run(*(f"INSERT INTO patients VALUES ({n}, '2026-03-01 10:0{n // 3}:00')" for n in range(9)))
    pages = list(opened(clinic.url, page=4).changed("patient", Position(1), moment("2026-03-01 11:00:00")))
    assert sorted(ids(pages)) == list(range(9))
    assert [page.records for page in pages] == [3, 3, 3]  # those of one time are not torn apart
    ties = list(opened(clinic.url, page=2).changed("patient", Position(1), moment("2026-03-01 11:00:00")))
    assert sorted(ids(ties)) == list(range(9))


def test_a_change_in_the_second_of_two_equal_hours_is_listed(clinic: Clinic) -> None:
    clinic.run(
        "CREATE TABLE patients (id integer PRIMARY KEY, edited timestamp)",
        "INSERT INTO patients VALUES (1, '2026-04-05 02:50:00')",  # 15:50 UTC, or an hour later
        "INSERT INTO patients VALUES (2, '2026-04-05 02:10:00')",  # the clocks went back at 16:00 UTC
    )
    remote = opened(clinic.url, TABLE.format(zone="Australia/Sydney"))
    before, until = moment("2026-04-04 15:55:00"), moment("2026-04-04 16:15:00")
    assert 2 in ids(remote.changed("patient", Position(before), until))
    assert 1 in ids(remote.changed("patient", Position(moment("2026-04-04 15:45:00")), moment("2026-04-04 15:58:00")))
    pages = list(remote.changed("patient", Position(1), until))
    assert [page.upto for page in pages] == [Position(moment("2026-04-04 15:50:00"))]  # the earlier of the two


@pytest.mark.parametrize(("unit", "factor"), [("seconds", 1), ("milliseconds", 1000), ("microseconds", 1_000_000)])
def test_numbers_are_times_when_their_unit_is_said(clinic: Clinic, unit: str, factor: int) -> None:
    begin = moment("2026-03-01 10:00:00")
    clinic.run("CREATE TABLE patients (id integer PRIMARY KEY, edited bigint)")
    clinic.run(*(f"INSERT INTO patients VALUES ({n}, {(begin // 1_000_000 + n) * factor})" for n in range(5)))
    remote = opened(clinic.url, changed={"patient": {"column": "edited", "unit": unit}})
    pages = list(remote.changed("patient", Position(begin + 2_000_000), begin + 3_000_000))
    assert ids(pages) == [2, 3]
    assert pages[-1].upto == Position(begin + 3_000_000)
    with pytest.raises(UsageError, match="unit"):
        list(opened(clinic.url).changed("patient", Position(1), begin))


@pytest.mark.parametrize("shape", ["{0}T{1}Z", "{0}T{1}.250+10:00", "{0} {1}", "{0}T{1}.5", "{0} {1}+00:00"])
def test_texts_written_in_one_way_are_times(clinic: Clinic, shape: str) -> None:
    clinic.run("CREATE TABLE patients (id integer PRIMARY KEY, edited varchar(40))")
    written = [shape.format("2026-03-01", f"10:0{n}:00") for n in range(5)]
    clinic.run(*(f"INSERT INTO patients VALUES ({n}, '{one}')" for n, one in enumerate(written)))
    moments = [sqltimes.Scale("text", "edited", UTC, shape=sqltimes.shape_of(one)).time(one) for one in written]
    remote = opened(clinic.url)
    assert ids(remote.changed("patient", Position(moments[1]), moments[3])) == [1, 2, 3]
    assert ids(remote.changed("patient", BEGINNING, moments[4])) == [0, 1, 2, 3, 4]


def test_fractions_of_any_length_are_in_order_where_no_z_stands_behind_them(clinic: Clinic) -> None:
    clinic.run("CREATE TABLE patients (id integer PRIMARY KEY, edited varchar(40))")
    written = ("10:00:00", "10:00:00.5", "10:00:00.51", "10:00:01", "10:00:01.000001")
    clinic.run(*(f"INSERT INTO patients VALUES ({n}, '2026-03-01 {one}')" for n, one in enumerate(written)))
    remote, begin = opened(clinic.url), moment("2026-03-01 10:00:00")
    assert ids(remote.changed("patient", BEGINNING, begin + 1_000_000)) == [0, 1, 2, 3]
    assert ids(remote.changed("patient", Position(begin + 1), begin + 500_000)) == [0, 1]  # the whole second
    clinic.run("UPDATE patients SET edited = edited || 'Z'")
    with pytest.raises(LayoutChanged):
        list(remote.changed("patient", BEGINNING, begin + 9_000_000))


@pytest.mark.parametrize("odd", ["2026-03-01 10:01", "yesterday", "2026-03-01T10:01:00Z", "01/03/2026 10:01:00"])
def test_texts_that_cannot_be_ordered_are_refused_and_said_to_be_so(clinic: Clinic, odd: str) -> None:
    clinic.run(
        "CREATE TABLE patients (id integer PRIMARY KEY, edited varchar(40))",
        "INSERT INTO patients VALUES (1, '2026-03-01 10:00:00')",
        f"INSERT INTO patients VALUES (2, '{odd}')",
        "INSERT INTO patients VALUES (3, '2026-03-01 10:05:00')",
    )
    with pytest.raises(LayoutChanged, match="not all written in one way") as caught:
        list(opened(clinic.url).changed("patient", BEGINNING, moment("2026-03-02 00:00:00")))
    assert odd not in str(caught.value)


def test_wall_clock_times_need_a_zone(patients: Clinic) -> None:
    with pytest.raises(UsageError, match="time_zone"):
        list(opened(patients.url, NO_ZONE).changed("patient", BEGINNING, 1))


def test_a_type_that_cannot_be_ordered_is_refused(empty_dsn: str) -> None:
    clinic = Clinic(_postgres(empty_dsn))
    clinic.run("CREATE TABLE patients (id integer PRIMARY KEY, edited bytea)")
    with pytest.raises(UsageError, match="cannot be ordered by time"):
        list(opened(clinic.url).changed("patient", BEGINNING, 1))
    clinic.engine.dispose()


def test_times_with_a_zone_need_none_of_the_mapping(empty_dsn: str) -> None:
    clinic = Clinic(_postgres(empty_dsn))
    clinic.run("CREATE TABLE patients (id integer PRIMARY KEY, edited timestamptz)")
    clinic.run("INSERT INTO patients VALUES (1, '2026-03-01 10:00:00+10'), (2, '2026-03-01 00:00:00.000001+00')")
    remote = opened(clinic.url, NO_ZONE)
    assert ids(remote.changed("patient", Position(1), moment("2026-03-01 00:00:00"))) == [1]
    assert ids(remote.changed("patient", Position(moment("2026-03-01 00:00:00")), moment("2026-03-01 01:00:00"))) == [
        1,
        2,
    ]
    clinic.engine.dispose()


def test_a_window_is_listed_by_when_records_begin(clinic: Clinic) -> None:
    clinic.run("CREATE TABLE visits (id integer PRIMARY KEY, starts timestamp, edited timestamp)")
    clinic.run(
        *(f"INSERT INTO visits VALUES ({n}, '2026-03-0{n} 00:00:00', '2020-01-01 00:00:00')" for n in range(1, 6))
    )
    mapping = TABLE.format(zone="Australia/Sydney").replace('"patients"', '"visits"').replace('"patient"', '"visit"')
    remote = opened(clinic.url, mapping, begins={"visit": "starts"})
    assert remote.capabilities.windowed == ("visit",)
    start = datetime(2026, 3, 1, 13, tzinfo=UTC)  # midnight in Sydney
    assert ids(remote.window("visit", start, start + timedelta(days=2))) == [2, 3]


def test_deletions_come_from_the_log_unless_the_row_is_back(patients: Clinic) -> None:
    patients.run(
        "CREATE TABLE gone (patient integer, at timestamp)",
        "DELETE FROM patients WHERE id IN (2, 3)",
        "INSERT INTO gone VALUES (1, '2026-03-01 12:00:00'), (2, '2026-03-01 12:00:00'), (3, '2026-03-01 12:05:00')",
        "INSERT INTO gone VALUES (77, NULL)",
    )
    remote = opened(patients.url, deleted={"patient": {"table": "gone", "key": ["patient"], "at": "at"}})
    assert remote.capabilities.deleted == ("patient",)
    pages = list(remote.deleted("patient", 1, moment("2026-03-01 12:01:00")))
    (one,) = items(pages[0])
    assert (one.key, one.deleted, one.version) == (("org_s", "patient", "2"), True, moment("2026-03-01 12:00:00"))
    assert ids(remote.deleted("patient", moment("2026-03-01 12:01:00"), moment("2026-03-02 00:00:00"))) == [3]
    every = [item for page in remote.deleted("patient", 0, moment("2026-03-02 00:00:00")) for item in items(page)]
    assert sorted(item.key[2] for item in every) == ["2", "3", "77"]  # 77: nobody knows when


def test_deletions_in_a_column_of_the_row_itself_are_no_changes(patients: Clinic) -> None:
    patients.run(
        "ALTER TABLE patients ADD COLUMN removed timestamp",
        "UPDATE patients SET removed = '2026-03-01 12:00:00' WHERE id = 4",
    )
    remote = opened(patients.url, deleted={"patient": {"column": "removed"}})
    until = moment("2026-03-02 00:00:00")
    assert sorted(ids(remote.changed("patient", BEGINNING, until))) == [1, 2, 3, 5, 6, 7, 8]
    (page,) = remote.deleted("patient", 1, until)
    assert [(item.key[2], item.deleted) for item in items(page)] == [("4", True)]
    assert remote.get("patient", "4") is None


LOG = (
    "CREATE TABLE medmirror_pushed (idempotency_key varchar(200) PRIMARY KEY, kind varchar(100), id varchar(400), "
    "version varchar(100), time bigint)"
)


def test_nothing_is_written_unless_it_is_asked_for(patients: Clinic) -> None:
    with pytest.raises(UsageError, match="not written to"):
        opened(patients.url).push("patient", {"name": "x"}, id="1", expected=None, idempotency_key="a")
    remote = opened(patients.url, push=["patient"])
    with pytest.raises(UsageError, match="CREATE TABLE medmirror_pushed"):
        remote.push("patient", {"name": "x"}, id="1", expected=None, idempotency_key="a")
    assert [row[0] for row in patients.rows("SELECT name FROM patients WHERE id = 1")] == [NAMES[0]]


def test_a_row_is_written_only_in_the_version_that_was_expected_and_once_for_a_key(patients: Clinic) -> None:
    patients.run(LOG)
    remote = opened(patients.url, push=["patient"])
    page = remote.get("patient", "1")
    assert page is not None
    (record,) = records([page])
    done = remote.push("patient", {"name": "Quzqlam"}, id="1", expected=record["edited"], idempotency_key="k1")
    assert done.id == "1"
    assert done.version not in (None, record["edited"])
    again = remote.push("patient", {"name": "Other"}, id="1", expected=record["edited"], idempotency_key="k1")
    assert again == done
    with pytest.raises(StaleWrite):
        remote.push("patient", {"name": "Other"}, id="1", expected=record["edited"], idempotency_key="k2")
    with pytest.raises(StaleWrite):
        remote.push("patient", {"name": "Other"}, id="1000", expected=record["edited"], idempotency_key="k3")
    second = remote.push("patient", {"name": "Quzqlem"}, id="1", expected=done.version, idempotency_key="k4")
    assert second.version != done.version  # within the same second, perhaps
    (row,) = patients.rows("SELECT name FROM patients WHERE id = 1")
    assert row[0] == "Quzqlem"
    got = remote.get("patient", "1")
    assert got is not None
    assert records([got])[0]["edited"] == second.version
    until = remote.now() + 60_000_000
    assert 1 in ids(remote.changed("patient", Position(moment("2026-03-02 00:00:00")), until))  # it is a change


def test_a_new_row_gets_its_key_from_the_server_and_is_made_once(patients: Clinic) -> None:
    if patients.url.startswith("postgres"):
        patients.run(
            "CREATE SEQUENCE numbers START 100", "ALTER TABLE patients ALTER id SET DEFAULT nextval('numbers')"
        )
    patients.run(LOG)
    remote = opened(patients.url, push=["patient"])
    made = remote.push("patient", {"name": "Quzqlam"}, id=None, expected=None, idempotency_key="n1")
    assert remote.push("patient", {"name": "Quzqlam"}, id=None, expected=None, idempotency_key="n1") == made
    assert patients.rows("SELECT count(*) FROM patients WHERE name = 'Quzqlam'")[0][0] == 1
    assert remote.get("patient", made.id) is not None
    with pytest.raises(UsageError, match="no column"):
        remote.push("patient", {"nam": "x"}, id=None, expected=None, idempotency_key="n2")


def test_a_value_that_the_database_alters_is_not_written(patients: Clinic) -> None:
    patients.run(LOG, "ALTER TABLE patients ADD COLUMN weight numeric(4, 1)")
    if patients.url.startswith("postgres"):
        patients.run(
            "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " UPDATE patients SET name = upper(name) WHERE id = NEW.id AND name <> upper(name); RETURN NULL; END $$",
            "CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON patients DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
            " WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION shout()",
        )
        altered: dict[str, Any] = {"weight": "70.55"}
    else:
        patients.run("CREATE TRIGGER t AFTER UPDATE ON patients BEGIN UPDATE patients SET name = upper(name); END")
        altered = {"weight": "heavy"}
    remote = opened(patients.url, push=["patient"])
    (record,) = records([page for page in [remote.get("patient", "1")] if page])
    before = patients.rows("SELECT * FROM patients ORDER BY id")
    for document in (altered, {"name": "Quzqlam"}):
        with pytest.raises(RemoteRefused, match=r"another value"):
            remote.push("patient", document, id="1", expected=record["edited"], idempotency_key="k")
    assert patients.rows("SELECT * FROM patients ORDER BY id") == before
    assert patients.rows("SELECT count(*) FROM medmirror_pushed") == [(0,)]


def test_the_settings_say_what_is_wrong(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    for wrong, said in (
        ({"urll": 1}, "no setting 'urll'"),
        ({"changed": {"person": "x"}}, "names 'person'"),
        ({"changed": {"patient": {"column": "x", "unit": "days"}}}, "units"),
        ({"deleted": {"patient": {"table": "x"}}}, "is written as"),
        ({"deleted": {"patient": {"table": "x", "at": "y", "key": ["a", "b"]}}}, "as many columns"),
        ({"page": 0}, "page"),
        ({"push": ["person"]}, "push"),
        ({"mapping": []}, "which tables"),
        ({"url": "mysql://me:geheim@host/db"}, "no password"),
    ):
        given = {"url": url, "mapping": TABLE.format(zone="UTC"), **wrong}
        with pytest.raises(UsageError, match=said) as caught:
            kind("sql").open("org_s", given, None, Around())
        assert "geheim" not in str(caught.value)


def test_what_the_database_says_is_told_without_a_value_or_the_password(patients: Clinic, tmp_path: Path) -> None:
    with pytest.raises(LayoutChanged, match="no column"):
        list(opened(patients.url, changed={"patient": "editd"}).changed("patient", BEGINNING, 1))
    with pytest.raises(RemoteUnavailable) as caught:
        opened("postgresql://somebody:geheim@127.0.0.1:1/none").now()
    assert "geheim" not in str(caught.value)
    outcomes: list[int] = []
    remote = opened(f"sqlite:///{tmp_path / 'none.db'}", around=Around(called=outcomes.append))
    with pytest.raises((RemoteUnavailable, RemoteRefused)):
        remote.now()
    assert outcomes == [0]


@pytest.fixture
def settings(dsn: str) -> Iterator[Settings]:
    """Settings on this test's database."""
    yield replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)
    worker.own_engine.cache_clear()


def stored(engine: Engine, settings: Settings, pages: list[Page]) -> Counts:
    one = Organization("org_s", "sql", "sql", mappings=(VSRX,))
    run_id = retry.in_transaction(engine, lambda conn: runs.open_run(conn, "sync", "sql", {}))
    return Store(engine, settings, one, run_id).put(pages, {}).counts


def test_pages_are_what_the_bulk_load_reads_byte_for_byte(
    engine: Engine, settings: Settings, clinic: Clinic, tmp_path: Path
) -> None:
    METADATA.create_all(clinic.engine)
    with clinic.engine.begin() as connection:
        write_practice(connection, 20)
    path = tmp_path / "vsrx.toml"
    path.write_text(VSRX)
    loaded = medmirror.load("sql", organization="org_s", mapping=path, url=clinic.url, settings=settings)
    assert loaded.inserted == 106
    with opened_closing(clinic.url, VSRX) as remote:
        until = remote.now()
        pages = [page for feed in remote.capabilities.feeds for page in remote.changed(feed, BEGINNING, until)]
    assert sum(page.records for page in pages) == 106
    counts = stored(engine, settings, pages)
    assert (counts.read, counts.unchanged) == (106, 106)


class opened_closing:
    """A remote for as long as a `with` lasts."""

    def __init__(self, url: str, mapping: str, **more: Any) -> None:
        self.remote = opened(url, mapping, **more)

    def __enter__(self) -> Remote:
        return self.remote

    def __exit__(self, *rest: Any) -> None:
        self.remote.close()


def test_an_edit_and_a_deletion_reach_the_mirror(engine: Engine, settings: Settings, clinic: Clinic) -> None:
    METADATA.create_all(clinic.engine)
    with clinic.engine.begin() as connection:
        write_practice(connection, 5)
    clinic.run("CREATE TABLE gone (id integer, at timestamp)")
    deleted: Mapping[str, Any] = {"patient": {"table": "gone", "key": ["id"], "at": "at"}}
    with opened_closing(clinic.url, VSRX, deleted=deleted) as remote:
        until = remote.now()
        assert stored(engine, settings, list(remote.changed("patient", BEGINNING, until))).inserted == 5
        clinic.run(
            """UPDATE patients SET "Notes" = 'seen', "ModifiedAt" = '2026-09-09 12:00:00' WHERE "PatientID" = 2""",
            """DELETE FROM patients WHERE "PatientID" = 3""",
            "INSERT INTO gone VALUES (3, '2026-09-09 12:00:00')",
        )
        later = moment("2026-09-10 00:00:00")
        changes = list(remote.changed("patient", Position(moment("2026-09-01 00:00:00")), later))
        assert stored(engine, settings, changes)._asdict()["updated"] == 1
        assert stored(engine, settings, list(remote.deleted("patient", 1, later))).tombstoned == 1
    with engine.connect() as connection:
        connection.execute(text("SELECT set_config('medmirror.organization', 'org_s', false)"))
        found = connection.execute(text("SELECT id, deleted FROM sql.record WHERE kind = 'patient' ORDER BY id")).all()
    assert [tuple(row) for row in found] == [("1", False), ("2", False), ("3", True), ("4", False), ("5", False)]
