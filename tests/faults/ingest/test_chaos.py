"""Many writers of the same keys, and a foreign program that locks rows the other way round: no row is lost."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import DeadlockDetected
from sqlalchemy import Engine

import mirrors
from medmirror import sources
from medmirror.db import runs
from medmirror.ingest import executors, worker
from medmirror.ingest.chunk import process
from medmirror.ingest.inputs import Inputs
from medmirror.model import Chunk, Outcome
from medmirror.settings import Settings

KEYS = 200
FILES = 150
A_FILE = 120  # keys
A_CHUNK = 8_000  # bytes: about forty keys
WRITERS = 8


def citation(pmid: int, number: int) -> str:
    """A small citation; in every third file its content is the same."""
    return (
        f'<PubmedArticle><MedlineCitation Status="MEDLINE" Owner="NLM"><PMID Version="1">{pmid}</PMID>'
        f'<Article PubModel="Print"><ArticleTitle>Title {number % 3}</ArticleTitle></Article>'
        "</MedlineCitation></PubmedArticle>"
    )


def chunks(folder: Path, engine: Engine, settings: Settings, run_id: int) -> list[Chunk]:
    """Chunks of files with overlapping keys in random order."""
    paths = []
    dice = random.Random(5)
    for number in range(1, FILES + 1):
        some = dice.sample(range(1, KEYS + 1), A_FILE)
        paths.append(folder / f"pubmed26n{number:04d}.xml")
        body = "".join(citation(pmid, number) for pmid in some)
        paths[-1].write_text(f"<PubmedArticleSet>{body}</PubmedArticleSet>")
    made = list(Inputs(engine, settings, run_id, sources.get("pubmed")).chunks(paths))
    dice.shuffle(made)
    return made


class Foreign(threading.Thread):
    """A program that knows nothing of us: it locks some rows of our tables, the highest key first."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self.dsn = dsn
        self.stop = threading.Event()
        self.count: Counter[str] = Counter()

    def run(self) -> None:
        """Go on until told to stop."""
        dice = random.Random(7)
        with psycopg.connect(self.dsn) as connection:
            while not self.stop.is_set():
                some = sorted(dice.sample(range(1, KEYS + 1), 3), reverse=True)
                table = dice.choice(("citation", "citation_fact"))
                try:
                    for pmid in some:
                        connection.execute(
                            f"SELECT FROM pubmed.{table} WHERE pmid = %s FOR UPDATE",  # type: ignore[arg-type]
                            [pmid],
                        )
                        time.sleep(0.001)  # thinks about it, holding its locks
                    connection.commit()
                except DeadlockDetected:
                    connection.rollback()
                    self.count["deadlocks"] += 1
                self.count["transactions"] += 1
                time.sleep(0.02)  # it has other things to do, too


def meet(folder: Path, number: int) -> int:
    """Say that this process is there, and return its id when *WRITERS* are."""
    (folder / f"here-{number}").touch()
    while len(list(folder.glob("here-*"))) < WRITERS:
        time.sleep(0.01)
    return os.getpid()


def all_of(pool: Executor, folder: Path) -> set[int]:
    """The writers of *pool*, when the last of them has started: from then on all are at work."""
    writers = {future.result() for future in [pool.submit(meet, folder, number) for number in range(WRITERS)]}
    assert len(writers) == WRITERS
    return writers


def test_eight_writers_and_a_foreign_program_lose_nothing(
    settings: Settings, engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn = str(settings.dsn)
    with engine.begin() as connection:
        run_id = runs.begin_run(connection, command="test", source=None, host="", pid=0, version="", settings={})
    work = chunks(tmp_path, engine, replace(settings, chunk_bytes=A_CHUNK), run_id)
    job = worker.Job(settings, run_id)
    for chunk in sorted(work, key=lambda chunk: chunk.parts[0].path):
        process(chunk, job)
    expected = mirrors.contents(dsn)
    worker.own_engine(settings).dispose()
    mirrors.empty(engine)

    foreign = Foreign(dsn)
    foreign.start()
    mirrors.until(lambda: foreign.count["transactions"], "the foreign program does nothing")
    before = foreign.count["transactions"]
    with executors.local(WRITERS) as pool:
        writers = all_of(pool, tmp_path)
        futures: list[Future[Outcome]] = [pool.submit(process, chunk, job) for chunk in work]
        outcomes = [future.result() for future in futures]
    foreign.stop.set()
    foreign.join()

    deadlocks = sum(outcome.deadlocks for outcome in outcomes) + foreign.count["deadlocks"]
    transactions = len(outcomes) + sum(outcome.retries for outcome in outcomes) + foreign.count["transactions"]
    with capsys.disabled():
        print(
            f"\n{len(outcomes)} chunks by {len({outcome.pid for outcome in outcomes})} writers,"
            f" {foreign.count['transactions']} foreign transactions: {deadlocks} deadlocks"
            f" ({deadlocks / transactions:.2%} of {transactions} transactions; {foreign.count['deadlocks']} foreign),"
            f" {sum(outcome.lock_waits for outcome in outcomes)} lock waits"
        )
    assert mirrors.contents(dsn) == expected
    assert expected["pubmed.citation"].rows == KEYS
    mirrors.books_are_right(dsn)
    assert {outcome.pid for outcome in outcomes} <= writers
    assert foreign.count["transactions"] > before
    # A writer lets go before the server ends anybody. How often the foreign program is ended because a busy machine
    # kept a writer from its work is chance, and is printed.
    assert sum(outcome.deadlocks for outcome in outcomes) == 0


def test_a_foreign_program_that_meets_a_writer_head_on_is_not_the_victim(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    """The writer lets go of its rows before the server has to end one of the two."""
    dsn = str(settings.dsn)
    with engine.begin() as connection:
        run_id = runs.begin_run(connection, command="test", source=None, host="", pid=0, version="", settings={})
    for number in (1, 2):
        body = "".join(citation(pmid, number) for pmid in (1, 9))
        (tmp_path / f"pubmed26n{number:04d}.xml").write_text(f"<PubmedArticleSet>{body}</PubmedArticleSet>")
    inputs = Inputs(engine, settings, run_id, sources.get("pubmed"))
    parts = [part for chunk in inputs.chunks(sorted(tmp_path.iterdir())) for part in chunk.parts]
    first, second = (Chunk("pubmed", (part,)) for part in sorted(parts, key=lambda part: part.path))
    job = worker.Job(settings, run_id)
    process(first, job)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    lock = b"SELECT FROM pubmed.citation_fact WHERE pmid = %s FOR UPDATE"
    with executors.local(1) as pool, psycopg.connect(dsn) as foreign:
        foreign.execute(lock, [9])
        future = pool.submit(process, second, job)
        mirrors.until(lambda: mirrors.one(dsn, waiting) == (1,), "the writer did not come to wait")
        foreign.execute(lock, [1])  # which the writer holds, while it waits for 9
        foreign.commit()
        outcome = future.result()
    assert outcome.counts[0].updated == 2
    assert outcome.deadlocks == 0
    assert outcome.lock_waits >= 1  # more, when its next try comes before the foreign program has had its turn
    worker.own_engine(settings).dispose()
