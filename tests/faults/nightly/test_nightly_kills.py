"""A night is killed wherever it may be; the same command then comes to the same tables as an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import mirrors
from gates import Gate
from medmirror.db import digests as setdigest
from medmirror_testing import samples

TEXT = """
[nightly]
name = "small"
[limits]
cpu = 100
workers = 2
[dedup]
enabled = false
[load.pubmed]
paths = ["pubmed/"]
[load.openfda]
paths = ["openfda/"]
[load.cliniko]
organizations = ["org_1", "org_2"]
paths = ["cliniko/{organization}"]
"""


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small night, with its inputs beside it. Whoever runs it gets patients that are gone, too."""
    folder = tmp_path_factory.mktemp("night")
    for name in ("pubmed", "openfda"):
        (folder / name).mkdir()
    samples.write_pubmed(folder / "pubmed/pubmed26n0001.xml", 60)
    samples.write_pubmed(folder / "pubmed/pubmed26n0002.xml", 60, number=2, first_pmid=samples.text.FIRST_PMID + 30)
    samples.write_openfda(folder / "openfda/ndc.json", "ndc", 60)
    for seed, organization in enumerate(("org_1", "org_2")):
        samples.write_cliniko(folder / "cliniko" / organization, patients=50, appointments=60, seed=seed)
    (folder / "nightly.toml").write_text(TEXT, encoding="utf-8")
    return folder / "nightly.toml"


@pytest.fixture
def command(settings: Any, night: Path) -> tuple[list[str], dict[str, str]]:
    """The command that does the night, a record or so a chunk, and its environment."""
    return _command(str(settings.dsn), night)


def _command(dsn: str, night: Path) -> tuple[list[str], dict[str, str]]:
    environment = {"MEDMIRROR_DSN": dsn, "MEDMIRROR_CHUNK_BYTES": "6KiB"}
    return ["-m", "medmirror", "nightly", str(night)], environment


Expected = tuple[dict[str, mirrors.Content], dict[str, setdigest.SetDigest]]


@pytest.fixture(scope="session")
def expected(database: Callable[[], AbstractContextManager[str]], night: Path) -> Expected:
    """What an undisturbed night comes to: the tables row for row, and all set digests."""
    with database() as dsn:
        words, environment = _command(dsn, night)
        subprocess.run([sys.executable, *words], env={**os.environ, **environment}, check=True, capture_output=True)
        return mirrors.contents(dsn), mirrors.digests(dsn)


def _same(dsn: str, expected: Expected) -> None:
    found = mirrors.digests(dsn)
    assert {name: one for name, one in found.items() if one != expected[1][name]} == {}
    mirrors.same(dsn, expected[0])
    assert sum(one.rows for name, one in found.items() if name.startswith("canonical.")) > 100


@pytest.fixture
def kills() -> random.Random:
    """Where to kill: another place each time, told when the test fails."""
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")  # pytest shows it when the test fails
    return random.Random(seed)


def _killed(dsn: str, program: Any, gate: Gate) -> None:
    """Kill *program* where it waits before *gate*; its workers must follow it."""
    gate.until_somebody_waits()
    assert program.process.poll() is None
    os.kill(program.process.pid, signal.SIGKILL)
    program.process.wait()
    mirrors.until(lambda: not program.processes(), "workers outlived their parent")
    gate.open()
    mirrors.wait_until_alone(dsn)


def test_a_night_killed_twice_at_random_comes_to_the_same_tables(
    settings: Any,
    expected: Expected,
    command: tuple[list[str], dict[str, str]],
    start: Callable[..., Any],
    kills: random.Random,
) -> None:
    dsn = str(settings.dsn)
    gate = Gate(dsn, "medmirror.chunk", 0)
    for _ in range(2):
        gate.let(kills.randrange(0, 40))
        _killed(dsn, start(command[0], **command[1]), gate)
    code, _, messages = start(command[0], **command[1]).end()
    assert code == 0, messages
    _same(dsn, expected)
    nights = (
        "SELECT r.status, n.through FROM medmirror.nightly AS n JOIN medmirror.run AS r USING (run_id) ORDER BY run_id"
    )
    assert mirrors.every(dsn, nights) == [("interrupted", False), ("interrupted", False), ("done", True)]
    assert mirrors.every(dsn, "SELECT DISTINCT status FROM medmirror.run WHERE status = 'running'") == []


@pytest.mark.parametrize(("number", "everybody"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_night_that_is_asked_to_stop_does_so_cleanly_and_the_next_one_goes_on(
    settings: Any,
    expected: Expected,
    command: tuple[list[str], dict[str, str]],
    start: Callable[..., Any],
    number: signal.Signals,
    everybody: bool,
) -> None:
    """A terminal sends Ctrl-C to all its processes, a service manager SIGTERM to the first."""
    dsn = str(settings.dsn)
    gate = Gate(dsn, "medmirror.chunk", 10)
    program = start(command[0], **command[1])
    gate.until_somebody_waits()
    (os.killpg if everybody else os.kill)(program.process.pid, number)
    gate.open()
    code, _, messages = program.end()
    assert code == 130
    assert "run the same command again" in messages
    assert "Traceback" not in messages
    mirrors.until(lambda: not program.processes(), "a worker was left behind")
    assert mirrors.one(dsn, "SELECT status, error FROM medmirror.run WHERE command = 'nightly'") == (
        "interrupted",
        None,
    )
    receipt, through = mirrors.one(dsn, "SELECT receipt, through FROM medmirror.nightly")
    assert (through, receipt["stopped"]) == (False, "it was interrupted")  # type: ignore[index]
    assert receipt["open"]  # type: ignore[index]
    mirrors.books_are_right(dsn)
    # Nobody holds the lock any more, and the night is still due.
    again = start([*command[0], "--due"], **command[1])
    assert again.end()[0] == 0
    _same(dsn, expected)


def test_a_loop_does_the_night_and_waits_until_it_is_stopped(
    settings: Any, command: tuple[list[str], dict[str, str]], start: Callable[..., Any]
) -> None:
    dsn = str(settings.dsn)
    program = start([*command[0], "--loop", "--only", "openfda"], **command[1])
    assert program.end()[0] == 2  # a loop does whole nights
    program = start([*command[0], "--loop"], **command[1])
    mirrors.until(lambda: mirrors.every(dsn, "SELECT through FROM medmirror.nightly") == [(True,)], "no night")
    assert program.process.poll() is None
    program.process.send_signal(signal.SIGTERM)
    code, _, messages = program.end()
    assert (code, "Traceback" in messages, "done: load.pubmed" in messages) == (130, False, True)
    assert start([*command[0], "--due"], **command[1]).end()[0] == 0
    assert mirrors.one(dsn, "SELECT count(*) FROM medmirror.nightly") == (1,)


def test_a_second_nightly_beside_a_running_one_is_told_who_runs(
    settings: Any, command: tuple[list[str], dict[str, str]], start: Callable[..., Any]
) -> None:
    dsn = str(settings.dsn)
    gate = Gate(dsn, "medmirror.run", 1)  # the night itself, and none of its parts
    first = start(command[0], **command[1])
    gate.until_somebody_waits()
    code, _, messages = start(command[0], **command[1]).end()
    assert code == 4
    assert f"pid={first.process.pid}" in messages
    gate.open()
    assert first.end()[0] == 0


def test_a_server_that_goes_away_ends_the_night_and_the_same_command_goes_on(
    settings: Any, expected: Expected, command: tuple[list[str], dict[str, str]], start: Callable[..., Any]
) -> None:
    """Every connection is ended, the lock's too: without its lock a night must not go on."""
    dsn = str(settings.dsn)
    gate = Gate(dsn, "medmirror.chunk", 10)
    program = start(command[0], **command[1])
    gate.until_somebody_waits()
    mirrors.end_sessions(dsn, "medmirror nightly")
    gate.open()
    code, _, messages = program.end()
    if code:  # else it was through before it looked
        assert code == 1
        assert "The connection that held the nightly's lock is gone" in messages
        assert mirrors.every(dsn, "SELECT status FROM medmirror.run WHERE status = 'running'") == []
        assert start(command[0], **command[1]).end()[0] == 0
    _same(dsn, expected)
