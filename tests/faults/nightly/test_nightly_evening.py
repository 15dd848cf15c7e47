"""An evening with everything: five clinics of four systems and all public sources, killed twice at random."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

import mirrors
import places
from medmirror.db import digests as setdigest

SCRIPT = places.ROOT / "scripts" / "nightly_full_sync.py"
SMALL = ("--patients", "30", "--articles", "60", "--cpu", "100")


@pytest.fixture(scope="module")
def evening(
    tmp_path_factory: pytest.TempPathFactory, database: Callable[[], AbstractContextManager[str]]
) -> tuple[Path, dict[str, setdigest.SetDigest]]:
    """The folder of the second day, and what an undisturbed night of the first and one of the second come to."""
    folder = tmp_path_factory.mktemp("evening") / "night"
    with database() as dsn:
        for words in ((*SMALL,), (*SMALL, "--day", "1")):
            done = subprocess.run(
                [sys.executable, str(SCRIPT), str(folder), *words],
                env={**os.environ, "MEDMIRROR_DSN": dsn, "MEDMIRROR_CHUNK_BYTES": "16KiB"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            if words == SMALL:
                shutil.copytree(folder, folder.with_name("first"))
        return folder, mirrors.digests(dsn)


def test_an_evening_with_everything_killed_twice_comes_to_the_same_digests(
    evening: tuple[Path, dict[str, setdigest.SetDigest]], dsn: str, start: Callable[..., Any]
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")  # pytest shows it when the test fails
    kills = random.Random(seed)
    folder, expected = evening
    environment = {"MEDMIRROR_DSN": make_conninfo(dsn), "MEDMIRROR_CHUNK_BYTES": "16KiB"}
    first = folder.with_name("first")
    assert start([str(SCRIPT), str(first)], **environment).end()[0] == 0
    begun = "SELECT count(*) FROM medmirror.run WHERE pid = %s"
    for _ in range(2):
        program = start([str(SCRIPT), str(folder)], **environment)
        wanted = kills.randrange(1, 22)  # runs of parts: 1 is the night itself

        def far_enough(program: Any = program, wanted: int = wanted) -> bool:
            count = mirrors.one(dsn, begun, program.process.pid)[0]
            return program.process.poll() is not None or int(str(count)) >= wanted

        mirrors.until(far_enough, "too few parts were begun")
        if program.process.poll() is None:
            os.kill(program.process.pid, signal.SIGKILL)
        program.process.communicate()
        mirrors.until(lambda program=program: not program.processes(), "workers outlived their parent")
    code, said, messages = start([str(SCRIPT), str(folder)], **environment).end()
    assert code == 0, said + messages
    found = mirrors.digests(dsn)
    assert {name: one for name, one in found.items() if one != expected[name]} == {}
    kinds = {name.partition(".")[0] for name, one in found.items() if one.rows}
    assert {"pubmed", "clinicaltrials", "openfda", "cliniko", "fhir", "csv", "sql", "canonical"} <= kinds
    mirrors.books_are_right(dsn)
