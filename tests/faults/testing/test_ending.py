"""A bench, a demonstration: ended in the middle, they stop what they started and leave no folder behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mirrors
import places

BENCH = ["-m", "bench.run", "--quick", "--only", "startup"]
DEMO = [str(places.ROOT / "scripts" / "demo.py"), "--citations", "300"]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where the program makes its temporary folders."""
    folder = Path(tempfile.mkdtemp(prefix="medmirror-"))
    folder.chmod(0o711)  # as root, Postgres runs as another user, who must be able to pass
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def run(start: Callable[..., Any], temporary: Path, tmp_path: Path) -> Callable[[list[str]], Any]:
    """Start one of them, with its temporary folders in ``temporary``."""

    def begin(command: list[str]) -> Any:
        words = [*command, "--scratch", str(tmp_path / "scratch")] if command is BENCH else command
        return start(words, TMPDIR=str(temporary), PYTHONPATH=os.pathsep.join([str(places.ROOT), _inherited()]))

    return begin


def _inherited() -> str:
    return os.environ.get("PYTHONPATH", "")


def postmaster(temporary: Path) -> int | None:
    """The pid of the server in *temporary*, when it is ready."""
    for path in temporary.glob("medmirror-*/home/postgres/data/postmaster.pid"):
        lines = path.read_text().split()
        if "ready" in lines:
            return int(lines[0])
    return None


def runs(pid: int | None) -> bool:
    """Whether there is such a process, and not only what is left until its parent looks at it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def leaves_nothing(program: Any, temporary: Path) -> None:
    """Fail unless, when *program* has ended, nothing of it is left."""
    mirrors.until(lambda: not program.processes(), "a process was left behind")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_bench_that_is_ended_stops_its_server(run: Callable[..., Any], temporary: Path, number: int) -> None:
    program = run(BENCH)
    mirrors.until(lambda: postmaster(temporary), "no server was started")
    pid = postmaster(temporary)
    program.process.send_signal(number)
    code, _, messages = program.end()
    assert (code, "Traceback" in messages) == (128 + number, False), messages
    assert not runs(pid)
    leaves_nothing(program, temporary)


def test_a_bench_that_is_ended_while_its_server_starts_leaves_none(run: Callable[..., Any], temporary: Path) -> None:
    program = run(BENCH)
    mirrors.until(lambda: list(temporary.glob("medmirror-*/home/postgres")), "no server was begun with")
    program.process.send_signal(signal.SIGTERM)
    assert program.end()[0] == 128 + signal.SIGTERM
    leaves_nothing(program, temporary)


@pytest.mark.parametrize(("number", "everybody"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_demonstration_that_is_ended_stops_its_server(
    run: Callable[..., Any], temporary: Path, number: int, everybody: bool
) -> None:
    """A terminal sends Ctrl-C to all of its processes, whoever ends a service SIGTERM to the first."""
    program = run(DEMO)
    for line in program.process.stdout:
        if line.startswith("$ medmirror load"):
            break
    pid = postmaster(temporary)
    assert pid
    (os.killpg if everybody else os.kill)(program.process.pid, number)
    code, _, messages = program.end()
    assert code == 128 + number, messages
    assert not runs(pid)
    leaves_nothing(program, temporary)


def test_the_live_minute_that_is_ended_stops_its_service(start: Callable[..., Any], tmp_path: Path, dsn: str) -> None:
    program = start([str(places.ROOT / "scripts" / "live.py"), str(tmp_path)], MEDMIRROR_DSN=dsn)
    for line in program.process.stdout:
        if "serves at" in line:
            break
    assert len(program.processes()) > 1
    program.process.send_signal(signal.SIGTERM)
    assert program.end()[0] == 128 + signal.SIGTERM
    mirrors.until(lambda: not program.processes(), "the service was left behind")
