"""What the benches compare must be comparable: the same fields, the same rows, all of the server's CPU."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bench.measure import measure
from bench.opponents import classic, executemany, fields
from psycopg.sql import SQL, Identifier

from medmirror.model import Block, Item
from medmirror.sources import pubmed
from medmirror_testing.samples import write_pubmed, write_studies


def test_fields_of_opponents_are_those_of_medmirror(tmp_path: Path) -> None:
    path = write_pubmed(tmp_path, 60, deletes=(1, 2)).path
    raw = gzip.decompress(path.read_bytes())
    context = pubmed.SOURCE.context(path.name, raw[:65_536], lambda: io.BytesIO(raw), {})
    (block,) = pubmed.SOURCE.split(io.BytesIO(raw), context, 1 << 30, 1 << 30)
    assert isinstance(block, Block)
    items = [item for item in pubmed.SOURCE.items(block.data, 0, context) if isinstance(item, Item)]
    theirs = list(fields.citations(path))
    assert len(theirs) == len(items)
    for item, row in zip(items, theirs, strict=True):
        assert item.key == (row["pmid"], row["pmid_version"])
        if not item.deleted:
            assert row == pubmed.SOURCE.record(pubmed.FEED, block.data, item)


def test_opponents_load_the_same_rows_and_count_again(tmp_path: Path, empty_dsn: str) -> None:
    citations = write_pubmed(tmp_path, 600, deletes=(1, 2))  # enough for ticks of the clock on the server's side
    studies = write_studies(tmp_path / "s.json", 8).path
    sums = []
    for opponent, schema in ((classic, "by_classic"), (executemany, "by_executemany")):
        cost = measure(schema, lambda: opponent.load(citations.path, empty_dsn), dsn=empty_dsn)  # noqa: B023
        assert cost.records == cost.inserted == citations.records + 2
        assert cost.wal_bytes
        assert cost.server_cpu
        cost = measure(schema, lambda: opponent.load(citations.path, empty_dsn), dsn=empty_dsn)  # noqa: B023
        assert (cost.inserted, cost.updated) == (0, citations.records + 2)
        assert opponent.load_studies(studies, empty_dsn) == 8
        with psycopg.connect(empty_dsn) as conn:
            sums.append([_digest(conn, schema, *one) for one in (("citation", "pmid"), ("study", "nct_id"))])
    assert sums[0] == sums[1]


def _digest(conn: psycopg.Connection[Any], schema: str, table: str, key: str) -> str:
    text = SQL("SELECT md5(string_agg(t::text, '' ORDER BY {}, t::text)) FROM {} t")
    (digest,) = conn.execute(text.format(Identifier(key), Identifier(schema, table))).fetchone() or ("",)
    return str(digest)


@pytest.mark.parametrize("name", ["dlt_merge", "duckdb_postgres"])
def test_opponents_that_need_more_packages(name: str, tmp_path: Path, empty_dsn: str) -> None:
    pytest.importorskip("dlt" if name == "dlt_merge" else "duckdb_extension_postgres_scanner")
    from importlib import import_module

    file = write_pubmed(tmp_path, 30)
    assert import_module(f"bench.opponents.{name}").load(file.path, empty_dsn) == file.records
