"""Eight loaders at once on the same keys, and with them a foreign program that locks rows the other way round."""

from __future__ import annotations

import gzip
import io
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bench.lab import Lab, Sample
from bench.measure import Measured, measure, table
from bench.report import Report, columns
from medmirror import sources
from medmirror.db.database import open_database
from medmirror.model import Block
from medmirror.settings import Settings
from medmirror_testing import samples

_WRITERS = 8
_CHUNK = "256K"  # smaller than usual: more transactions that can meet
_SUMS = ("read", "inserted", "updated", "unchanged", "duplicate", "rejected", "deadlocks", "lock_waits", "retries")
_FOREIGN = """
import sys, time, psycopg
while True:
    try:
        with psycopg.connect(sys.argv[1]) as conn:
            conn.execute("SET lock_timeout = '2s'")
            for table in ("citation_fact", "citation"):
                ids = [row[0] for row in conn.execute(f"SELECT pmid FROM pubmed.{table} ORDER BY random() LIMIT 40")]
                for pmid in sorted(ids, reverse=True):
                    conn.execute(f"SELECT FROM pubmed.{table} WHERE pmid = %s FOR UPDATE", [pmid])
    except psycopg.Error as error:
        if error.sqlstate == "40P01":
            print("deadlock", flush=True)
    time.sleep(0.02)
"""


def writers(lab: Lab) -> Report:
    """Eight files with other versions of the same citations, in other orders, each by a command of its own."""
    citations = 600 if lab.quick else 3_000
    files = [_shuffled(lab, citations, number) for number in range(1, _WRITERS + 1)]
    report = Report("contention", f"{_WRITERS} loaders at once, each {citations:,} citations, the same keys shuffled")
    costs, rows = [], []
    for foreign in (False, True):
        name = "with a foreign program that locks backwards" if foreign else "loaders only"
        with lab.database() as dsn, _foreign(dsn, foreign) as killed:
            cost, results = _load(lab, dsn, files, name)
            with psycopg.connect(dsn) as conn:
                rows_by_version = conn.execute(
                    "SELECT count(*), count(*) FILTER (WHERE version >> 32 & 1048575 = %s) FROM pubmed.citation_fact",
                    [_WRITERS],
                ).fetchone() or (0, 0)
                (wide,) = conn.execute("SELECT count(*) FROM pubmed.citation").fetchone() or (0,)
                (chunks,) = conn.execute(
                    "SELECT count(DISTINCT (file_id, start_byte)) FROM medmirror.chunk"
                ).fetchone() or (0,)
        costs.append(cost)
        sums = {key: sum(result[key] for result in results) for key in _SUMS}
        rate = 100 * sums["deadlocks"] / max(1, chunks + sums["retries"])
        rows.append([name, chunks, *sums.values(), rate, len(killed)])
        keys = files[0].records
        lost = sum(abs(count - keys) for count in (*rows_by_version, wide))
        report.at_most(f"{name}: rows lost, or not of the newest file", lost, 0)
        report.at_most(f"{name}: deadlocks of 100 transactions", rate, 1, " %")
        report.at_most(f"{name}: rejects", sums["rejected"], 0)
    titles = ["", "chunks", *_SUMS, "deadlocks %", "foreign deadlocks"]
    report.tables += [table(costs), columns(titles, rows)]
    report.keep(contention=costs)
    report.figures["counts"] = [dict(zip(titles, row, strict=True)) for row in rows]
    return report


def _load(lab: Lab, dsn: str, files: list[Sample], name: str) -> tuple[Measured, list[dict[str, Any]]]:
    """All files at once, a command with one worker each; what they cost together, and what each of them printed."""
    lab.on_step(name)
    env = lab.environment(dsn) | {"MEDMIRROR_WORKERS": "1", "MEDMIRROR_CHUNK_BYTES": _CHUNK}
    results: list[dict[str, Any]] = []

    def work() -> int:
        with lab.log.open("ab") as log:
            running = [
                subprocess.Popen(
                    [sys.executable, "-m", "medmirror", "load", "pubmed", str(file.path), "--json"],
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=env,
                )
                for file in files
            ]
            results.extend(json.loads(loader.communicate()[0]) for loader in running)
        if codes := {loader.returncode for loader in running} - {0, 3}:
            raise RuntimeError(f"a loader ended with {codes}; see {lab.log}")
        return sum(result["read"] for result in results)

    return measure(name, work, dsn=dsn, every=0.5), results


@contextmanager
def _foreign(dsn: str, wanted: bool) -> Iterator[list[str]]:
    """A database with our tables, and a program that locks rows in it, if *wanted*; at the end, a line for each
    deadlock that the program lost."""
    engine, _ = open_database(Settings.from_environment({}, dsn=dsn))
    engine.dispose()
    lost: list[str] = []
    if not wanted:
        yield lost
        return
    with subprocess.Popen([sys.executable, "-c", _FOREIGN, dsn], stdout=subprocess.PIPE, text=True) as program:
        reader = threading.Thread(target=lambda: lost.extend(program.stdout or ()))
        reader.start()
        try:
            yield lost
        finally:
            program.kill()
            reader.join()


def _shuffled(lab: Lab, citations: int, number: int) -> Sample:
    """A PubMed file whose citations stand in random order; each *number* has other content for the same keys."""
    name = f"pubmed26n{number:04d}.xml.gz"
    return lab.sample(("shuffled", citations, number), name, lambda path: _write_shuffled(path, citations, number))


def _write_shuffled(path: Path, citations: int, number: int) -> samples.pubmed.PubmedFile:
    written = samples.write_pubmed(path, citations, seed=number, number=number)
    raw = gzip.decompress(path.read_bytes())
    source = sources.get("pubmed")
    context = source.context(path.name, raw[:65_536], lambda: io.BytesIO(raw), {})
    (block,) = source.split(io.BytesIO(raw), context, 1 << 40, 1 << 40)
    assert isinstance(block, Block)
    items = [block.data[item.start : item.end] for item in source.items(block.data, 0, context)]
    random.Random(number).shuffle(items)
    path.write_bytes(gzip.compress(raw[: block.start] + b"".join(items) + b"</PubmedArticleSet>\n", 1))
    samples.pubmed.write_md5(path)
    return written
