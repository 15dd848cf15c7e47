"""Set digests: right whoever writes, free of order, and the same on every server."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Engine

from medmirror.db import connect, migrate
from medmirror.db import digests as setdigest
from medmirror.db.digests import SetDigest
from mirrors import one, run

STUDY = "clinicaltrials.study"
FACT = "clinicaltrials.study_fact"

ROW = "('NCT{0:08}', {2}, {1}, 1, sha256('{3}'))"  # nct_id, deleted, version, run_id, digest
COPY = "COPY clinicaltrials.study_fact (nct_id, deleted, version, run_id, digest) FROM STDIN"
INSERT = "INSERT INTO clinicaltrials.study_fact (nct_id, deleted, version, run_id, digest) VALUES "
UPSERT = (
    " ON CONFLICT (nct_id) DO UPDATE"
    " SET version = excluded.version, digest = excluded.digest, deleted = excluded.deleted"
)

PARTED = """
    CREATE SCHEMA shelf;
    CREATE TABLE shelf.thing (kind text, organization_id text, id text, note text,
                              PRIMARY KEY (kind, organization_id, id)) PARTITION BY LIST (kind);
    CREATE TABLE shelf.book PARTITION OF shelf.thing FOR VALUES IN ('book');
    CREATE TABLE shelf.cup PARTITION OF shelf.thing FOR VALUES IN ('cup');
    INSERT INTO shelf.thing VALUES ('book', 'a', '1', 'x'), ('book', 'b', '1', NULL), ('cup', 'a', '1', '');
    SELECT medmirror.wall_off('shelf.thing');
    SELECT medmirror.keep_digest('shelf.thing', ARRAY['note'], 'kind');
"""

MAPPED = """
    INSERT INTO medmirror.sync_mapping (organization_id, source, feed, source_id, entity, canonical_id, own_id, version,
                                        source_hash, canonical_hash, mapping_digest, schema_version, run_id)
    SELECT 'clinic', 'cliniko', e, '1', e, id, id, 1, 'a', 'a', 'a', 1, 1
    FROM unnest('{patient, appointment}'::text[], '{00000000-0000-0000-0000-000000000001,
                                                    00000000-0000-0000-0000-000000000002}'::uuid[]) AS n(e, id);
    INSERT INTO canonical.record SELECT e, 'clinic', 'cliniko', e, '1', 1, '{"a": 1}'
    FROM unnest('{patient, appointment}'::text[]) AS n(e);
"""


def studies(*numbers: int, version: int = 1, deleted: bool = False, text: str = "a") -> str:
    """The statement that brings some studies' facts in."""
    return INSERT + ", ".join(ROW.format(number, version, deleted, text) for number in numbers) + UPSERT


def kept(engine: Engine, name: str = STUDY, organization: str | None = None) -> SetDigest:
    with engine.connect() as conn:
        return setdigest.table_digests(conn, organization).get(name, SetDigest())


def counted(engine: Engine, name: str = STUDY, organization: str | None = None) -> SetDigest:
    with engine.connect() as conn:
        relation = setdigest.of_name(setdigest.relations(conn), name)
        assert relation is not None
        recounted = setdigest.recount(conn, relation.relation, organization)
        return setdigest.total(digest for (table, _), digest in recounted.items() if table == name)


def test_every_source_has_a_digest_and_an_empty_table_has_no_rows(engine: Engine) -> None:
    with engine.connect() as conn:
        digests = setdigest.table_digests(conn)
    assert {"pubmed.citation", STUDY, "openfda.label", "openfda.shortage"} <= set(digests)
    assert set(digests.values()) == {SetDigest(0, 0)}


def test_the_hash_is_the_documented_one(dsn: str, engine: Engine) -> None:
    run(dsn, studies(7))
    content = hashlib.sha256(b"a").hexdigest()
    digest = hashlib.sha256("\x1f".join(["NCT00000007", content, "false"]).encode()).digest()
    expected = SetDigest(1, int.from_bytes(digest[:8], "big", signed=True))
    assert kept(engine) == expected
    assert expected.text == f"1:{digest[:8].hex()}"


def test_kept_digests_are_those_of_the_rows_whatever_statement_writes(dsn: str, engine: Engine) -> None:
    chance = random.Random(5)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for step in range(120):
            some = chance.sample(range(40), chance.randint(1, 12))
            names = [f"NCT{number:08}" for number in some]
            match chance.randrange(7):
                case 0 | 1 | 2:
                    statement = studies(*some, version=step, deleted=chance.random() < 0.2, text=str(step % 3))
                    connection.execute(statement.encode())
                case 3:
                    connection.execute("DELETE FROM clinicaltrials.study_fact WHERE nct_id = ANY (%s)", [names])
                case 4:
                    connection.execute(
                        "UPDATE clinicaltrials.study_fact SET digest = sha256(digest) WHERE nct_id = ANY (%s)",
                        [names],
                    )
                case 5 if step % 5 == 0:
                    connection.execute("TRUNCATE clinicaltrials.study_fact")
                case _:
                    connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS incoming (LIKE {FACT})")
                    with connection.cursor().copy(COPY) as copy:
                        copy.write_row((f"NCT{1_000 + step:08}", False, 1, 1, b"\x00" * 16))
            if step % 10 == 0:
                assert kept(engine) == counted(engine), step
            if step % 25 == 0:
                setdigest.fold(engine)
    assert kept(engine) == counted(engine)
    assert kept(engine).rows == one(dsn, "SELECT count(*) FROM clinicaltrials.study_fact")[0]


def test_the_order_of_rows_does_not_count_but_their_content_does(dsn: str, engine: Engine) -> None:
    run(dsn, studies(1, 2, 3))
    first = kept(engine)
    run(dsn, "TRUNCATE clinicaltrials.study_fact")
    assert kept(engine) == SetDigest()
    for number in (3, 1, 2):
        run(dsn, studies(number))
    assert kept(engine) == first
    run(dsn, studies(2, text="b"))
    assert kept(engine).rows == 3
    assert kept(engine) != first
    run(dsn, studies(2))
    run(dsn, "UPDATE clinicaltrials.study_fact SET version = version + 1, run_id = 9")
    assert kept(engine) == first


def test_swapped_contents_of_two_keys_are_told_apart(dsn: str, engine: Engine) -> None:
    run(dsn, studies(1, text="a") + ";" + studies(2, text="b"))
    before = kept(engine)
    run(dsn, studies(1, text="b") + ";" + studies(2, text="a"))
    assert kept(engine).rows == before.rows
    assert kept(engine).sum != before.sum


def test_what_is_rolled_back_is_not_booked(dsn: str, engine: Engine) -> None:
    run(dsn, studies(1))
    before = kept(engine)
    with psycopg.connect(dsn) as connection:
        connection.execute(studies(2, 3).encode())
        connection.rollback()
    assert kept(engine) == before == counted(engine)


def test_versions_that_move_alone_are_not_booked(dsn: str, engine: Engine) -> None:
    run(dsn, studies(1, 2))
    before = one(dsn, "SELECT count(*) FROM medmirror.set_delta")
    run(dsn, "UPDATE clinicaltrials.study_fact SET version = version + 1")
    run(dsn, "UPDATE clinicaltrials.study_fact SET version = version + 1 WHERE false")
    assert one(dsn, "SELECT count(*) FROM medmirror.set_delta") == before


def test_writers_folding_and_counting_anew_do_not_lose_one_another(dsn: str, engine: Engine) -> None:
    stop = threading.Event()

    def write(lane: int) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for step in range(60):
                connection.execute(studies(*range(lane * 100, lane * 100 + 20), version=step, text=str(step)).encode())

    def again_and_again(statement: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not stop.is_set():
                connection.execute(statement.encode())

    with ThreadPoolExecutor(6) as pool:
        others = [
            pool.submit(again_and_again, "SELECT medmirror.fold_digests()"),
            pool.submit(again_and_again, f"SELECT medmirror.rebook_digest('{FACT}')"),
        ]
        writers = [pool.submit(write, lane) for lane in range(4)]
        try:
            for writer in writers:
                writer.result()
        finally:
            stop.set()
        for other in others:
            other.result()
    assert kept(engine) == counted(engine)
    assert kept(engine).rows == 80


def test_folding_leaves_one_row_a_name(dsn: str, engine: Engine) -> None:
    for number in range(10):
        run(dsn, studies(number))
    before = kept(engine)
    assert setdigest.fold(engine) == 9
    assert setdigest.fold(engine) == 0
    assert kept(engine) == before


def test_folding_does_not_wait_for_who_folds_already(dsn: str, engine: Engine) -> None:
    run(dsn, studies(1) + ";" + studies(2))
    with psycopg.connect(dsn) as connection:
        connection.execute("LOCK TABLE medmirror.set_delta IN SHARE UPDATE EXCLUSIVE MODE")
        assert setdigest.fold(engine) == 0
    assert setdigest.fold(engine) == 1


def test_rows_that_are_there_already_are_booked_and_parted(dsn: str, engine: Engine) -> None:
    run(dsn, PARTED)
    assert [kept(engine, f"shelf.{kind}").rows for kind in ("book", "cup")] == [2, 1]
    assert [kept(engine, "shelf.book", organization).rows for organization in ("a", "b", "c")] == [1, 1, 0]
    for name in ("shelf.book", "shelf.cup"):
        assert kept(engine, name) == counted(engine, name)
        assert kept(engine, name, "a") == counted(engine, name, "a")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO shelf.thing VALUES ('cup', 'b', '5', 'new'), ('book', 'b', '5', 'new')",
        "INSERT INTO shelf.cup VALUES ('cup', 'b', '5', 'new')",
        "UPDATE shelf.thing SET kind = 'cup', id = 'moved' WHERE kind = 'book'",
        "UPDATE shelf.book SET note = ''",
        "DELETE FROM shelf.thing WHERE organization_id = 'a'",
        "DELETE FROM shelf.book",
        "TRUNCATE shelf.book",
        "TRUNCATE shelf.thing",
    ],
)
def test_partitions_are_booked_whether_named_or_not(statement: str, dsn: str, engine: Engine) -> None:
    run(dsn, PARTED)
    before = {name: kept(engine, name) for name in ("shelf.book", "shelf.cup")}
    run(dsn, statement)
    after = {name: kept(engine, name) for name in ("shelf.book", "shelf.cup")}
    assert after == {name: counted(engine, name) for name in after}
    assert after != before


def test_mapped_records_have_digests_of_what_they_mean(dsn: str, engine: Engine) -> None:
    names = ("medmirror.sync_mapping", "canonical.patient", "canonical.appointment")
    run(dsn, MAPPED)
    assert [kept(engine, name, "clinic").rows for name in names] == [2, 1, 1]
    first = {name: kept(engine, name) for name in names}
    run(dsn, "UPDATE medmirror.sync_mapping SET version = 9, run_id = 9, mapped_at = now(), mapping_digest = 'b'")
    assert {name: kept(engine, name) for name in names} == first
    run(dsn, "UPDATE medmirror.sync_mapping SET archived = true WHERE feed = 'patient'")
    run(dsn, """UPDATE canonical.record SET record = '{"a": 2}' WHERE entity = 'patient'""")
    changed = {name for name in names if kept(engine, name) != first[name]}
    assert changed == {"medmirror.sync_mapping", "canonical.patient"}
    for name in names:
        assert kept(engine, name) == counted(engine, name)


def test_null_and_empty_text_are_told_apart(dsn: str, engine: Engine) -> None:
    run(dsn, PARTED)
    before = kept(engine, "shelf.cup")
    run(dsn, "UPDATE shelf.thing SET note = NULL WHERE kind = 'cup'")
    assert kept(engine, "shelf.cup").sum != before.sum


def test_a_loader_writes_rows_but_not_the_book(dsn: str, engine: Engine) -> None:
    run(dsn, PARTED)
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.execute("SELECT pg_has_role(to_regrole('medmirror_loader'), 'MEMBER')").fetchone() != (True,):
            pytest.skip("this user may not take the loaders' role")
        connection.execute("GRANT USAGE ON SCHEMA shelf TO medmirror_loader")
        connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON shelf.thing TO medmirror_loader")
        connection.execute("SET ROLE medmirror_loader")
        connection.execute("SELECT set_config('medmirror.organization', 'a', false)")
        connection.execute("INSERT INTO shelf.thing VALUES ('cup', 'a', '6', 'new')")
        for refused in (
            "INSERT INTO medmirror.set_delta (relation, name, organization_id, rows, sum) VALUES ('x', 'x', '', 1, 1)",
            "SELECT * FROM medmirror.set_delta",
            "SELECT medmirror.rebook_digest('shelf.thing')",
            "SELECT medmirror.fold_digests()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(refused.encode())
    assert kept(engine, "shelf.cup", "a").rows == 2
    assert kept(engine, "shelf.cup") == counted(engine, "shelf.cup")


def test_an_owner_who_asked_for_no_organisation_still_books_all_of_a_truncation(empty_dsn: str) -> None:
    owner = f"medmirror_owner_{os.getpid()}"
    run(empty_dsn, f"CREATE ROLE {owner}; GRANT CREATE ON DATABASE {conninfo_to_dict(empty_dsn)['dbname']} TO {owner}")
    try:
        engine = connect.engine(empty_dsn, session={"role": owner})
        migrate.migrate(engine)
        owned = make_conninfo(empty_dsn, options=f"-c role={owner}")
        run(
            owned,
            PARTED.replace("SELECT medmirror.wall_off", "SET medmirror.organization = '*'; SELECT medmirror.wall_off"),
        )
        assert (kept(engine, "shelf.book").rows, kept(engine, "shelf.cup").rows) == (2, 1)
        run(owned, "TRUNCATE shelf.book")
        assert (kept(engine, "shelf.book").rows, kept(engine, "shelf.cup").rows) == (0, 1)
        engine.dispose()
    finally:
        run(empty_dsn, f"DROP OWNED BY {owner}; DROP ROLE {owner}")


@pytest.mark.parametrize(
    "statement",
    ["SELECT medmirror.keep_digest('medmirror.chunk')", "SELECT medmirror.keep_digest('medmirror.no_key', '{a}')"],
)
def test_a_table_without_key_or_content_is_refused(statement: str, dsn: str) -> None:
    run(dsn, "CREATE TABLE medmirror.no_key (a int)")
    with pytest.raises(psycopg.errors.RaiseException, match="keep_digest"):
        run(dsn, statement)
