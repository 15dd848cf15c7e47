"""Files large enough to be interrupted, what an undisturbed load makes of them, and programs that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg.conninfo import make_conninfo

import medmirror
import mirrors
from medmirror.ingest import worker
from medmirror.settings import Settings
from medmirror_testing import samples
from medmirror_testing.samples.text import FIRST_PMID

RECORDS = 120  # a file
CHUNK_BYTES = 30_000  # dozens of chunks a file


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three PubMed files: the second has keys of the first again, changed; the third deletes and revises some."""
    folder = tmp_path_factory.mktemp("files")
    half = FIRST_PMID + RECORDS // 2
    some = (half, half + 3)
    made = [
        samples.write_pubmed(folder / "pubmed26n0001.xml.gz", RECORDS),
        samples.write_pubmed(folder / "pubmed26n0002.xml.gz", RECORDS, first_pmid=half, number=2, change=0.5),
        samples.write_pubmed(
            folder / "pubmed26n0003.xml", 20, first_pmid=half + 500, revisions=some, deletes=(half + 5,)
        ),
    ]
    return [file.path for file in made]


@pytest.fixture(scope="session")
def undisturbed(database: Callable[[], AbstractContextManager[str]], files: list[Path]) -> dict[str, mirrors.Content]:
    """The tables after an undisturbed load of ``files``."""
    with database() as dsn:
        medmirror.load("pubmed", files, settings=replace(Settings.from_environment(environ={}), dsn=dsn))
        return mirrors.contents(dsn)


@pytest.fixture
def settings(dsn: str) -> Iterator[Settings]:
    """Settings on this test's database: small chunks, two workers."""
    yield replace(Settings.from_environment(environ={}), dsn=dsn, chunk_bytes=CHUNK_BYTES, workers=2)
    worker.own_engine.cache_clear()


class Program:
    """A program under test, and every process that it starts (they inherit a mark in its environment)."""

    def __init__(self, command: list[str], **environment: str) -> None:
        self.mark = f"MEDMIRROR_TEST_MARK={uuid4()}"
        name, value = self.mark.split("=")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MEDMIRROR_")}
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env={**inherited, **environment, name: value},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def processes(self) -> set[int]:
        """The program and all that it has started and that still lives."""
        found = set()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    marked = self.mark.encode() in (folder / "environ").read_bytes().split(b"\0")
                    zombie = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                except (OSError, ValueError):
                    continue
                if marked and not zombie:
                    found.add(int(folder.name))
        return found

    def end(self) -> tuple[int, str, str]:
        """Wait for the program; its exit code, output and messages."""
        out, err = self.process.communicate(timeout=mirrors.PATIENCE)
        return self.process.returncode, out, err


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    """Start a Python program; whatever is left of it at the end of the test is killed."""
    started: list[Program] = []

    def run(command: list[str], **environment: str) -> Program:
        started.append(Program(command, **environment))
        return started[-1]

    yield run
    for program in started:
        for pid in program.processes():
            os.kill(pid, 9)
        program.process.communicate()


@pytest.fixture
def load_command(settings: Settings, files: list[Path]) -> tuple[list[str], dict[str, str]]:
    """The command that loads ``files``, a citation or so a chunk, and its environment."""
    environment = {
        "MEDMIRROR_DSN": make_conninfo(str(settings.dsn)),
        "MEDMIRROR_CHUNK_BYTES": "4KiB",
        "MEDMIRROR_WORKERS": "2",
    }
    return ["-m", "medmirror", "load", "pubmed", *map(str, files)], environment
