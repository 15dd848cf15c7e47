"""A MariaDB as a remote: its own kinds of time, its own clock, rows written under their version."""

# ruff: noqa: S608 - the test itself writes the statements

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from mariadbserver import Server
from medmirror.errors import AuthenticationFailed, RemoteRefused, StaleWrite
from medmirror.remotes import kind
from medmirror.remotes.base import BEGINNING, Around, Page, Position, Remote
from medmirror_testing.samples.people import person

TABLE = '[[table]]\nkind = "patient"\nname = "patients"\nkey = ["id"]\nupdated = "edited"\ntime_zone = "{zone}"\n'
SECOND = 1_000_000


def moment(words: str) -> int:
    return int(datetime.fromisoformat(words).replace(tzinfo=UTC).timestamp()) * SECOND


def opened(url: str, zone: str = "UTC", **more: Any) -> Remote:
    return kind("sql").open("org_m", {"url": url, "mapping": TABLE.format(zone=zone), **more}, None, Around())


def ids(pages: Iterator[Page]) -> list[Any]:
    return [orjson.loads(line)["id"] for page in pages for line in bytes(page.body).splitlines()]  # type: ignore[arg-type]


@pytest.fixture
def run(mariadb: Server, practice: str) -> Any:
    engine = mariadb.engine(practice)

    def statements(*some: str) -> list[Any]:
        with engine.begin() as connection:
            connection.execute(text("SET time_zone = '+00:00'"))
            results = [connection.execute(text(one)) for one in some]
            return list(results[-1].all()) if results[-1].returns_rows else []

    return statements


@pytest.mark.parametrize("type_", ["DATETIME", "DATETIME(6)", "TIMESTAMP NULL", "TIMESTAMP(3) NULL"])
def test_every_kind_of_time_is_listed_in_order(mariadb: Server, practice: str, run: Any, type_: str) -> None:
    run(
        f"CREATE TABLE patients (id int PRIMARY KEY, edited {type_})",
        *(f"INSERT INTO patients VALUES ({n}, '2026-03-01 10:00:0{n // 2}')" for n in range(6)),
        "INSERT INTO patients VALUES (9, NULL)",
    )
    remote = opened(mariadb.url(practice, "reader"), page=2)
    begin = moment("2026-03-01 10:00:00")
    assert ids(remote.changed("patient", Position(begin + SECOND), begin + 2 * SECOND)) == [2, 3, 4, 5]
    assert ids(remote.changed("patient", Position(1), begin + SECOND)) == [0, 1, 2, 3]
    pages = list(remote.changed("patient", BEGINNING, begin + 9 * SECOND))
    assert ids(iter(pages)) == [9, 0, 1, 2, 3, 4, 5]
    assert pages[-1].upto == Position(begin + 2 * SECOND)
    assert abs(remote.now() - datetime.now(UTC).timestamp() * 1e6) < 5 * SECOND


def test_a_zero_date_is_not_left_out(mariadb: Server, practice: str, run: Any) -> None:
    run(
        "CREATE TABLE patients (id int PRIMARY KEY, edited datetime)",
        "SET sql_mode = ''",
        "INSERT INTO patients VALUES (1, '0000-00-00 00:00:00'), (2, '2026-03-01 10:00:00')",
    )
    remote = opened(mariadb.url(practice, "reader"))
    assert sorted(ids(remote.changed("patient", BEGINNING, moment("2026-04-01 00:00:00")))) == [1, 2]


def test_local_times_are_bounded_in_the_clinics_zone(mariadb: Server, practice: str, run: Any) -> None:
    run(
        "CREATE TABLE patients (id int PRIMARY KEY, edited datetime)",
        "INSERT INTO patients VALUES (1, '2026-06-01 10:00:00'), (2, '2026-06-01 10:01:00')",  # UTC+10
    )
    remote = opened(mariadb.url(practice, "reader"), zone="Australia/Sydney")
    begin = moment("2026-06-01 00:00:00")
    assert ids(remote.changed("patient", Position(begin - SECOND), begin)) == [1]
    assert ids(remote.changed("patient", Position(begin + SECOND), begin + 3600 * SECOND)) == [2]


def test_a_row_is_made_and_changed_under_its_version(mariadb: Server, practice: str, run: Any) -> None:
    name = person(1).family
    run(
        "CREATE TABLE patients (id int AUTO_INCREMENT PRIMARY KEY, name varchar(80), edited datetime)",
        "CREATE TABLE medmirror_pushed (idempotency_key varchar(200) PRIMARY KEY, kind varchar(100), id varchar(400), "
        "version varchar(100), time bigint)",
    )
    url = mariadb.url(practice)
    remote = opened(url, zone="Australia/Sydney", push=["patient"])
    made = remote.push("patient", {"name": name}, id=None, expected=None, idempotency_key="n1")
    assert remote.push("patient", {"name": name}, id=None, expected=None, idempotency_key="n1") == made
    page = remote.get("patient", made.id)
    assert page is not None
    assert orjson.loads(bytes(page.body))["edited"] == made.version  # type: ignore[arg-type]
    done = remote.push("patient", {"name": "x"}, id=made.id, expected=made.version, idempotency_key="c1")
    assert done.version != made.version
    with pytest.raises(StaleWrite):
        remote.push("patient", {"name": "y"}, id=made.id, expected=made.version, idempotency_key="c2")
    assert run("SELECT count(*), max(name) FROM patients") == [(1, "x")]
    reader = opened(mariadb.url(practice, "reader"), push=["patient"])
    with pytest.raises(RemoteRefused):
        reader.push("patient", {"name": "z"}, id=made.id, expected=done.version, idempotency_key="c3")


def test_a_user_who_may_not_log_in_is_said_so(mariadb: Server, practice: str) -> None:
    with pytest.raises(AuthenticationFailed):
        opened(mariadb.url(practice, "nobody_known")).now()
