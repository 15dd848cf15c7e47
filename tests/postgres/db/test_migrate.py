from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import ProgrammingError

from medmirror.db import connect, migrate, sql
from medmirror.db.migrate import Migration
from medmirror.errors import SchemaOutOfDate

CONTRACT = {
    "migration": "source number digest applied_at",
    "run": "run_id command source started_at finished_at status host pid version settings counts seconds error",
    "file": "file_id source path size digest file_order first_seen_at status bytes run_id refused_error refused_reason",
    "chunk": "file_id member start_byte end_byte run_id read inserted updated unchanged duplicate tombstoned rejected"
    " filtered created seconds done_at",
    "reject": "reject_id file_id member source feed item start_byte end_byte error reason raw raw_complete context"
    " run_id first_failed_at last_failed_at attempts resolved_at",
}


@pytest.fixture
def empty(empty_dsn: str) -> Iterator[Engine]:
    made = connect.engine(empty_dsn)
    yield made
    made.dispose()


def _with(monkeypatch: pytest.MonkeyPatch, *more: Migration) -> None:
    known = (*migrate.declared(), *more)
    monkeypatch.setattr(migrate, "declared", lambda: known)


@pytest.mark.parametrize("table", sorted(CONTRACT))
def test_the_tables_have_the_columns_that_were_promised(engine: Engine, table: str) -> None:
    with engine.connect() as connection:
        found = connection.scalars(
            text("SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attnum > 0"),
            {"table": f"medmirror.{table}"},
        )
        assert set(CONTRACT[table].split()) <= set(found)


def test_every_table_and_every_unobvious_column_says_what_it_is_for(engine: Engine) -> None:
    with engine.connect() as connection:
        bare = connection.scalars(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'medmirror'::regnamespace AND relkind = 'r'"
                " AND obj_description(oid, 'pg_class') IS NULL"
            )
        ).all()
    assert bare == []


def test_all_migrations_are_applied_once(empty: Engine) -> None:
    assert migrate.migrate(empty) == migrate.declared()
    assert migrate.migrate(empty) == ()
    assert migrate.pending(empty) == ()


def test_when_nothing_is_missing_it_costs_one_query(engine: Engine) -> None:
    migrate.migrate(engine)
    statements: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    migrate.migrate(engine)
    assert len(statements) == 1


def test_an_applied_migration_that_was_edited_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = migrate.declared()
    edited = (first._replace(statements=first.statements + "\n-- edited"), *others)
    monkeypatch.setattr(migrate, "declared", lambda: edited)
    with pytest.raises(SchemaOutOfDate, match="edited") as caught:
        migrate.migrate(engine)
    assert caught.value.context == {"source": "core", "migration": 1}


@pytest.mark.parametrize(("source", "number"), [("core", 999), ("unheard", 1)])
def test_a_database_of_a_newer_medmirror_is_refused(engine: Engine, source: str, number: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO medmirror.migration (source, number, digest) VALUES (:source, :number, 'x')"),
            {"source": source, "number": number},
        )
    with pytest.raises(SchemaOutOfDate, match="newer medmirror"):
        migrate.migrate(engine)


def test_a_new_section_is_applied_to_a_database_that_has_the_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = Migration("zoo", 1, "CREATE SCHEMA zoo; CREATE TABLE zoo.animal (name text PRIMARY KEY, life jsonb);")
    _with(monkeypatch, more)
    assert migrate.pending(engine) == (more,)
    assert migrate.migrate(engine) == (more,)
    assert migrate.migrate(engine) == ()


def test_a_migration_that_fails_leaves_nothing_behind(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    _with(
        monkeypatch, Migration("zoo", 1, "CREATE SCHEMA zoo;"), Migration("zoo", 2, "CREATE TABLE zoo.a (b nothing);")
    )
    with pytest.raises((psycopg.Error, ProgrammingError)):
        migrate.migrate(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT to_regnamespace('zoo')")) is None
        assert connection.scalar(text("SELECT count(*) FROM medmirror.migration WHERE source = 'zoo'")) == 0


def test_many_who_migrate_at_once_make_the_tables_once(empty_dsn: str) -> None:
    def one(_: int) -> int:
        engine = connect.engine(empty_dsn)
        try:
            return len(migrate.migrate(engine))
        finally:
            engine.dispose()

    with ThreadPoolExecutor(6) as pool:
        applied = sorted(pool.map(one, range(6)))
    assert applied == [0, 0, 0, 0, 0, len(migrate.declared())]


def test_wide_columns_are_compressed_with_lz4_where_the_server_can(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with(
        monkeypatch, Migration("zoo", 1, "CREATE SCHEMA zoo; CREATE TABLE zoo.animal (n int, name text, life jsonb);")
    )
    migrate.migrate(engine)
    with engine.connect() as connection:
        can = connection.scalar(
            text("SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'")
        )
        found = connection.execute(
            text(
                "SELECT attname, attcompression::text FROM pg_attribute"
                " WHERE attrelid = 'zoo.animal'::regclass AND attnum > 0 ORDER BY attnum"
            )
        ).all()
    kind = "l" if can else ""
    assert [tuple(row) for row in found] == [("n", ""), ("name", kind), ("life", kind)]


def test_the_reader_may_read_mirrors_but_no_raw_bytes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    _with(monkeypatch, Migration("zoo", 1, "CREATE SCHEMA zoo; CREATE TABLE zoo.animal (name text);"))
    migrate.migrate(engine)
    allowed = [
        "SELECT * FROM zoo.animal",
        "SELECT run_id, command, source, status, started_at, finished_at, seconds FROM medmirror.run",
        "SELECT * FROM medmirror.file",
        "SELECT * FROM medmirror.chunk",
        "SELECT error, reason, start_byte FROM medmirror.reject",
    ]
    denied = [
        "SELECT raw FROM medmirror.reject",
        "SELECT * FROM medmirror.reject",
        "INSERT INTO zoo.animal VALUES ('x')",
        "SELECT * FROM medmirror.run",
        "DELETE FROM medmirror.run",
    ]
    with engine.connect() as connection:
        for statement in allowed:
            with connection.begin():
                connection.execute(text("SET LOCAL ROLE medmirror_reader"))
                connection.execute(text(statement))
        for statement in denied:
            with pytest.raises(ProgrammingError, match="permission denied"), connection.begin():
                connection.execute(text("SET LOCAL ROLE medmirror_reader"))
                connection.execute(text(statement))


def test_a_user_who_may_not_create_roles_migrates_all_the_same(server: str, empty_dsn: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(empty_dsn)["dbname"]
    role = f"{name}_plain"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'CREATE ROLE "{role}" NOLOGIN')
        admin.execute(f'ALTER DATABASE "{name}" OWNER TO "{role}"')
    engine = connect.engine(make_conninfo(empty_dsn, options=f"-c role={role}"))
    try:
        assert migrate.migrate(engine) == migrate.declared()
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT current_user")) == role
            # The reader may exist already, for roles belong to the whole server: so once more with one that does not.
            grants = sql.sections("core.sql")["roles"].replace("medmirror_reader", f"{name}_reader")
            connect.raw(connection).execute(grants.encode())
            assert connection.scalar(text("SELECT to_regrole(:role)"), {"role": f"{name}_reader"}) is None
    finally:
        engine.dispose()
        with psycopg.connect(empty_dsn, autocommit=True) as admin:
            admin.execute(f'REASSIGN OWNED BY "{role}" TO current_user')
            admin.execute(f'DROP OWNED BY "{role}"')
            admin.execute(f'DROP ROLE "{role}"')


def test_sections_must_count_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "sections", lambda name: {"migrate 1": "a", "migrate 3": "b"})
    with pytest.raises(ValueError, match="must count 1, 2, 3"):
        migrate._of_file("zoo", "sources/zoo.sql")
