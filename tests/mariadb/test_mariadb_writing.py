"""What is written to a practice's MariaDB stands there as it was sent, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import text

from mariadbserver import Server
from medmirror.errors import RemoteRefused
from medmirror.remotes import kind
from medmirror.remotes.base import Around, Remote

TABLE = '[[table]]\nkind = "patient"\nname = "patients"\nkey = ["id"]\nupdated = "edited"\ntime_zone = "UTC"\n'
LOG = (
    "CREATE TABLE medmirror_pushed (idempotency_key varchar(200) PRIMARY KEY, kind varchar(100), id varchar(400), "
    "version varchar(100), time bigint)"
)
COLUMNS = (
    "id int AUTO_INCREMENT PRIMARY KEY, family varchar(10) NOT NULL DEFAULT '', sex ENUM('M', 'F') NOT NULL"
    " DEFAULT 'F', born date, visits tinyint, weight decimal(5, 1), height float, seen datetime, at timestamp NULL,"
    " latin varchar(9) CHARACTER SET latin1, code char(4), photo varbinary(3), open time, flags SET('a', 'b'),"
    " edited datetime"
)
GOOD: dict[str, Any] = {
    "family": "Ash", "sex": "M", "born": "1990-04-05", "visits": 7, "weight": "70.5", "height": 1.5,
    "seen": "2026-01-02T10:00:00", "at": "2026-01-02T10:00:00+00:00", "latin": "Müller", "code": "a", "photo": "AAH/",
    "open": "10:00", "flags": "a,b",
}  # fmt: skip
ALTERED = [
    {"family": "Featherstonehaugh"}, {"family": "Ash       \t  "}, {"family": None}, {"sex": "X"}, {"sex": ""},
    {"sex": None}, {"sex": 1}, {"sex": "m"}, {"born": "1990"}, {"born": "0000-00-00"}, {"born": "1990-04-00"},
    {"born": ""}, {"born": "1990-02-30"}, {"born": "1990-04-05 10:00:00"}, {"visits": 4711}, {"visits": -129},
    {"visits": "7 times"}, {"visits": 1.5}, {"visits": ""}, {"weight": "70.55"}, {"weight": "123456.7"},
    {"height": 1.23456789}, {"seen": "2026-01-02T10:00:00.6"}, {"at": "1890-01-01T00:00:00+00:00"}, {"latin": "Łukasz"},
    {"latin": "👶"}, {"code": "abcde"}, {"photo": "AAH//w=="}, {"open": "noon"}, {"flags": "a,c"}, {"flags": "b,a"},
]  # fmt: skip


@pytest.fixture
def remote(mariadb: Server, practice: str) -> Remote:
    """The practice's database, whose own sessions are as lax as can be."""
    with mariadb.engine(practice).begin() as connection:
        for statement in ("SET GLOBAL sql_mode = ''", f"CREATE TABLE patients ({COLUMNS})", LOG):
            connection.execute(text(statement))
    settings = {"url": mariadb.url(practice), "mapping": TABLE, "push": ["patient"]}
    return kind("sql").open("org_m", settings, None, Around())


def rows(mariadb: Server, practice: str, query: str = "SELECT * FROM patients") -> list[Any]:
    with mariadb.engine(practice).connect() as connection:
        return list(connection.execute(text(query)).all())


def test_what_fits_is_written_whole(remote: Remote, mariadb: Server, practice: str) -> None:
    first = remote.push("patient", GOOD, id=None, expected=None, idempotency_key="n")
    sent = {**GOOD, "family": "Elm", "born": None, "weight": 71, "visits": True, "id": 1}
    remote.push("patient", sent, id=first.id, expected=first.version, idempotency_key="c")
    query = "SELECT family, born, weight, latin, CAST(visits AS char) FROM patients"
    assert [tuple(map(str, row)) for row in rows(mariadb, practice, query)] == [("Elm", "None", "71.0", "Müller", "1")]


@pytest.mark.parametrize("change", ALTERED)
def test_what_would_be_altered_is_refused_and_changes_nothing(
    remote: Remote, mariadb: Server, practice: str, change: Mapping[str, Any]
) -> None:
    with pytest.raises(RemoteRefused):
        remote.push("patient", {**GOOD, **change}, id=None, expected=None, idempotency_key="n")
    assert rows(mariadb, practice) == []
    made = remote.push("patient", GOOD, id=None, expected=None, idempotency_key="m")
    before = rows(mariadb, practice)
    with pytest.raises(RemoteRefused) as caught:
        remote.push("patient", change, id=made.id, expected=made.version, idempotency_key="c")
    assert rows(mariadb, practice) == before
    assert not any(value and str(value) in str(caught.value) for value in change.values() if len(str(value)) > 2)
    assert rows(mariadb, practice, "SELECT count(*) FROM medmirror_pushed") == [(1,)]


def test_a_trigger_that_alters_a_value_is_met(remote: Remote, mariadb: Server, practice: str) -> None:
    with mariadb.engine(practice).begin() as connection:
        connection.execute(
            text("CREATE TRIGGER shout BEFORE INSERT ON patients FOR EACH ROW SET NEW.family = upper(NEW.family)")
        )
    with pytest.raises(RemoteRefused, match="another value") as caught:
        remote.push("patient", {"family": "Ash"}, id=None, expected=None, idempotency_key="n")
    assert caught.value.context["column"] == "family"
    assert rows(mariadb, practice) == []


def test_a_column_without_a_default_is_not_filled_with_anything(remote: Remote, mariadb: Server, practice: str) -> None:
    with mariadb.engine(practice).begin() as connection:
        connection.execute(text("ALTER TABLE patients ADD COLUMN clinic ENUM('north', 'south') NOT NULL"))
    with pytest.raises(RemoteRefused):
        remote.push("patient", GOOD, id=None, expected=None, idempotency_key="n")
    assert rows(mariadb, practice) == []


@pytest.mark.parametrize("table", ["patients", "medmirror_pushed"])
def test_a_table_whose_writes_cannot_be_undone_is_not_written_to(
    remote: Remote, mariadb: Server, practice: str, table: str
) -> None:
    with mariadb.engine(practice).begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} ENGINE = MyISAM"))
    with pytest.raises(RemoteRefused, match="no transactions"):
        remote.push("patient", GOOD, id=None, expected=None, idempotency_key="n")
    assert rows(mariadb, practice) == []
