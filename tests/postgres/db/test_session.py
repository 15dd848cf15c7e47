"""The state of a session is ours: not the server's, the role's, the environment's or another client's."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import text

import places
from medmirror.db import connect, locks, session
from medmirror.db.sessionlock import SessionLock
from medmirror.errors import StoreUnavailable, TransactionPooler, UsageError, WrongEncoding
from pooler import Pooler

TEXT = "Naïve café β-blocker, Müller"


def settings_of(dsn: str, *names: str) -> dict[str, Any]:
    """The settings *names* of a session of ours."""
    engine = connect.engine(dsn)
    with engine.connect() as conn:
        shown = {name: conn.scalar(text("SELECT current_setting(:name, true)"), {"name": name}) for name in names}
    engine.dispose()
    return shown


@pytest.fixture
def owner(dsn: str) -> Iterator[Any]:
    """A connection that is not of ours."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def test_nothing_but_the_session_s_module_connects_to_postgres() -> None:
    for path in (places.ROOT / "src" / "medmirror").rglob("*.py"):
        if path.name == "session.py" and path.parent.name == "db":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in ("psycopg.connect", "psycopg.Connection.connect"), path


@pytest.mark.parametrize("way", ["environment", "database", "role", "dsn", "options"])
def test_texts_are_utf8_whatever_the_session_was_told(
    dsn: str, owner: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    name = Identifier(owner.info.dbname)
    user = Identifier(owner.info.user)
    used = dsn
    if way == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    elif way == "database":
        owner.execute(SQL("ALTER DATABASE {} SET client_encoding = 'LATIN1'").format(name))
    elif way == "role":
        owner.execute(SQL("ALTER ROLE {} IN DATABASE {} SET client_encoding = 'LATIN1'").format(user, name))
    elif way == "dsn":
        used = make_conninfo(dsn, client_encoding="LATIN1")
    else:
        used = make_conninfo(dsn, options="-c client_encoding=LATIN1")
    assert settings_of(used, "client_encoding") == {"client_encoding": "UTF8"}
    engine = connect.engine(used)
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE public.t AS SELECT CAST(:text AS text) AS t"), {"text": TEXT})
    engine.dispose()
    with psycopg.connect(dsn, client_encoding="UTF8") as fresh:
        assert fresh.execute("SELECT t, octet_length(t) FROM t").fetchone() == (TEXT, len(TEXT.encode()))


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_of_another_encoding_is_refused_before_anything_is_written(server: str, encoding: str) -> None:
    name = f"medmirror_test_{os.getpid()}_{encoding.lower()}"
    with psycopg.connect(server, autocommit=True) as connection:
        make = "CREATE DATABASE {} ENCODING {} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        connection.execute(SQL(make).format(Identifier(name), Literal(encoding)))
        try:
            engine = connect.engine(make_conninfo(server, dbname=name))
            with pytest.raises(WrongEncoding, match=f"encoding is {encoding}"):
                connect.check(engine)
            engine.dispose()
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


STRANGE = {
    "search_path": "public, pg_catalog",
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Tokyo",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "gin_fuzzy_search_limit": "1",
    "row_security": "off",
    "session_replication_role": "replica",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
    "medmirror.organization": "clinic-b",
}


def test_what_the_database_sets_changes_no_meaning(dsn: str, owner: Any) -> None:
    ours = settings_of(dsn, *STRANGE)
    for name, value in STRANGE.items():
        setting = SQL(", ").join(map(Literal, value.split(", ")))
        statement = SQL("ALTER DATABASE {} SET {} = {}")
        owner.execute(statement.format(Identifier(owner.info.dbname), SQL(name), setting))  # type: ignore[arg-type]
    assert settings_of(dsn, *STRANGE) == ours
    assert ours["search_path"] == "pg_catalog, pg_temp"
    assert ours["medmirror.organization"] == "*"


def test_role_and_organisation_end_with_each_transaction(dsn: str) -> None:
    engine = connect.engine(dsn, organization="clinic-a", pool_size=1)
    asked = text("SELECT current_user, current_setting('medmirror.organization', true)")
    with engine.connect() as conn:
        assert tuple(conn.execute(asked).one()) == (connect.LOADER, "clinic-a")
        conn.rollback()
        between = connect.raw(conn).execute("SELECT current_user, current_setting('medmirror.organization', true)")
        assert between.fetchone() == (conninfo_to_dict(dsn).get("user"), "")
        connect.raw(conn).rollback()
        assert tuple(conn.execute(asked).one()) == (connect.LOADER, "clinic-a")
    engine.dispose()


def test_a_transaction_pooler_is_refused_and_gets_nothing_of_ours(dsn: str) -> None:
    pooler = Pooler(dsn)
    engine = connect.engine(pooler.dsn, organization="clinic-a")
    with pytest.raises(TransactionPooler, match="session pool, or the server itself"):
        connect.check(engine)
    engine.dispose()
    lock = SessionLock(pooler.dsn, "test", "the test's lock", locks.NIGHTLY)
    with pytest.raises(TransactionPooler):
        lock.take()
    with psycopg.connect(pooler.dsn, autocommit=True) as other:
        shown = other.execute("SELECT current_setting('search_path'), current_setting('medmirror.organization', true)")
        assert shown.fetchone() == ('"$user", public', None)
    pooler.close()


def test_a_session_pooler_is_served_and_finds_the_session_cleared(dsn: str) -> None:
    pooler = Pooler(dsn, sessions=True)
    engine = connect.engine(pooler.dsn, organization="clinic-a")
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT current_user")) == connect.LOADER
        process = conn.scalar(text("SELECT pg_backend_pid()"))
    with engine.connect() as conn:  # the same one again, and in no transaction yet
        alone = conn.execution_options(isolation_level="AUTOCOMMIT")
        assert alone.scalar(text("SELECT pg_backend_pid()")) == process
    engine.dispose()
    with psycopg.connect(pooler.dsn, autocommit=True) as other:
        shown = other.execute("SELECT pg_backend_pid(), current_setting('search_path'), current_setting('TimeZone')")
        mine = psycopg.connect(dsn).execute("SELECT current_setting('TimeZone')").fetchone()
        assert shown.fetchone() == (process, '"$user", public', *(mine or ()))
    pooler.close()


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://admin:Secret@Tail99@localhost:1/db",
        "postgresql://we@ird:user:Secret@ss/w:o#Tail99@localhost/x",
        "postgresql://admin:Secret/Tail99@localhost/db",
        "postgresql://admin:Secret?Tail99@localhost/db",
        "host=localhost password=Secret Tail99",
    ],
)
def test_no_part_of_a_password_is_shown_when_its_signs_are_not_escaped(dsn: str) -> None:
    with pytest.raises(UsageError, match="%40") as caught:
        connect.engine(dsn)
    assert "Secret" not in str(caught.value)
    assert "Tail99" not in str(caught.value)


def test_the_reason_of_a_failed_connection_is_kept(dsn: str) -> None:
    engine = connect.engine(make_conninfo(dsn, dbname="not there"))
    with pytest.raises(StoreUnavailable, match='database "not there" does not exist'):
        connect.check(engine)
    lock = SessionLock(make_conninfo(dsn, dbname="not there"), "test", "the test's lock", locks.NIGHTLY)
    with pytest.raises(StoreUnavailable, match='database "not there" does not exist'):
        lock.take()


def test_every_statement_of_ours_is_found_without_a_search_path() -> None:
    """A template of all tables is made with it; here: nobody sets another one, but the queue of its own schema."""
    paths = [path for path in Path(places.ROOT / "src").rglob("*.py") if "search_path" in path.read_text("utf-8")]
    assert {path.name for path in paths} <= {"session.py", "postgres.py", "tables.py"}
    assert session.settings()[0][0].count(b"SET search_path = pg_catalog, pg_temp") == 1
