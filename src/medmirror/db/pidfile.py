"""The files that name a server's process number: whether it is alive, whether it is ours, whether they may go."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from medmirror.errors import EmbeddedServerError


def running(data: Path) -> int | None:
    """The process number of *data*'s server, if its pid file names a process that is alive and serves *data*."""
    pid = _pid_in(data / "postmaster.pid")
    return pid if pid is not None and _serves(pid, data) else None


def _pid_in(path: Path) -> int | None:
    try:
        return abs(int(path.read_text(errors="replace").split("\n", 1)[0]))
    except (OSError, ValueError):
        return None


def _serves(pid: int, data: Path) -> bool:
    """Whether *pid* is a living Postgres in *data*. A number alone proves nothing: after a crash it may be another's,
    or that of a dead process which nobody has reaped (in containers, often for ever)."""
    process = Path(f"/proc/{pid}")
    if Path("/proc/self").exists():
        try:
            # "pid (name) state ...": the name may itself hold parentheses
            state = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            return state not in "ZX" and (process / "cwd").readlink() == data.resolve()
        except OSError:
            return False
    answer = subprocess.run(["ps", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    words = answer.stdout.split(None, 1)
    return len(words) == 2 and not words[0].startswith("Z") and str(data) in words[1]


def await_or_clear(data: Path, socket: Path, answers: Callable[[], bool], patience: float) -> bool:
    """Wait until a server that is starting, recovering or stopping has done so; remove the files of a dead one.

    Returns whether there were files to remove. The lock of the cluster must be held. Raises EmbeddedServerError after
    *patience* seconds.
    """
    deadline = time.monotonic() + patience
    while running(data) is not None:
        if answers():
            return False
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"The server is running but has not answered for {patience:.0f} s; stop it first."
            )
        time.sleep(0.05)
    left = [path for path in (data / "postmaster.pid", socket.with_name(f"{socket.name}.lock")) if path.exists()]
    if left:
        _await_detached(data, deadline)
    for path in left:
        # Postgres would clear these itself, unless the number in them is alive again as somebody else's.
        path.unlink(missing_ok=True)
    return bool(left)


def _await_detached(data: Path, deadline: float) -> None:
    """Wait for the last backends of a killed server: two servers must never write to one data folder.

    Raises EmbeddedServerError when they still run at *deadline*.
    """
    try:
        segment = int((data / "postmaster.pid").read_text().split("\n")[6].split()[1])
    except (OSError, IndexError, ValueError):
        return
    while time.monotonic() < deadline and _attached(segment):
        time.sleep(0.05)
    if _attached(segment):
        raise EmbeddedServerError("Processes of a server that was killed are still running; end them first.")


def _attached(segment: int) -> bool:
    try:
        lines = Path("/proc/sysvipc/shm").read_text().splitlines()
    except OSError:
        return False  # elsewhere Postgres looks itself when it starts
    columns = lines[0].split()
    number, count = columns.index("shmid"), columns.index("nattch")
    return any(int(row[number]) == segment and int(row[count]) > 0 for row in map(str.split, lines[1:]))
