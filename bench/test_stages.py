"""Each stage alone, by source: ``python -m pytest bench --benchmark-only``. No time is asserted: machines differ.

The group of a benchmark is its source; compare two states of the code with ``--benchmark-autosave`` and
``pytest-benchmark compare``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from pytest_benchmark.fixture import BenchmarkFixture

from medmirror import copyformat, native, sources
from medmirror.copyformat import encoder
from medmirror.db.database import open_database
from medmirror.errors import EmbeddedServerError
from medmirror.ingest.dedup import digest
from medmirror.model import Block, Item
from medmirror.readers import files
from medmirror.readers.xml.record import row_maker
from medmirror.settings import MIB, Settings
from medmirror.sources.base import Context, Feed, Source
from medmirror.sources.pubmed import SPEC
from medmirror_testing import samples
from medmirror_testing.servers.postgres import postgres


class _Input(NamedTuple):
    """A small file of a source, and its first block cut into items."""

    source: Source
    feed: Feed
    stream: files.Stream
    context: Context
    data: bytes
    items: list[Item]


def _write(name: str, folder: Path) -> Path:
    if name == "pubmed":
        return samples.write_pubmed(folder / "pubmed26n0001.xml.gz", 600).path
    if name == "clinicaltrials":
        return samples.write_studies(folder / "studies.json.gz", 200, big=False).path
    return samples.write_openfda(folder / "drug-label-0001-of-0001.json.zip", "label", 300).path


@pytest.fixture(scope="session", params=["pubmed", "clinicaltrials", "openfda"])
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Input]:
    """A file of each source in turn."""
    name = request.param
    path = _write(name, tmp_path_factory.mktemp(name))
    streams = files.streams(path, 200)
    stream = next(streams)  # an archive stays open as long as its streams are
    source = sources.get(name)
    context = source.context(stream.name, files.head(stream), stream.open, {})
    with stream.open() as file:
        block = next(
            candidate for candidate in source.split(file, context, 2 * MIB, 64 * MIB) if isinstance(candidate, Block)
        )
    items = [item for item in source.items(block.data, 0, context) if isinstance(item, Item)]
    yield _Input(source, source.feed(items[0].feed), stream, context, block.data, items)
    del streams


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """An embedded Postgres in a temporary home."""
    with ExitStack() as stack:
        try:
            own = stack.enter_context(postgres(Settings.from_environment({}), "medmirror-bench-"))
        except EmbeddedServerError as error:
            pytest.skip(f"no Postgres to measure with: {error}")
        yield own.dsn


@pytest.fixture
def timed(benchmark: BenchmarkFixture, given: _Input) -> Callable[..., Any]:
    """The benchmark as ``timed(records, function, *arguments)``, grouped by source, with the number of records."""

    def run(records: int, function: Callable[..., Any], *arguments: Any) -> Any:
        benchmark.group = given.source.name
        benchmark.extra_info["records"] = records
        return benchmark(function, *arguments)

    return run


def test_gunzip(given: _Input, timed: Callable[..., Any]) -> None:
    """The decoded stream, read to its end and thrown away."""

    def read() -> int:
        with given.stream.open() as file:
            return sum(map(len, iter(lambda: file.read(MIB), b"")))

    assert timed(len(given.items), read) >= len(given.data)


def test_split(given: _Input, timed: Callable[..., Any]) -> None:
    """A stream to blocks of whole items, gunzip included."""

    def split() -> int:
        with given.stream.open() as file:
            return sum(1 for _ in given.source.split(file, given.context, 2 * MIB, 64 * MIB))

    assert timed(len(given.items), split) > 0


def test_scan(given: _Input, timed: Callable[..., Any]) -> None:
    """A block to items with key and version, and the digest of each."""

    def scan() -> int:
        view = memoryview(given.data)
        items = [item for item in given.source.items(given.data, 0, given.context) if isinstance(item, Item)]
        return len([digest(view[item.start : item.end]) for item in items])

    assert timed(len(given.items), scan) == len(given.items)


def test_rows(given: _Input, timed: Callable[..., Any]) -> None:
    """Items to COPY tuples, as a load makes them: PubMed's by the compiled library."""
    if given.source.name == "pubmed" and not native.available():
        pytest.skip("the compiled part is not here")
    rows = timed(len(given.items), given.source.rows, given.feed, given.data, given.items)
    assert all(isinstance(row, bytes) for row in rows)


def test_rows_reference(given: _Input, timed: Callable[..., Any]) -> None:
    """PubMed's items to COPY tuples without the compiled library."""
    if given.source.name != "pubmed":
        pytest.skip("there is one way to make these rows")
    make = row_maker(SPEC)
    items = given.items[:50]
    rows = timed(len(items), lambda: [make(given.data[item.start : item.end]) for item in items])
    assert rows == given.source.rows(given.feed, given.data, items)


def test_encode(given: _Input, timed: Callable[..., Any]) -> None:
    """Python values to COPY tuples, without the parsing."""
    encode = encoder(given.feed.all_columns)
    names = [column.name for column in given.feed.columns]
    values = []
    for item in given.items[:100]:
        record = given.source.record(given.feed, given.data, item)
        values.append((*item.key, False, *(record.get(name) for name in names)))
    assert len(timed(len(values), lambda: [encode(row) for row in values])) == len(values)


def test_copy(given: _Input, timed: Callable[..., Any], server: str) -> None:
    """COPY of the tuples of a block into the wide table, rolled back."""
    engine, _ = open_database(Settings.from_environment({}, dsn=server))
    engine.dispose()
    rows = [row for row in given.source.rows(given.feed, given.data, given.items) if isinstance(row, bytes)]
    once = dict(zip((item.key for item in given.items), rows, strict=True))
    data = b"".join((copyformat.SIGNATURE, *once.values(), copyformat.TRAILER))
    names = SQL(", ").join(Identifier(column.name) for column in given.feed.all_columns)
    statement = SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        Identifier(given.source.name, given.feed.name), names
    )
    with psycopg.connect(server) as conn:

        def copy() -> int:
            with conn.cursor() as cursor:
                with cursor.copy(statement) as out:
                    out.write(data)
                count = cursor.rowcount
            conn.rollback()
            return count

        assert timed(len(once), copy) == len(once)
