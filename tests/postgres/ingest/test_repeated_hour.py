"""Records that were changed in the hour that the clock shows twice: the newer one stands, whatever comes when."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from sqlalchemy import Engine

import medmirror
import mirrors
from medmirror import sources
from medmirror.db import runs
from medmirror.ingest import worker
from medmirror.ingest.chunk import process
from medmirror.ingest.inputs import Inputs
from medmirror.model import Chunk
from medmirror.settings import Settings

MAPPING = """[file]
kind = "patient"
key = ["Id"]
updated = {column = "Changed", format = "%d.%m.%Y %H:%M", zone = "Europe/Berlin"}
"""
FIRST, SECOND = ("25.10.2026 02:50", "first"), ("25.10.2026 02:10", "second")
"""Twenty minutes lie between them: the clock went back at 03:00."""


@pytest.fixture
def settings(dsn: str) -> Iterator[Settings]:
    """Settings on this test's database, a chunk a row or two, two workers."""
    yield replace(Settings.from_environment(environ={}), dsn=dsn, chunk_bytes=60, workers=2)
    worker.own_engine.cache_clear()  # a chunk was processed in this process
    gc.collect()


def export(path: Path, rows: Iterable[tuple[str, str]], fillers: int = 0) -> Path:
    """A file of *rows* of patient 1 (time of change, note), *fillers* other patients before each."""
    lines = ["Id,Changed,Note"]
    for time, note in rows:
        lines += [f"{100 + len(lines) + n},24.10.2026 12:00,filler" for n in range(fillers)]
        lines.append(f"1,{time},{note}")
    path.write_text("\n".join(lines) + "\n")
    return path


def load(settings: Settings, *paths: Path, force: bool = False) -> medmirror.LoadResult:
    mapping = paths[0].parent / "mapping.toml"
    mapping.write_text(MAPPING)
    return medmirror.load("csv", paths, organization="org_1", mapping=mapping, settings=settings, force=force)


def note(settings: Settings) -> str:
    with psycopg.connect(str(settings.dsn)) as connection:
        connection.execute("SELECT set_config('medmirror.organization', '*', false)")
        row = connection.execute("SELECT record->>'Note' FROM csv.record WHERE id = '1'").fetchone()
    assert row is not None
    return str(row[0])


def facts(settings: Settings) -> dict[str, Any]:
    """What tells the content of the tables of records apart, their versions too."""
    return dict(mirrors.contents(str(settings.dsn), "csv"))


def test_a_later_row_of_the_second_hour_stands(settings: Settings, tmp_path: Path) -> None:
    result = load(settings, export(tmp_path / "patients.csv", [FIRST, SECOND], fillers=3))
    assert (result.inserted + result.updated + result.duplicate, result.rejected) == (8, 0)
    assert note(settings) == "second"
    mirrors.books_are_right(str(settings.dsn))


def test_a_later_export_of_the_second_hour_stands(settings: Settings, tmp_path: Path) -> None:
    load(settings, export(tmp_path / "patients-1.csv", [FIRST], fillers=9))
    result = load(settings, export(tmp_path / "patients-2.csv", [SECOND]))
    assert (result.updated, result.duplicate, note(settings)) == (1, 0, "second")


def test_a_later_file_of_one_load_stands(settings: Settings, tmp_path: Path) -> None:
    export(tmp_path / "patients-1.csv", [FIRST], fillers=30)
    export(tmp_path / "patients-2.csv", [SECOND])
    load(settings, tmp_path / "patients-1.csv", tmp_path / "patients-2.csv")
    assert note(settings) == "second"


@pytest.mark.parametrize(
    ("time", "newer"),
    [("25.10.2026 01:59", False), ("25.10.2026 03:00", True), ("24.10.2026 02:30", False), ("26.10.2026 02:30", True)],
)
def test_times_around_the_two_hours_are_ordered_by_the_clock(
    settings: Settings, tmp_path: Path, time: str, newer: bool
) -> None:
    load(settings, export(tmp_path / "patients-1.csv", [FIRST, SECOND], fillers=3))
    load(settings, export(tmp_path / "patients-2.csv", [(time, "other")]))
    assert note(settings) == ("other" if newer else "second")
    load(settings, export(tmp_path / "patients-3.csv", [FIRST, SECOND, ("25.10.2026 02:50", "third")]))
    assert note(settings) == ("other" if newer else "third")


def test_an_old_row_that_a_later_full_export_repeats_is_not_newer(settings: Settings, tmp_path: Path) -> None:
    load(settings, export(tmp_path / "patients-1.csv", [FIRST, SECOND], fillers=3))
    for number in range(2, 5):
        load(settings, export(tmp_path / f"patients-{number}.csv", [FIRST, SECOND], fillers=number))
        assert note(settings) == "second"
    mirrors.books_are_right(str(settings.dsn))


def test_a_row_whose_time_is_the_same_and_content_is_not_is_taken_from_the_later_export(
    settings: Settings, tmp_path: Path
) -> None:
    load(settings, export(tmp_path / "patients-1.csv", [SECOND], fillers=30))
    for number, text in enumerate(["corrected", "corrected again", "second"], 2):
        load(settings, export(tmp_path / f"patients-{number}.csv", [(SECOND[0], text)]))
        assert note(settings) == text


def begin(engine: Engine) -> int:
    with engine.begin() as connection:
        return runs.begin_run(connection, command="test", source=None, host="", pid=0, version="", settings={})


def chunks(settings: Settings, engine: Engine, paths: Sequence[Path]) -> list[Chunk]:
    """The chunks of one load of *paths*."""
    given = {"organization": "org_1", "mapping": orjson.dumps([MAPPING]).decode()}
    return list(Inputs(engine, settings, begin(engine), sources.get("csv"), force=True, given=given).chunks(paths))


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_chunks_gives_the_same_tables(
    settings: Settings, engine: Engine, tmp_path: Path, seed: int
) -> None:
    """Two loads of two files each, of the same key's rows in the two hours; the chunks of a load in any order."""
    chance = random.Random(seed)
    loads = []
    for number in range(2):
        paths = [
            export(
                tmp_path / f"patients-{number}{place}.csv",
                [(f"25.10.2026 02:{chance.randrange(60):02d}", chance.choice("abc")) for _ in range(2)],
                fillers=chance.randrange(3),
            )
            for place in range(2)
        ]
        rows = [line for path in paths for line in path.read_text().splitlines() if line.startswith("1,")]
        together = chunks(settings, engine, paths)
        assert len(together) >= 3
        loads.append((together, rows[-1].rpartition(",")[2]))
    expected = None
    for _ in range(8):
        mirrors.empty(engine)
        for together, last in loads:
            run_id = begin(engine)
            for chunk in chance.sample(together, len(together)):
                process(chunk, worker.Job(settings, run_id))
            assert note(settings) == last
        content = facts(settings)
        expected = expected or content
        assert content == expected
    mirrors.books_are_right(str(settings.dsn))
