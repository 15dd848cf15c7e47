"""``medmirror bench``: how fast it is here."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medmirror.cli import output, picture
from medmirror.cli.load import told
from medmirror.cli.options import Command, shared
from medmirror.errors import UsageError

if TYPE_CHECKING:
    from medmirror.ingest.benchmark import Benchmark

_log = logging.getLogger(__name__)


@click.command(cls=Command)
@click.argument("words", metavar="[SOURCE] FILE...", nargs=-1, required=True)
@click.option("--workers", metavar="N,N...", default="1,2", show_default=True, help="Numbers of workers to compare.")
@click.option("--chunk-bytes", metavar="SIZE", help="Decoded bytes that a worker takes at a time, like 4MiB.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw the result into this file.")
def bench(words: tuple[str, ...], workers: str, chunk_bytes: str | None, svg: Path | None) -> output.Answer:
    """Measure how fast your own files load on this machine and database.

    For each number of workers the files are loaded into an empty scratch database, and then again unchanged; the
    database is dropped afterwards. It must be allowed to make one on the server.
    """
    source, paths = told(words)
    settings = shared().settings(chunk_bytes=chunk_bytes)
    counts = _numbers(workers)
    if svg is not None and not svg.absolute().parent.is_dir():
        raise UsageError(f"The folder of {svg} does not exist.")
    from medmirror.ingest import benchmark

    # What the loads themselves log would be told twice for every number of workers.
    logging.getLogger("medmirror.ingest.inputs").setLevel(logging.ERROR)
    result = benchmark.bench(settings, source, paths, counts, on_step=lambda what: _log.info("measuring: %s", what))
    if svg is not None:
        svg.write_text(picture.draw(result), encoding="utf-8")
    return output.Answer(result.as_dict(), lambda: _tables(result))


def _numbers(words: str) -> list[int]:
    try:
        counts = [int(word) for word in words.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or max(counts) > 1024:
        raise UsageError(f"--workers: {words!r} is not a list of numbers from 1 to 1024, for example 1,2,4.")
    return list(dict.fromkeys(counts))


def _tables(result: Benchmark) -> Iterable[Any]:
    yield picture.summary(result)
    yield output.table(
        ["workers", "records", "read", "s", "records/s", "MB/s", "scaling", "cores", "peak MB"],
        [(load.workers, load.load, load.read, load.seconds, load.records_per_second, load.mb_per_second,
          f"{load.scaling:.2f}", None if load.cores_busy is None else f"{load.cores_busy:.0%}", load.peak_mb)
         for load in result.loads],
    )  # fmt: skip
    stages = list(dict.fromkeys(stage for load in result.loads for stage in load.cpu_us_per_record))
    yield output.table(
        ["workers", "records", *(f"{stage} us" for stage in stages), "CPU us/record"],
        [(load.workers, load.load, *(load.cpu_us_per_record.get(stage, 0.0) for stage in stages), load.cpu_us)
         for load in result.loads],
    )  # fmt: skip
    yield output.table(
        ["workers", "records", "WAL B/record", "dead tuples", "deadlocks", "lock waits", "retries", "rejects"],
        [(load.workers, load.load, load.wal_bytes_per_record, load.dead_tuples, load.deadlocks, load.lock_waits,
          load.retries, load.rejected) for load in result.loads],
    )  # fmt: skip
