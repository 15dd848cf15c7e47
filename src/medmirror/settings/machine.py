"""What depends on the machine: defaults, and whether a process of it lives."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import platformdirs


def usable_cpus() -> int:
    """How many processors this process may run on (a container or taskset may allow fewer than there are)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers(cpus: int | None = None) -> int:
    """Half the processors, for the other half is Postgres' share; but two where there are two or three.

    A worker parses and then waits for its own backend to merge. With one worker on two processors the two would take
    turns, and one processor would always idle; a second worker parses while the first one waits.
    """
    count = usable_cpus() if cpus is None else cpus
    return max(min(2, count), count // 2)


def default_home() -> Path:
    """The user's data folder; for root /var/lib/medmirror.

    Postgres refuses to run as root, so root's server runs as another user, and that one cannot pass through /root.
    """
    if sys.platform == "linux" and os.geteuid() == 0:
        return Path("/var/lib/medmirror")
    return platformdirs.user_data_path("medmirror", appauthor=False)


def is_alive(pid: int) -> bool:
    """Return whether there is a process of that number on this machine, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
