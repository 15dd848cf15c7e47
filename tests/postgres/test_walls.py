"""Organisations are walled off from one another by the database itself, whatever our own code would try."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

import mirrors
from medmirror.db import connect, migrate
from medmirror.ingest import canonicalstore as mapping

WALLED = (
    "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relrowsecurity, c.relforcerowsecurity"
    " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid"
    " WHERE a.attname = 'organization_id' AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'"
)
# What says nothing of a patient: who may read what, and how many rows a table has.
OPEN = {"medmirror.membership", "medmirror.set_delta", "medmirror.set_digest", "medmirror.whole_pass"}

# The books of the syncs: no patient's value is in them, and nobody but their owner may open them.
BOOKS = {
    *(
        f"medmirror.{name}"
        for name in ("organization", "sync_state", "watermark", "sync_note", "job", "job_key", "dead_letter")
    ),
    *(f"medmirror.{name}" for name in ("api_key_organization", "audit_log", "webhook_event")),
}


def row(source_id: str) -> mapping.Row:
    return mapping.Row("patient", source_id, 1, bytes(16), "patient", b"{}", bytes(16), bytes(16), 1)


@pytest.fixture
def loaded(dsn: str) -> str:
    """A database with one patient of each of two organisations."""
    for name in ("org_a", "org_b"):
        engine = connect.engine(dsn, organization=name)
        with engine.begin() as conn:
            mapping.store(conn, "cliniko", name, 1, [row("1")])
        engine.dispose()
    return dsn


@pytest.fixture
def inside(loaded: str) -> Iterator[Connection]:
    """A loader's connection for org_a."""
    engine = connect.engine(loaded, organization="org_a")
    with engine.connect() as conn:
        yield conn
    engine.dispose()


def test_every_table_with_organisations_is_walled(dsn: str) -> None:
    found = mirrors.every(dsn, WALLED)
    assert len(found) > 10
    assert {str(name) for name, on, forced in found if not (on and forced)} <= OPEN | BOOKS


def test_the_books_of_the_syncs_are_their_owners_alone(dsn: str) -> None:
    found = mirrors.every(
        dsn,
        "SELECT table_schema || '.' || table_name, grantee FROM information_schema.table_privileges"
        " WHERE grantee IN ('PUBLIC', 'medmirror_reader', 'medmirror_loader')",
    )
    open_to = {str(name) for name, _ in found}
    assert "medmirror.file" in open_to
    assert not BOOKS & open_to


@pytest.mark.parametrize("table", ["medmirror.sync_mapping", "canonical.record", "canonical.patient_record"])
def test_a_load_reads_only_its_own_organisation(inside: Connection, table: str) -> None:
    found = inside.execute(text(f"SELECT organization_id FROM {table}")).scalars().all()  # noqa: S608
    assert found == ["org_a"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE medmirror.sync_mapping SET version = 9 WHERE organization_id = 'org_b'",
        "DELETE FROM medmirror.sync_mapping WHERE organization_id = 'org_b'",
        "DELETE FROM canonical.record WHERE organization_id = 'org_b'",
        "DELETE FROM canonical.patient_record WHERE organization_id = 'org_b'",
    ],
)
def test_a_load_touches_no_row_of_another_organisation(inside: Connection, statement: str) -> None:
    assert inside.execute(text(statement)).rowcount == 0


def test_a_load_cannot_write_under_another_name(inside: Connection, loaded: str) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), inside.begin():
        mapping.store(inside, "cliniko", "org_b", 1, [row("2")])
    assert mirrors.one(loaded, "SELECT count(*) FROM medmirror.sync_mapping") == (2,)


@pytest.mark.parametrize("name", ["*", "", "org_b' OR true --"])
def test_no_name_of_an_organisation_opens_the_wall(loaded: str, name: str) -> None:
    engine = connect.engine(loaded, organization=name)
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT count(*) FROM canonical.record")) == 0
    engine.dispose()


@pytest.mark.parametrize(
    "own",
    [
        "CREATE FUNCTION theirs.pg_has_role(name, oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE FUNCTION theirs.same(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE OPERATOR theirs.= (LEFTARG = name, RIGHTARG = name, PROCEDURE = theirs.same)",
    ],
)
def test_a_reader_passes_no_wall_with_functions_of_his_own(loaded: str, own: str) -> None:
    reader = f"reader_{uuid4().hex}"
    with psycopg.connect(loaded, autocommit=True) as conn:
        conn.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(reader)))
        try:
            conn.execute(SQL("GRANT medmirror_reader TO {}").format(Identifier(reader)))
            conn.execute(SQL("CREATE SCHEMA theirs AUTHORIZATION {}").format(Identifier(reader)))
            with psycopg.connect(loaded, autocommit=True) as theirs:
                theirs.execute(SQL("SET ROLE {}").format(Identifier(reader)))
                for statement in own.split(";"):
                    theirs.execute(statement)  # type: ignore[arg-type]
                theirs.execute("SET search_path = theirs, pg_catalog")
                for name in ("*", "org_a"):
                    theirs.execute("SELECT set_config('medmirror.organization', %s, false)", [name])
                    found = theirs.execute("SELECT count(*) FROM medmirror.sync_mapping").fetchone()
                    assert found == (0,)
        finally:
            conn.execute("DROP SCHEMA theirs CASCADE")
            conn.execute(SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(Identifier(reader)))


def test_a_load_cannot_take_the_wall_down(inside: Connection) -> None:
    with pytest.raises(ProgrammingError, match="must be owner"):
        inside.execute(text("ALTER TABLE canonical.record DISABLE ROW LEVEL SECURITY"))


def test_a_reader_sees_the_organisations_that_he_is_a_member_of(loaded: str) -> None:
    mirrors.run(loaded, "INSERT INTO medmirror.membership VALUES ('medmirror_reader', 'org_b')")
    with psycopg.connect(loaded) as connection:
        connection.execute("SET ROLE medmirror_reader")
        connection.execute("SET medmirror.organization = '*'")  # asking for all is the owner's alone
        for table in ("canonical.record", "canonical.patient", "medmirror.sync_mapping"):
            found = connection.execute(SQL("SELECT organization_id FROM {}").format(Identifier(*table.split("."))))
            assert found.fetchall() == [("org_b",)]


@pytest.fixture
def plain_owner(server: str) -> Iterator[str]:
    """An empty database whose owner is no superuser and may make no roles, as most managed databases have it."""
    name = "medmirror_test_plain"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(name)))
        connection.execute(SQL("CREATE DATABASE {0} OWNER {0}").format(Identifier(name)))
    yield make_conninfo(server, dbname=name, user=name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
        connection.execute(SQL("DROP ROLE {}").format(Identifier(name)))


def test_the_wall_holds_for_an_owner_who_may_make_no_roles(plain_owner: str) -> None:
    owner: Engine = connect.engine(plain_owner)
    migrate.migrate(owner)
    for name in ("org_a", "org_b"):
        engine = connect.engine(plain_owner, organization=name)
        with engine.begin() as conn:
            mapping.store(conn, "cliniko", name, 1, [row("1")])
            assert conn.scalar(text("SELECT count(*) FROM canonical.record")) == 1
        engine.dispose()
    with owner.connect() as conn:
        assert conn.scalar(text("SELECT count(*) FROM canonical.record")) == 2
    owner.dispose()


def test_an_owner_who_made_the_loaders_role_becomes_it(server: str, plain_owner: str) -> None:
    """Postgres 16 makes a member of whoever creates a role, and yet refuses to let him take it."""
    with psycopg.connect(server, autocommit=True) as connection:
        if connection.info.server_version < 160000:
            pytest.skip("before Postgres 16 a member may take a role")
        connection.execute("ALTER ROLE medmirror_test_plain CREATEROLE")
        if connection.execute("SELECT to_regrole('medmirror_loader')").fetchone() == (None,):
            connection.execute("CREATE ROLE medmirror_loader NOLOGIN")
        grant = "GRANT medmirror_loader TO medmirror_test_plain WITH ADMIN TRUE, SET {0}, INHERIT {0}"
        connection.execute(SQL(grant).format(SQL("FALSE")))  # what CREATE ROLE gives who makes it
    assert _loads_as(plain_owner) == "medmirror_test_plain"  # tables of an earlier version: the wall holds for him
    migrate.migrate(owner := connect.engine(plain_owner))
    owner.dispose()
    assert _loads_as(plain_owner) == "medmirror_loader"


def _loads_as(dsn: str) -> str:
    """The role that a load of an organisation's records has."""
    engine = connect.engine(dsn, organization="org_a")
    with engine.connect() as conn:
        role = str(conn.scalar(text("SELECT current_user")))
    engine.dispose()
    return role


@pytest.fixture
def booked(loaded: str) -> str:
    """``loaded`` with a file of each organisation, and one of nobody's, in the ledger."""
    mirrors.run(loaded, "INSERT INTO medmirror.membership VALUES ('medmirror_reader', 'org_b'), ('somebody', 'org_a')")
    mirrors.run(loaded, "INSERT INTO medmirror.run (command, error) VALUES ('test', 'in the file of org_a')")
    for name in ("org_a", "org_b", None):
        digest = (name or "").encode().ljust(32)
        mirrors.every(
            loaded,
            "WITH f AS (INSERT INTO medmirror.file (source, path, digest, organization_id) VALUES ('csv', 'f', %s, %s)"
            " RETURNING file_id) INSERT INTO medmirror.chunk (file_id, start_byte, end_byte, run_id, keys)"
            " SELECT file_id, 0, 1, 1, %s FROM f RETURNING 1",
            digest,
            name,
            digest,
        )
    return loaded


def test_a_load_changes_no_other_organisation_s_ledger(booked: str) -> None:
    engine = connect.engine(booked, organization="org_a")
    with engine.connect() as conn:
        assert conn.execute(text("UPDATE medmirror.chunk SET inserted = 9")).rowcount == 1
        assert conn.execute(text("SELECT organization_id FROM medmirror.file")).scalars().all() == ["org_a"]
        with pytest.raises(ProgrammingError, match="row-level security"), conn.begin_nested():
            conn.execute(
                text("INSERT INTO medmirror.chunk (file_id, start_byte, end_byte, run_id) VALUES (2, 5, 6, 1)")
            )
        for statement in (
            "UPDATE medmirror.file SET status = 'done'",
            "UPDATE medmirror.run SET status = 'done'",
            "INSERT INTO medmirror.run (command) VALUES ('x')",
            "SELECT settings, counts, error FROM medmirror.run",
        ):
            with pytest.raises(ProgrammingError, match="permission denied"), conn.begin_nested():
                conn.execute(text(statement))
    engine.dispose()


def test_a_reader_learns_of_no_run_which_files_it_had_and_of_no_other_member(booked: str) -> None:
    with psycopg.connect(booked, autocommit=True) as connection:
        connection.execute("SET ROLE medmirror_reader")
        assert connection.execute("SELECT organization_id FROM medmirror.membership").fetchall() == [("org_b",)]
        assert connection.execute("SELECT run_id, command, status FROM medmirror.run").fetchall() == [
            (1, "test", "running")
        ]
        for column in ("settings", "counts", "error"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(SQL("SELECT {} FROM medmirror.run").format(Identifier(column)))


def test_a_reader_sees_no_file_and_no_chunk_of_another_organisation(booked: str) -> None:
    with psycopg.connect(booked) as connection:
        connection.execute("SET ROLE medmirror_reader")
        seen = connection.execute("SELECT organization_id FROM medmirror.file ORDER BY 1").fetchall()
        assert seen == [("org_b",), (None,)]
        keys = connection.execute("SELECT keys FROM medmirror.chunk ORDER BY 1").fetchall()
        assert [bytes(key).strip() for (key,) in keys] == [b"", b"org_b"]
