"""Whoever may make functions, operators, casts, tables and types in public gets nothing run by us, and no right."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

import medmirror
import mirrors
from medmirror.db import connect, migrate
from medmirror.errors import StoreError
from medmirror.jobs.queue.postgres import PostgresQueue
from medmirror.settings import Settings

# (name, arguments, result): each fits a call of ours better than Postgres' own function, or as well.
FUNCTIONS = [
    ("pg_has_role", "regrole, text", "boolean"),
    ("pg_has_role", "oid, text", "boolean"),
    ("to_regrole", "varchar", "regrole"),
    ("set_config", "varchar, varchar, boolean", "text"),
    ("set_config", "name, text, boolean", "text"),
    ("current_setting", "varchar", "text"),
    ("current_setting", "name", "text"),
    ("unnest", "text[]", "SETOF text"),
    ("format", "text, name", "text"),
    ("format", "text, name, name", "text"),
    ("format", "text, regclass", "text"),
    ("concat_ws", "text, text, text", "text"),
    ("array_to_string", "text[], text", "text"),
    ("coalesce", "text, text", "text"),
    ("now", "", "timestamptz"),
    ("clock_timestamp", "", "timestamptz"),
    ("pg_advisory_xact_lock", "int", "void"),
    ("pg_try_advisory_xact_lock_shared", "int", "boolean"),
    ("pg_advisory_lock", "int", "void"),
    ("left", "varchar, int", "text"),
    ("position", "varchar, text", "int"),
    ("starts_with", "varchar, text", "boolean"),
    ("jsonb_path_query", "jsonb, text", "SETOF jsonb"),
    ("sha256", "text", "bytea"),
    ("count", "text", "bigint"),
]
OPERATORS = list(
    itertools.product(
        ["=", "<>", "<", ">", "||", "~", "~~"],
        [("name", "text"), ("text", "name"), ("name", "varchar"), ("varchar", "text"), ("text", "varchar")],
    )
)
DEED = "INSERT INTO public.caught VALUES (current_user::text); RETURN NULL;"


def plant(dsn: str) -> None:
    """Make all of it in the database *dsn*, as its user, who may create in public."""
    with psycopg.connect(dsn, autocommit=True) as theirs:
        theirs.execute("CREATE TABLE public.caught (who text); GRANT ALL ON public.caught TO public")
        for name, arguments, result in FUNCTIONS:
            body = DEED.replace("RETURN NULL", "RETURN") if result.startswith(("SETOF", "void")) else DEED
            theirs.execute(
                f"CREATE FUNCTION public.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS"  # type: ignore[arg-type]
                f" $$ BEGIN {body} END $$"
            )
        for number, (sign, (left, right)) in enumerate(OPERATORS):
            result = "text" if sign == "||" else "boolean"
            theirs.execute(
                f"CREATE FUNCTION public.deed_{number}({left}, {right}) RETURNS {result} LANGUAGE plpgsql AS"  # type: ignore[arg-type]
                f" $$ BEGIN {DEED} END $$; CREATE OPERATOR public.{sign}"
                f" (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.deed_{number})"
            )
        for table in ("pg_class", "pg_roles", "pg_policies", "citation", "run", "migration", "record"):
            theirs.execute(f"CREATE TABLE public.{table} (planted int)")  # type: ignore[arg-type]
        for kind in ("text", "regrole", "jsonb", "timestamptz", "int8"):
            theirs.execute(f"CREATE DOMAIN public.{kind} AS pg_catalog.int4 CHECK (false)")  # type: ignore[arg-type]
        theirs.execute("CREATE TYPE public.word AS (w pg_catalog.text)")
        theirs.execute(
            "CREATE FUNCTION public.deed_cast(public.word) RETURNS pg_catalog.text LANGUAGE plpgsql AS"
            f" $$ BEGIN {DEED} END $$; CREATE CAST (public.word AS pg_catalog.text)"  # type: ignore[arg-type]
            " WITH FUNCTION public.deed_cast AS IMPLICIT"
        )


@pytest.fixture
def planted(server: str, empty_dsn: str) -> Iterator[str]:
    """An empty database in which a user without rights has planted all he can."""
    name = f"planter_{uuid4().hex[:12]}"
    with psycopg.connect(empty_dsn, autocommit=True) as owner:
        owner.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(name)))
        owner.execute("GRANT CREATE ON SCHEMA public TO public")
    plant(make_conninfo(empty_dsn, user=name))
    with psycopg.connect(empty_dsn) as owner:  # a session with the usual search_path falls into the trap
        owner.execute(
            "SELECT pg_has_role(to_regrole(current_user), 'MEMBER'), CAST('a' AS varchar) = CAST('b' AS text)"
        )
        assert owner.execute("SELECT count(*) FROM caught").fetchone() == (2,)
        owner.rollback()
    yield empty_dsn
    with psycopg.connect(empty_dsn, autocommit=True) as owner:
        owner.execute(SQL("DROP OWNED BY {0} CASCADE; DROP ROLE {0}").format(Identifier(name)))


def test_nothing_that_is_planted_is_run_by_a_load_a_search_or_an_audit(planted: str, tmp_path: Path) -> None:
    settings = Settings.from_environment(dsn=planted, workers=1)
    citation = (
        b"<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID Version='1'>1</PMID><Article><ArticleTitle>Gout"
        b"</ArticleTitle></Article></MedlineCitation></PubmedArticle></PubmedArticleSet>"
    )
    (tmp_path / "pubmed26n0001.xml.gz").write_bytes(gzip.compress(citation))
    assert medmirror.load("pubmed", tmp_path, settings=settings, index=True).inserted == 1
    patient = tmp_path / "Patient.ndjson"
    patient.write_bytes(b'{"resourceType":"Patient","id":"p1","meta":{"versionId":"1"},"birthDate":"1980-01-02"}\n')
    assert medmirror.load("fhir", patient, organization="clinic-a", settings=settings).inserted == 1
    for arguments in (["search", "gout"], ["audit"], ["status"], ["runs"]):
        done = subprocess.run(
            [sys.executable, "-m", "medmirror", "--dsn", planted, *arguments], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    queue = PostgresQueue(planted)
    queue.put(uuid4(), 0, 0)
    assert queue.depth() == 1
    queue.prune()
    queue.close()
    with psycopg.connect(planted) as owner:
        # A view that is read by somebody whose search_path has public in it, as it is by default.
        owner.execute("SET medmirror.organization = '*'")
        owner.execute("SELECT * FROM fhir.patient").fetchall()
        owner.execute("UPDATE fhir.resource_fact SET deleted = deleted")
    assert mirrors.every(planted, "SELECT who FROM public.caught") == []


def test_every_function_of_ours_is_independent_of_its_callers_search_path(dsn: str) -> None:
    loose = mirrors.every(
        dsn,
        "SELECT p.oid::regprocedure FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
        " WHERE n.nspname !~ '^pg_|^information_schema$|^public$|^medmirror_queue$' AND p.prosqlbody IS NULL"
        " AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)",
    )
    assert loose == []


def test_readers_get_no_right_on_what_stood_in_a_schema_before(empty_dsn: str) -> None:
    mirrors.run(empty_dsn, "CREATE SCHEMA pubmed")
    mirrors.run(empty_dsn, "CREATE TABLE pubmed.salaries (amount int)")
    engine = connect.engine(empty_dsn)
    migrate.migrate(engine)
    engine.dispose()
    allowed = mirrors.every(
        empty_dsn,
        "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_schema NOT IN"
        " ('pg_catalog', 'information_schema', 'medmirror', 'medmirror_queue', 'public') AND NOT has_table_privilege("
        "'medmirror_reader', format('%%I.%%I', table_schema, table_name)::regclass, 'SELECT')",
    )
    assert allowed == [("pubmed.salaries",)]


def test_a_schema_of_somebody_else_is_refused(empty_dsn: str) -> None:
    """Its owner could drop what is made in it, and pass for the owner of the walls."""
    role = f"squatter_{uuid4().hex[:12]}"
    with psycopg.connect(empty_dsn, autocommit=True) as owner:
        owner.execute(SQL("CREATE ROLE {0}; CREATE SCHEMA medmirror AUTHORIZATION {0}").format(Identifier(role)))
        engine = connect.engine(empty_dsn)
        try:
            with pytest.raises(StoreError, match=f"The schema medmirror belongs to the role {role}"):
                migrate.migrate(engine)
            owner.execute("ALTER SCHEMA medmirror OWNER TO CURRENT_USER")
            assert migrate.migrate(engine) == migrate.declared()
        finally:
            engine.dispose()
            owner.execute(SQL("DROP ROLE {}").format(Identifier(role)))
