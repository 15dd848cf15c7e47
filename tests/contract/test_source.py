"""What every feed of every source must do, written once. A new source needs only a writer in feedfiles."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from sqlalchemy import Engine

import feedfiles
import medmirror
import mirrors
from medmirror import sources
from medmirror.db import runs
from medmirror.ingest import worker
from medmirror.ingest.chunk import process
from medmirror.ingest.inputs import Inputs
from medmirror.model import Block, Chunk, Counts, Flaw, Item
from medmirror.readers import files
from medmirror.settings import Settings
from medmirror.sources.base import Context, Given, Source
from medmirror_testing.samples.text import FIRST_PMID

FEEDS = feedfiles.feeds()
SMALL = 20_000  # bytes of a chunk: some chunks a file

every_feed = pytest.mark.parametrize("feed", FEEDS, ids=".".join)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Settings]:
    """Settings without a database, chunks small."""
    return replace(Settings.from_environment(environ={}), chunk_bytes=SMALL, workers=2)


@pytest.fixture
def settings(dsn: str) -> Iterator[Settings]:
    """Settings on this test's database, chunks small, two workers. Workers that ran in this process let go of it."""
    yield replace(Settings.from_environment(environ={}), dsn=dsn, chunk_bytes=SMALL, workers=2)
    worker.own_engine.cache_clear()
    gc.collect()


def items_of(source: Source, path: Path, wanted: int, given: Given) -> Iterator[tuple[Item | Flaw, bytes, Context]]:
    """Every item of a file, offsets and ordinals in the stream, by blocks of about *wanted* bytes."""
    for stream in files.streams(path, 200):
        facts = feedfiles.context(source, path, stream, given)
        with stream.open() as file:
            for block in source.split(file, facts, wanted, 1 << 26):
                assert isinstance(block, Block)
                for item in source.items(block.data, block.ordinal, facts):
                    raw = bytes(block.data[item.start : item.end])
                    start, end = item.start + block.start, item.end + block.start
                    yield item._replace(start=start, end=end, ordinal=item.ordinal + block.ordinal), raw, facts


def chunks_of(engine: Engine, settings: Settings, run_id: int, feed: feedfiles.Feed, paths: list[Path]) -> list[Chunk]:
    """The chunks of a load of *paths*, files of *feed*."""
    inputs = Inputs(engine, settings, run_id, sources.get(feed[0]), force=True, given=feedfiles.given(feed))
    return list(inputs.chunks(paths))


def begin(engine: Engine) -> int:
    """A run to load chunks under."""
    with engine.begin() as connection:
        return runs.begin_run(connection, command="test", source=None, host="", pid=0, version="", settings={})


def test_every_feed_has_files_to_be_tested_with() -> None:
    assert set(feedfiles._WRITERS) == set(FEEDS)


@every_feed
def test_rows_are_as_wide_as_the_table(feed: feedfiles.Feed, tmp_path: Path) -> None:
    source = sources.get(feed[0])
    wanted = source.feed(feed[1])
    seen = 0
    for item, raw, _ in items_of(source, feedfiles.write(tmp_path, feed, 0), SMALL, feedfiles.given(feed)):
        assert isinstance(item, Item)
        alone = item._replace(start=0, end=len(raw))
        (row,) = source.rows(wanted, raw, [alone])
        assert isinstance(row, bytes)
        assert int.from_bytes(row[:2], "big") == len(wanted.all_columns)
        fields, at = 0, 2
        while at < len(row):
            size = int.from_bytes(row[at : at + 4], "big", signed=True)
            at, fields = at + 4 + max(0, size), fields + 1
        assert (fields, at) == (len(wanted.all_columns), len(row))
        assert set(source.record(wanted, raw, alone)) >= {column.name for column in wanted.columns}
        seen += 1
    assert seen >= feedfiles.RECORDS


@every_feed
def test_the_same_items_for_any_size_of_block(feed: feedfiles.Feed, tmp_path: Path) -> None:
    source = sources.get(feed[0])
    path, given = feedfiles.write(tmp_path, feed, 1), feedfiles.given(feed)
    whole = [(item._replace(parsed=None), raw) for item, raw, _ in items_of(source, path, 1 << 26, given)]
    assert len(whole) >= feedfiles.RECORDS
    assert [item.ordinal for item, _ in whole] == list(range(len(whole)))
    for wanted in (1, 1_000, 7_777, SMALL):
        assert [(item._replace(parsed=None), raw) for item, raw, _ in items_of(source, path, wanted, given)] == whole


@every_feed
def test_a_blocks_own_data_can_be_split_again(feed: feedfiles.Feed, tmp_path: Path) -> None:
    source = sources.get(feed[0])
    path = feedfiles.write(tmp_path, feed, 0)
    for stream in files.streams(path, 200):
        facts = feedfiles.context(source, path, stream, feedfiles.given(feed))
        with stream.open() as file:
            for block in source.split(file, facts, SMALL, 1 << 26):
                assert isinstance(block, Block)
                keys = [item.key for item in source.items(block.data, 0, facts) if isinstance(item, Item)]
                again: list[tuple[int | str, ...]] = []
                for piece in source.split(BytesIO(block.data), facts, 1, 1 << 26):
                    assert isinstance(piece, Block)
                    assert piece.ordinal == len(again)
                    found = [item.key for item in source.items(piece.data, 0, facts) if isinstance(item, Item)]
                    assert block.data[piece.start : piece.start + len(piece.data)] == piece.data
                    again += found
                assert again == keys


@every_feed
def test_order_of_files_does_not_matter(
    feed: feedfiles.Feed, tmp_path: Path, settings: Settings, engine: Engine
) -> None:
    """Content A, B and back to A, a late copy of each among them, each order in one run and in runs of their own."""
    paths = feedfiles.generations(tmp_path, feed)
    everything = [(path, chunks_of(engine, settings, begin(engine), feed, [path])) for path in paths]
    expected = None
    for order in permutations(range(len(paths))):
        for own_runs in (False, True):
            mirrors.empty(engine)
            run_id = begin(engine)
            for number in order:
                run_id = begin(engine) if own_runs else run_id
                for chunk in everything[number][1]:
                    # Which fields are withheld does depend on what was stored before: a person decides.
                    process(chunk, worker.Job(settings, run_id, accept_empty=True))
            found = mirrors.contents(str(settings.dsn), feed[0])
            expected = expected or found
            assert found == expected, (order, own_runs)
    mirrors.books_are_right(str(settings.dsn))
    assert expected is not None
    assert expected[".".join(feed)].rows >= feedfiles.RECORDS


@pytest.mark.parametrize(("chunk_bytes", "workers"), [(2_000, 1), (15_000, 3), (1 << 22, 2)])
def test_size_of_chunks_and_number_of_workers_do_not_matter(
    chunk_bytes: int, workers: int, tmp_path: Path, settings: Settings, expected: dict[str, mirrors.Content]
) -> None:
    paths = [path for feed in FEEDS for path in feedfiles.generations(tmp_path, feed)]
    random.Random(chunk_bytes).shuffle(paths)
    sized = replace(settings, chunk_bytes=chunk_bytes, workers=workers)
    result = medmirror.load(None, paths, settings=sized, accept_empty_fields=True, **feedfiles.options(tmp_path, FEEDS))
    assert (result.status, result.exit_code) == ("done", 0)
    mirrors.same(str(settings.dsn), expected)


@pytest.fixture(scope="session")
def expected(
    database: Callable[[], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, mirrors.Content]:
    """The tables after all generations of all feeds, one worker, chunks as they come."""
    folder = tmp_path_factory.mktemp("expected")
    paths = [path for feed in FEEDS for path in feedfiles.generations(folder, feed)]
    with database() as dsn:
        alone = replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)
        medmirror.load(None, paths, settings=alone, accept_empty_fields=True, **feedfiles.options(folder, FEEDS))
        return mirrors.contents(dsn)


@every_feed
def test_a_second_load_writes_nothing(feed: feedfiles.Feed, tmp_path: Path, settings: Settings, engine: Engine) -> None:
    paths = feedfiles.generations(tmp_path, feed)
    chunks = chunks_of(engine, settings, first := begin(engine), feed, paths)
    for chunk in chunks:
        process(chunk, worker.Job(settings, first))
    before = wait_for_statistics(settings, feed)
    # A row of the ledger for each part is all that is written; a wide row would be some thousand bytes each. The server
    # counts all that it writes, so a load is looked for that no checkpoint and no vacuum fell into.
    little = 1_500 * sum(len(chunk.parts) for chunk in chunks) + 16_000
    loads = [load_again(engine, settings, chunks) for _ in range(2)]
    while loads[-1][0] >= little and len(loads) < 40:
        loads.append(load_again(engine, settings, chunks))
    total = [count for _, counts in loads for count in counts]
    assert sum(count.inserted + count.updated + count.tombstoned for count in total) == 0
    assert sum(count.unchanged + count.duplicate for count in total) == sum(count.read for count in total)
    assert wait_for_statistics(settings, feed) == before
    assert loads[-1][0] < little


def load_again(engine: Engine, settings: Settings, chunks: list[Chunk]) -> tuple[int, list[Counts]]:
    """Load *chunks* as a new run; return the bytes of WAL that the server wrote meanwhile, and the counts."""
    job = worker.Job(settings, begin(engine))
    place = "SELECT CAST(pg_current_wal_insert_lsn() - '0/0' AS int8)"
    (before,) = mirrors.one(str(settings.dsn), place)
    counts = [count for chunk in chunks for count in process(chunk, job).counts]
    (after,) = mirrors.one(str(settings.dsn), place)
    return int(str(after)) - int(str(before)), counts


def wait_for_statistics(settings: Settings, feed: feedfiles.Feed) -> tuple[mirrors.Writes, mirrors.Writes]:
    """What was done to the tables of *feed*, when the backends that did it have said so (they do when they end)."""
    dsn, (schema, table) = str(settings.dsn), feed
    worker.own_engine(settings, feedfiles.given(feed).get("organization")).dispose()
    mirrors.wait_until_alone(dsn)
    return mirrors.writes(dsn, schema, table), mirrors.writes(dsn, schema, f"{table}_fact")


@every_feed
def test_an_item_that_is_broken_costs_one_reject_and_its_neighbours_nothing(
    feed: feedfiles.Feed, tmp_path: Path, settings: Settings
) -> None:
    dsn = str(settings.dsn)
    path, spoilt = spoil(feedfiles.write(tmp_path, feed, 0), feed)
    result = medmirror.load(feed[0], path, settings=settings, **feedfiles.options(tmp_path, [feed]))
    assert (result.status, result.exit_code, result.rejected) == ("rejects", 3, 1)
    assert result.inserted == result.read - 1 >= feedfiles.RECORDS - 1
    assert result.inserted == mirrors.one(dsn, f"SELECT count(*) FROM {feed[0]}.{feed[1]}")[0]  # noqa: S608
    reject = mirrors.one(
        dsn, "SELECT item, error, raw, raw_complete, attempts, source, file_id > 0 FROM medmirror.reject"
    )
    assert reject[:2] == (spoilt.ordinal, "ParseError")
    assert b"spoilt" in bytes(reject[2])  # type: ignore[arg-type]
    assert reject[3:] == (True, 1, feed[0], True)
    mirrors.books_are_right(dsn)


def spoil(path: Path, feed: feedfiles.Feed) -> tuple[Path, Item]:
    """A copy of the file at *path* whose middle item is not well formed, and that item."""
    source = sources.get(feed[0])
    found = [item for item, _, _ in items_of(source, path, 1 << 26, feedfiles.given(feed)) if isinstance(item, Item)]
    item = found[len(found) // 2]
    data = b""
    for stream in files.streams(path, 200):
        with stream.open() as file:
            data = file.read()
    mark, broken = _SPOILT.get(source.name, (b":", b"spoilt "))
    middle = data.index(mark, item.start) + 1
    spoilt = path.with_name(path.name.removesuffix(".gz").removesuffix(".zip"))
    spoilt.write_bytes(data[:middle] + broken + data[middle:])
    return spoilt, item


_SPOILT = {"pubmed": (b">", b"<spoilt"), "csv": (b",", b"spoilt,")}  # where to put what; else it is JSON


@every_feed
def test_a_file_of_known_bytes_is_skipped_unless_forced(
    feed: feedfiles.Feed, tmp_path: Path, settings: Settings
) -> None:
    dsn = str(settings.dsn)
    path, options = feedfiles.write(tmp_path, feed, 0, records=3), feedfiles.options(tmp_path, [feed])
    first = medmirror.load(feed[0], path, settings=settings, **options)
    before = mirrors.contents(dsn)
    moved = path.rename(tmp_path / path.name.replace("ctg", "again-ctg").replace("drug", "again-drug"))
    again = medmirror.load(feed[0], moved, settings=settings, **options)
    assert ([file.status for file in again.files], again.read) == (["skipped"], 0)
    forced = medmirror.load(feed[0], moved, settings=settings, force=True, **options)
    assert [file.status for file in forced.files] == ["done"]
    assert (forced.read, forced.unchanged) == (first.read, first.read)
    mirrors.same(dsn, before)


def test_deletions_outlast_late_copies(tmp_path: Path, settings: Settings) -> None:
    dsn = str(settings.dsn)
    old, newer, newest = feedfiles.generations(tmp_path, ("pubmed", "citation"))
    for path in (newer, old, newest, old):
        medmirror.load("pubmed", path, settings=settings, force=True)
    gone = mirrors.every(dsn, "SELECT pmid, title, authors FROM pubmed.citation WHERE deleted")
    assert gone == [(FIRST_PMID + 1, None, None)]
    assert mirrors.one(dsn, "SELECT count(*) FROM pubmed.article WHERE pmid = %s", FIRST_PMID + 1) == (0,)
    assert mirrors.one(dsn, "SELECT count(*) FROM pubmed.article WHERE pmid = %s", FIRST_PMID) == (1,)
    mirrors.books_are_right(dsn)


def test_content_that_goes_back_to_what_it_was_stays_so(tmp_path: Path, settings: Settings) -> None:
    """A, B, A: equal content moves the version on, so that B, coming late, is not taken for news."""
    dsn = str(settings.dsn)
    paths = feedfiles.generations(tmp_path, ("clinicaltrials", "study"))
    for number in (0, 2, 1):
        medmirror.load("clinicaltrials", paths[number], settings=settings)
    titles = "SELECT DISTINCT brief_title FROM clinicaltrials.study"
    assert mirrors.one(dsn, titles) == ("Title A",)
    paths = feedfiles.generations(tmp_path, ("openfda", "ndc"))
    for number in (0, 2, 1):
        result = medmirror.load("openfda", paths[number], settings=settings)
    assert (result.duplicate, result.updated) == (feedfiles.RECORDS, 0)


ORDERS = st.lists(st.integers(0, 11), min_size=1, max_size=20)


@profile(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(prefix=ORDERS, seed=st.integers(0, 1 << 16), wanted=st.sampled_from([1_000, 9_000, 50_000]))
def test_any_order_any_chunks_any_repeats(
    prefix: list[int], seed: int, wanted: int, shared: Shared, settings: Settings
) -> None:
    """Chunks of all generations of three feeds: some first, late and again (*prefix*), then all, shuffled."""
    mirrors.empty(shared.engine)
    runs = [begin(shared.engine) for _ in range(2)]
    chunks = [chunk for feed, paths in shared.paths for chunk in shared.chunks(feed, paths, wanted)]
    order = list(chunks)
    random.Random(seed).shuffle(order)
    for number in prefix:
        process(chunks[number * len(chunks) // 12], worker.Job(settings, runs[0]))
    for chunk in order:
        process(chunk, worker.Job(settings, runs[1]))
    found = mirrors.contents(str(settings.dsn))
    shared.expected = shared.expected or found
    assert found == shared.expected
    mirrors.books_are_right(str(settings.dsn))


@dataclass
class Shared:
    """What the examples of the property have in common: files, their chunks by size, the tables that come of it."""

    engine: Engine
    settings: Settings
    paths: list[tuple[feedfiles.Feed, list[Path]]]
    expected: dict[str, mirrors.Content] | None = None
    made: dict[tuple[feedfiles.Feed, int], list[Chunk]] = field(default_factory=dict)

    def chunks(self, feed: feedfiles.Feed, paths: list[Path], wanted: int) -> list[Chunk]:
        """The chunks of *paths*, each about *wanted* bytes."""
        if (feed, wanted) not in self.made:
            sized = replace(self.settings, chunk_bytes=wanted)
            self.made[feed, wanted] = chunks_of(self.engine, sized, begin(self.engine), feed, paths)
        return self.made[feed, wanted]


@pytest.fixture
def shared(engine: Engine, settings: Settings, tmp_path: Path) -> Shared:
    """Files of three feeds, small."""
    some = [("pubmed", "citation"), ("clinicaltrials", "study"), ("openfda", "label")]
    paths = [(feed, feedfiles.generations(tmp_path, feed, records=4)) for feed in some]
    return Shared(engine, settings, paths)
