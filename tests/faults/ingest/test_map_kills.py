"""Mapping anew is killed in the middle: the same command does the rest, and nothing is mapped by halves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

import medmirror
import mirrors
from gates import Gate
from medmirror.db import digests as setdigest
from medmirror.ingest.remap import RemapResult
from medmirror.settings import Settings
from medmirror_testing import samples

PATIENTS = 9_000  # pages enough to be in the middle of
DONE = "SELECT count(*) FROM medmirror.sync_mapping WHERE run_id > 1"
EDITED = """
[[mapper]]
source = "cliniko"
feed = "patient"
entity = "patient"
[mapper.fields]
"names[official].use" = { value = "USUAL" }
"""


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """A mapping file that maps every patient anew."""
    path = tmp_path / "own.toml"
    path.write_text(EDITED, encoding="utf-8")
    return path


@pytest.fixture
def clinic(settings: Settings, tmp_path: Path) -> Settings:
    """Settings on a database with a clinic's patients."""
    path = samples.write_cliniko_page(tmp_path / "patient.json", "patient", PATIENTS)
    larger = replace(settings, chunk_bytes=4 << 20)
    assert medmirror.load("cliniko", path, organization="org_1", settings=larger).inserted == PATIENTS
    return settings


@pytest.fixture
def expected(
    clinic: Settings, edited: Path, database: Callable[[], AbstractContextManager[str]], tmp_path: Path
) -> dict[str, setdigest.SetDigest]:
    """What a load with the edited mapping makes of the same file."""
    with database() as dsn:
        fresh = replace(clinic, dsn=dsn, chunk_bytes=4 << 20)
        medmirror.load("cliniko", tmp_path / "patient.json", organization="org_1", mapping=edited, settings=fresh)
        return mirrors.digests(dsn)


def test_a_killed_worker_is_replaced(clinic: Settings, edited: Path, expected: dict[str, Any]) -> None:
    killed: list[int] = []

    def kill(result: RemapResult) -> None:
        if not killed:
            killed.append(next(iter(result.worker_peaks)))
            os.kill(killed[0], signal.SIGKILL)

    result = medmirror.remap(mapping=edited, settings=clinic, on_progress=kill)
    assert killed
    assert (result.status, result.worker_deaths) == ("done", 1)
    assert mirrors.digests(clinic.dsn_text) == expected


def test_a_killed_command_is_taken_up_where_it_was(
    clinic: Settings, edited: Path, expected: dict[str, Any], start: Callable[..., Any]
) -> None:
    dsn = clinic.dsn_text
    gate = Gate(dsn, "medmirror.sync_mapping", 2)
    command = ["-m", "medmirror", "map", "--mapping", str(edited), "--workers", "1", "--json"]
    program = start(command, MEDMIRROR_DSN=dsn)
    gate.until_somebody_waits()
    os.kill(program.process.pid, signal.SIGKILL)
    program.process.wait()
    mirrors.until(lambda: not program.processes(), "workers outlived their parent")
    gate.open()
    mirrors.wait_until_alone(dsn)
    before = mapped(dsn)
    assert 0 < before < PATIENTS
    again = medmirror.remap(mapping=edited, settings=clinic)
    assert again.counts.mapped == PATIENTS - before, "what was committed was done again"
    assert mirrors.digests(dsn) == expected
    states = mirrors.every(dsn, "SELECT status FROM medmirror.run WHERE command = 'map' ORDER BY run_id")
    assert states == [("interrupted",), ("done",)]
    mirrors.books_are_right(dsn)


def mapped(dsn: str) -> int:
    """How many records a mapping anew has written."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET medmirror.organization = '*'")
        row = connection.execute(DONE.encode()).fetchone()
    assert row is not None
    return int(row[0])
