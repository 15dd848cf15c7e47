"""medmirror.sync_mapping and canonical.record: the same rows in whatever order facts about a record arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from uuid import uuid5

import pytest
from sqlalchemy import Connection, Engine, text

from medmirror.ingest import canonicalstore as mapping
from medmirror.ingest.canonicalstore import Advance, Deletion, Row

Step = Callable[[Connection], None]
WHERE = ("cliniko", "org_a", 3)


@pytest.fixture
def conn(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as made, made.begin():
        yield made


def living(version: int, *, source_id: str = "1", archived: bool = False, record: bytes = b'{"a": 1}') -> Row:
    return Row(
        "patient", source_id, version, bytes(16), "patient", record, record.ljust(16), bytes(16), 1, archived=archived
    )


def stored(row: Row) -> Step:
    return lambda conn: mapping.store(conn, *WHERE, [row])


def deleted(version: int) -> Step:
    return lambda conn: mapping.note_deletions(conn, *WHERE, [Deletion("patient", "1", "patient", version)])


def state(conn: Connection) -> tuple[object, ...]:
    row = conn.execute(
        text("SELECT state, tombstone, version, deleted_version, canonical_id = own_id FROM medmirror.sync_mapping")
    ).one()
    return tuple(row)


def records(conn: Connection) -> list[tuple[object, ...]]:
    rows = conn.execute(text("SELECT entity, source_id, record FROM canonical.record ORDER BY 1, 2"))
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_deletion_counts_against_versions_up_to_its_own(conn: Connection, order: tuple[int, ...]) -> None:
    steps = [stored(living(10)), deleted(10), deleted(4)]
    for number in order:
        steps[number](conn)
    assert state(conn) == ("deleted", "explicit", 10, 10, True)
    assert records(conn) == [("patient", "1", {"a": 1})], "the last known values stay"


@pytest.mark.parametrize("order", list(permutations(range(2))))
def test_a_record_that_is_newer_than_its_deletion_lives(conn: Connection, order: tuple[int, ...]) -> None:
    steps = [stored(living(11)), deleted(10)]
    for number in order:
        steps[number](conn)
    assert state(conn) == ("active", None, 11, 10, True)


def test_a_deletion_of_a_record_never_seen_is_kept(conn: Connection) -> None:
    deleted(10)(conn)
    assert state(conn) == ("deleted", "explicit", None, 10, True)
    assert records(conn) == []


def test_an_archived_record_is_told_apart_and_comes_back(conn: Connection) -> None:
    stored(living(1, archived=True))(conn)
    assert state(conn)[:2] == ("archived", "archived")
    stored(living(2))(conn)
    assert state(conn)[:2] == ("active", None)


def test_a_tombstone_takes_the_canonical_record_away(conn: Connection) -> None:
    stored(living(1))(conn)
    stored(Row("patient", "1", 2, bytes(16), "patient", gone=True))(conn)
    assert state(conn)[:2] == ("deleted", "explicit")
    assert records(conn) == []


def test_a_record_that_becomes_another_entity_leaves_the_first(conn: Connection) -> None:
    stored(living(1))(conn)
    stored(living(2)._replace(entity="practitioner"))(conn)
    assert [row[0] for row in records(conn)] == ["practitioner"]


def test_a_record_without_a_mapper_is_unmapped(conn: Connection) -> None:
    stored(Row("invoice", "1", 1, bytes(16)))(conn)
    assert state(conn)[:2] == ("unmapped", None)


@pytest.mark.parametrize(("seen", "left"), [(True, 0), (False, 1)])
def test_only_a_load_finds_a_missing_record_again(conn: Connection, seen: bool, left: int) -> None:
    stored(living(1))(conn)
    conn.execute(text("UPDATE medmirror.sync_mapping SET missing = 1"))
    assert state(conn)[:2] == ("missing", "inferred")
    mapping.store(conn, *WHERE, [living(2)], seen=seen)
    assert conn.scalar(text("SELECT missing FROM medmirror.sync_mapping")) == left


def test_equal_content_under_a_newer_version_moves_only_the_version(conn: Connection) -> None:
    stored(living(1))(conn)
    deleted(5)(conn)
    mapping.advance(conn, *WHERE, [Advance("patient", "1", 6)])
    assert state(conn) == ("active", None, 6, 5, True)


def test_a_record_that_was_joined_to_another_stays_so_when_it_changes(conn: Connection) -> None:
    mapping.store(conn, *WHERE, [living(1), living(1, source_id="2")])
    join = "SELECT own_id FROM medmirror.sync_mapping ORDER BY own_id LIMIT 1"
    conn.execute(text(f"UPDATE medmirror.sync_mapping SET canonical_id = ({join})"))  # noqa: S608
    mapping.store(conn, *WHERE, [living(2), living(2, source_id="2")])
    assert conn.scalar(text("SELECT count(DISTINCT canonical_id) FROM medmirror.sync_mapping")) == 1


def test_a_canonical_id_is_the_same_wherever_the_record_is_loaded() -> None:
    one = mapping.own_id("org_a", "cliniko", "patient", "1")
    assert one == mapping.own_id("org_a", "cliniko", "patient", "1")
    assert one == uuid5(mapping._NAMESPACE, "org_a\x1fcliniko\x1fpatient\x1f1")
    others = [mapping.own_id(*where, "patient", "1") for where in (("org_b", "cliniko"), ("org_a", "fhir"))]
    assert len({one, *others}) == 3
