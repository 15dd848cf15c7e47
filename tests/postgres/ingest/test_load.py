"""What the loader's own statements do in Postgres: store, refuse, keep the ledger; and files on their way to chunks."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from psycopg.errors import NumericValueOutOfRange
from sqlalchemy import Connection, Engine, text

import feedfiles
import medmirror
import mirrors
from medmirror import copyformat, sources
from medmirror.db import connect, ledger, refusals, runs
from medmirror.ingest import store as load
from medmirror.ingest.dedup import Candidate, digest
from medmirror.ingest.inputs import Inputs
from medmirror.ingest.order import Rank, newer
from medmirror.model import Column, Counts, Flaw, Item, Part
from medmirror.settings import Settings

FEED = sources.get("pubmed").feeds[0]
TABLE = load.table_of(sources.get("pubmed"), FEED)
ENCODE = copyformat.encoder(FEED.all_columns)
TITLE = [column.name for column in FEED.columns].index("title")


def candidate(pmid: int, version: int, title: str, *, deleted: bool = False, place: int = 0, tie: int = 0) -> Candidate:
    """A citation of which only the title is known."""
    values: list[Any] = [None] * len(FEED.columns)
    values[TITLE] = None if deleted else title
    item = Item(FEED.name, (pmid, 1), version, 0, 0, 0, deleted, tie=tie)
    row = ENCODE([pmid, 1, deleted, *values])
    return Candidate(item, 0, digest(b"" if deleted else title.encode()), place, row)


@pytest.fixture
def conn(engine: Engine) -> Any:
    """A connection whose work is undone at the end."""
    with engine.connect() as connection:
        yield connection
        connection.rollback()


def run(connection: Connection) -> int:
    """The number of a new run."""
    return runs.begin_run(connection, command="test", source=None, host="h", pid=1, version="", settings={})


def titles(connection: Connection) -> dict[int, str | None]:
    """What stands in the wide table."""
    rows = connection.execute(text("SELECT pmid, CASE WHEN deleted THEN '-' ELSE title END FROM pubmed.citation"))
    return {row[0]: row[1] for row in rows}


def test_new_keys_are_created_and_newer_versions_replace(conn: Connection) -> None:
    first = run(conn)
    stored = load.store(conn, TABLE, first, [candidate(1, 5, "a"), candidate(2, 5, "a")], [])
    assert stored == (frozenset({(1, 1), (2, 1)}), frozenset(), frozenset(), False)
    stored = load.store(conn, TABLE, first, [candidate(1, 4, "late"), candidate(2, 6, "b"), candidate(3, 1, "c")], [])
    assert stored == (frozenset({(3, 1)}), frozenset({(2, 1)}), frozenset({(1, 1)}), False)
    assert titles(conn) == {1: "a", 2: "b", 3: "c"}
    known = load.known(conn, TABLE, [(1, 1), (2, 1), (9, 1)])
    assert {key: fact.version for key, fact in known.items()} == {(1, 1): 5, (2, 1): 6}


def test_storing_again_changes_nothing(conn: Connection) -> None:
    some = [candidate(1, 5, "a"), candidate(2, 5, "a", deleted=True)]
    first = run(conn)
    load.store(conn, TABLE, first, some, [])
    again = load.store(conn, TABLE, first, some, [])
    assert (again.created, again.replaced, again.lost) == (frozenset(), frozenset(), {(1, 1), (2, 1)})
    assert titles(conn) == {1: "a", 2: "-"}


def test_a_tombstone_outlasts_late_copies_and_yields_to_newer_ones(conn: Connection) -> None:
    first = run(conn)
    load.store(conn, TABLE, first, [candidate(1, 5, "", deleted=True)], [])
    assert load.store(conn, TABLE, first, [candidate(1, 4, "late")], []).lost == {(1, 1)}
    assert titles(conn) == {1: "-"}
    assert load.store(conn, TABLE, first, [candidate(1, 6, "again")], []).replaced == {(1, 1)}
    assert titles(conn) == {1: "again"}


def test_a_tie_of_versions_goes_to_the_later_place(conn: Connection) -> None:
    first, second = run(conn), run(conn)
    early, late = candidate(1, 5, "early", place=7), candidate(1, 5, "late", place=8)
    for order in ([early, late], [late, early]):
        conn.execute(text("TRUNCATE pubmed.citation, pubmed.citation_fact"))
        for copy in order:
            load.store(conn, TABLE, first, [copy], [])
        assert titles(conn) == {1: "late"}
    assert load.store(conn, TABLE, second, [early], []).lost == {(1, 1)}


RANKS = st.builds(Rank, st.integers(0, 2), st.integers(0, 2), st.integers(0, 3))


@pytest.mark.parametrize("revised", ["", FEED.revised], ids=["plain", "series"])
@given(RANKS, RANKS)
@profile(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_database_orders_two_copies_as_the_loader_does(
    revised: str, conn: Connection, old: Rank, new: Rank
) -> None:
    table = TABLE._replace(revised=revised)
    # A copy of a series without a day is one of an earlier version of medmirror, whose day stands in the wide table.
    assume(not revised or (bool(old.version) <= bool(old.tie) and bool(new.version) <= bool(new.tie)))
    with conn.begin_nested() as savepoint:
        number = run(conn)
        load.store(conn, table, number, [_ranked("old", old)], [])
        known = load.known(conn, table, [(1, 1)])[1, 1].rank
        assert known == old
        won = load.store(conn, table, number, [_ranked("new", new)], []).replaced
        assert bool(won) is newer(new, old, series=bool(revised))
        advanced = load.store(conn, table, number, [], [_ranked("new" if won else "old", new)])
        assert advanced.moved is (bool(won) or not newer(new, old, series=bool(revised)))
        savepoint.rollback()


def _ranked(title: str, rank: Rank) -> Candidate:
    return candidate(1, rank.version, title, place=rank.place, tie=rank.tie)


def test_the_day_of_a_citation_of_an_earlier_version_is_that_of_its_row(conn: Connection) -> None:
    first = run(conn)
    load.store(conn, TABLE, first, [candidate(1, 5 << 32, "file"), candidate(2, 5 << 32, "", deleted=True)], [])
    conn.execute(text("UPDATE pubmed.citation SET date_revised = '2026-02-10' WHERE pmid = 1"))
    known = load.known(conn, TABLE, [(1, 1), (2, 1)])
    assert {key[0]: facts.tie for key, facts in known.items()} == {1: 20260210, 2: 99991231}
    for pmid in (1, 2):
        same_day = candidate(pmid, 0, "alone", tie=20260210)
        assert load.store(conn, TABLE, first, [same_day], []).lost == {(pmid, 1)}
    later = [candidate(pmid, 0, "alone", tie=20260211) for pmid in (1, 2)]
    assert load.store(conn, TABLE, first, later, []).replaced == {(1, 1)}


def test_equal_content_moves_the_version_and_writes_no_wide_row(conn: Connection) -> None:
    first = run(conn)
    load.store(conn, TABLE, first, [candidate(1, 1, "a")], [])
    place = conn.execute(text("SELECT ctid FROM pubmed.citation")).scalar_one()
    assert not load.store(conn, TABLE, first, [], [candidate(1, 3, "a")]).moved
    assert load.store(conn, TABLE, first, [candidate(1, 2, "b")], []).lost == {(1, 1)}
    assert conn.execute(text("SELECT ctid FROM pubmed.citation")).scalar_one() == place


def test_content_that_another_loader_changed_in_between_is_asked_for_again(conn: Connection) -> None:
    first = run(conn)
    load.store(conn, TABLE, first, [candidate(1, 1, "a")], [])
    load.store(conn, TABLE, first, [candidate(1, 2, "b")], [])
    assert load.store(conn, TABLE, first, [candidate(2, 1, "x")], [candidate(1, 3, "a")]).moved
    assert titles(conn) == {1: "b"}  # nothing else was done either


@pytest.mark.parametrize("bad", [set(), {0}, {7}, {3, 4}, {0, 31}, set(range(32))])
def test_halving_finds_exactly_what_postgres_refuses(bad: set[int], conn: Connection) -> None:
    conn.execute(text("ALTER TABLE pubmed.citation ADD CONSTRAINT calm CHECK (title NOT LIKE '%!')"))
    some = [candidate(n, 1, "loud!" if n in bad else "calm") for n in range(32)]
    refused = load.refused(conn, TABLE, some)
    assert set(refused) == {(n, 1) for n in bad}
    for error in refused.values():
        assert error.context == {"sqlstate": "23514", "constraint_name": "calm"}
        assert "loud" not in str(error)
    assert titles(conn) == {}


def test_a_busy_or_broken_database_is_no_refusal(conn: Connection) -> None:
    assert refusals.of_value(NumericValueOutOfRange()) is not None
    for error in (psycopg.OperationalError(), psycopg.errors.DeadlockDetected(), psycopg.errors.DiskFull()):
        assert refusals.of_value(error) is None
    conn.execute(text("ALTER TABLE pubmed.citation DROP COLUMN book CASCADE"))
    with pytest.raises(psycopg.errors.UndefinedColumn):
        load.refused(conn, TABLE, [candidate(1, 1, "a")])


# The ledger


def part(file_id: int, start: int, end: int) -> Part:
    """A part of a file."""
    return Part(file_id, "f", "", {}, start, end, 0, bytes(range(end - start)))


def file(connection: Connection, run_id: int, name: bytes = b"d") -> int:
    """A file in the ledger."""
    (number,) = ledger.register_files(connection, "pubmed", run_id, [ledger.FileFacts("f", 1, name, "")]).values()
    return number


def test_a_chunk_that_is_done_twice_keeps_its_first_counts(conn: Connection) -> None:
    first = run(conn)
    number = file(conn, first)
    parts = [part(number, 0, 10), part(number, 10, 20)]
    counts = [Counts(read=3, inserted=3, created=3), Counts(read=1, rejected=1)]
    assert ledger.add_chunk(conn, first, parts, counts, 1.0) == counts
    again = [Counts(read=3, unchanged=3), Counts(read=1, rejected=1)]
    assert ledger.add_chunk(conn, first, parts, again, 1.0) == counts
    second = run(conn)
    assert ledger.add_chunk(conn, second, parts, again, 1.0) == again
    assert ledger.done_spans(conn, [number, -1]) == {number: {("", 0, 10), ("", 10, 20)}}


def test_a_reject_counts_its_runs_and_is_settled_by_the_one_that_loads_it(conn: Connection) -> None:
    number = file(conn, first := run(conn))
    whole = part(number, 0, 100)
    flaw = Flaw("citation", 2, 10, 20, "ParseError", "wrong")

    def reject() -> tuple[Any, ...]:
        query = (
            "SELECT attempts, error, raw, raw_complete, resolved_at IS NULL, first_failed_at < last_failed_at"
            " FROM medmirror.reject"
        )
        return tuple(conn.execute(text(query)).one())

    for _ in range(2):  # a worker that died after its commit is followed by one that does the same again
        ledger.add_rejects(conn, "pubmed", first, [(whole, flaw)])
    assert reject()[:5] == (1, "ParseError", bytes(range(10, 20)), True, True)
    second = run(conn)
    ledger.resolve_rejects(conn, second, [whole])
    ledger.add_rejects(conn, "pubmed", second, [(whole, flaw._replace(error="InvalidRecord"))])
    assert reject() == (2, "InvalidRecord", bytes(range(10, 20)), True, True, True)
    third = run(conn)
    ledger.resolve_rejects(conn, third, [part(number, 0, 15)])  # not all of it
    assert reject()[4] is True
    ledger.resolve_rejects(conn, third, [whole])
    assert reject()[4] is False


def test_raw_bytes_beyond_the_limit_are_not_kept(conn: Connection) -> None:
    number = file(conn, first := run(conn))
    size = ledger.RAW_LIMIT + 10
    large = Part(number, "f", "", {}, 0, size, 0, bytes(size))
    ledger.add_rejects(conn, "pubmed", first, [(large, Flaw(None, 0, 0, size, "ParseError", "wrong"))])
    kept = conn.execute(text("SELECT length(raw), raw_complete, end_byte FROM medmirror.reject")).one()
    assert tuple(kept) == (ledger.RAW_LIMIT, False, size)


def test_a_file_whose_chunks_are_gone_is_not_finished(conn: Connection) -> None:
    first = run(conn)
    whole, half = file(conn, first, b"w"), file(conn, first, b"h")
    ledger.add_chunk(conn, first, [part(whole, 0, 5), part(half, 0, 5)], [Counts(), Counts()], 1.0)
    ends = [ledger.FileEnd(number, "done", 5, chunks) for number, chunks in ((whole, 1), (half, 2))]
    assert ledger.finish_files(conn, first, ends) == {whole}
    states = dict(tuple(row) for row in conn.execute(text("SELECT file_id, status FROM medmirror.file")))
    assert states == {whole: "done", half: "open"}


# Files on their way


@pytest.fixture
def settings(dsn: str) -> Settings:
    """Small chunks, two workers."""
    return replace(Settings.from_environment(environ={}), dsn=dsn, chunk_bytes=20_000, workers=2)


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_is_given_twice_is_loaded_once(settings: Settings, tmp_path: Path, force: bool) -> None:
    """Also when the two are too large to be looked at together."""
    one = feedfiles.write(tmp_path, ("pubmed", "citation"), 0, records=30)
    (tmp_path / "copy").mkdir()
    copy = Path(shutil.copy(one, tmp_path / "copy"))
    small = replace(settings, chunk_bytes=one.stat().st_size)
    result = medmirror.load("pubmed", [one, copy, one], settings=small, force=force)
    assert [state.status for state in result.files] == ["done", "skipped", "skipped"]
    assert result.inserted == result.read >= 30
    mirrors.books_are_right(str(settings.dsn))


def test_the_same_bytes_under_another_number_are_another_file(settings: Settings, tmp_path: Path) -> None:
    """A later PubMed file says anew what stands in it, even if it says the same."""
    one = feedfiles.write(tmp_path, ("pubmed", "citation"), 0)
    later = Path(shutil.copy(one, tmp_path / "pubmed26n0007.xml.gz"))
    # One after the other: two workers that meet at a new key would both write it, and the second one count an update.
    result = medmirror.load("pubmed", [one, later], settings=replace(settings, workers=1))
    assert [state.status for state in result.files] == ["done", "done"]
    assert result.inserted + result.unchanged + result.duplicate == result.read
    assert mirrors.one(str(settings.dsn), "SELECT min(version >> 32) = (26 << 20) + 7 FROM pubmed.citation_fact") == (
        True,
    )


def test_chunks_hold_many_small_files_or_a_piece_of_a_large_one(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    paths = [feedfiles.write(folder(tmp_path, n), ("pubmed", "citation"), 0, records=2, first=n * 10) for n in range(6)]
    paths.append(feedfiles.write(folder(tmp_path, 9), ("clinicaltrials", "study"), 0, records=20))
    with engine.begin() as connection:
        run_id = run(connection)
    settings = replace(settings, chunk_bytes=60_000)
    inputs = Inputs(engine, settings, run_id, None)
    made = list(inputs.chunks(paths))
    assert {chunk.source for chunk in made} == {"pubmed", "clinicaltrials"}
    assert max(len(chunk.parts) for chunk in made) > 1
    assert all(chunk.size <= settings.chunk_bytes or len(chunk.parts) == 1 for chunk in made)
    assert [state.split for state in inputs.files] == [True] * 7
    assert sum(state.open_parts for state in inputs.files) == sum(len(chunk.parts) for chunk in made)


def folder(parent: Path, number: int) -> Path:
    """A folder of its own for a file."""
    made = parent / str(number)
    made.mkdir()
    return made


def test_a_run_whose_process_is_gone_is_called_interrupted(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    import platform

    with engine.begin() as connection:
        host = platform.node()
        values = {"command": "load", "source": None, "version": "", "settings": {}}
        gone = runs.begin_run(connection, host=host, pid=(1 << 22) + 5, **values)  # type: ignore[arg-type]
        elsewhere = runs.begin_run(connection, host="another", pid=1, **values)  # type: ignore[arg-type]
    medmirror.load("pubmed", feedfiles.write(tmp_path, ("pubmed", "citation"), 0, records=2), settings=settings)
    states = dict(mirrors.every(str(settings.dsn), "SELECT run_id, status FROM medmirror.run"))
    assert (states[gone], states[elsewhere]) == ("interrupted", "running")


# What the encoder writes, Postgres reads

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(1 << 53), 1 << 53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT,
    "int2": st.integers(-(1 << 15), (1 << 15) - 1),
    "int4": st.integers(-(1 << 31), (1 << 31) - 1),
    "int8": st.integers(-(1 << 63), (1 << 63) - 1),
    "float8": st.floats(),
    "bool": st.booleans(),
    "date": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "jsonb": JSON,
    "text[]": st.lists(st.none() | TEXT, max_size=4),
    "bytea": st.binary(max_size=20),
}
COLUMNS = [Column(f"c{number}", kind) for number, kind in enumerate(VALUES)]


@profile(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(*(st.none() | values for values in VALUES.values())), min_size=1, max_size=20))
def test_postgres_reads_back_what_was_written(rows: Sequence[Sequence[Any]], conn: Connection) -> None:
    conn.rollback()
    raw = connect.raw(conn)
    declared = ", ".join(f"{column.name} {column.kind}" for column in COLUMNS)
    conn.execute(text(f"CREATE TEMP TABLE back (n serial, {declared}) ON COMMIT DROP"))
    encode = copyformat.encoder(COLUMNS)
    names = ", ".join(column.name for column in COLUMNS)
    with raw.cursor() as cursor, cursor.copy(f"COPY back ({names}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
        copy.write(copyformat.SIGNATURE + b"".join(map(encode, rows)) + copyformat.TRAILER)
    back = raw.execute("TABLE back").fetchall()
    assert [list(map(comparable, row[1:])) for row in back] == [list(map(comparable, row)) for row in rows]


def comparable(value: Any) -> Any:
    """NaN is not equal to itself; jsonb writes a float's digits, of which Python makes an integer when it can."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, list):
        return [comparable(one) for one in value]
    if isinstance(value, dict):
        return {name: comparable(one) for name, one in value.items()}
    return value


def test_a_census_counts_a_span_once_and_one_within_another_not_at_all(conn: Connection) -> None:
    first, again, retry_run = run(conn), run(conn), run(conn)
    number = file(conn, first)
    whole = [part(number, 0, 10), part(number, 10, 20)]
    counts = [Counts(read=3, inserted=2, rejected=1), Counts(read=1, inserted=1)]
    ledger.add_chunk(conn, first, whole, counts, 1.0)
    ledger.add_chunk(conn, again, whole[:1], [Counts(read=3, unchanged=2, rejected=1)], 1.0)
    ledger.add_chunk(conn, retry_run, [part(number, 4, 7)], [Counts(read=1, inserted=1)], 1.0)
    assert ledger.census(conn, [number]) == {(number, ""): (4, 0)}
