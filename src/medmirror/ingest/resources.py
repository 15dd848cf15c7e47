"""What a load costs: CPU of the server's processes and of the whole machine, memory of our own, WAL, dead tuples.

CPU and memory are read from /proc, so they are known on Linux, and CPU only for a server on this machine; None where
they are not.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from medmirror.db import sql
from medmirror.settings import usable_cpus

_PROC = Path("/proc")
_STATS_DELAY = 1.0  # seconds until a server has published what a connection that ended has written


_STAT = Path("/proc/stat")
_IDLE, _IOWAIT, _STEAL, _FIELDS = 3, 4, 7, 8  # user nice system idle iowait irq softirq steal

_statement = partial(sql.statement, "measure.sql")


def postmaster(engine: Engine) -> int | None:
    """The process id of *engine*'s server when it runs on this machine and can be seen, else None."""
    with engine.connect() as conn:
        row = conn.execute(_statement("backend")).one()
        try:
            title = (_PROC / str(row.pid) / "cmdline").read_text("utf-8", "replace")
        except OSError:
            return None
        # The same number may be another process's here, when the server is elsewhere or in a container of its own.
        return _stat(row.pid)[0] if title.startswith("postgres") and row.database in title else None


def cpu_seconds(root: int | None) -> float | None:
    """CPU seconds of the process *root*, its children, and those children that have ended; None for None."""
    if root is None:
        return None
    with suppress(OSError):
        while True:
            _, own, ended = _stat(root)
            running = sum(sum(_cpu(pid)) for pid in _descendants(root) if pid != root)
            if _stat(root)[2] == ended:  # else one has ended meanwhile, and would count twice or not at all
                return own + ended + running
    return None


def _cpu(pid: int) -> Iterator[float]:
    with suppress(OSError):
        yield _stat(pid)[1]


def _stat(pid: int) -> tuple[int, float, float]:
    """(parent, CPU seconds of its own, CPU seconds of its children that have ended)."""
    # The second field is the name in brackets, which may hold anything.
    fields = (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    user, system, child_user, child_system = (int(value) / tick for value in fields[11:15])
    return int(fields[1]), user + system, child_user + child_system


def _descendants(root: int) -> list[int]:
    """*root* and all processes below it."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                children.setdefault(_stat(int(entry.name))[0], []).append(int(entry.name))
    pids = [root]
    for pid in pids:
        pids += children.get(pid, [])
    return pids


def memory() -> int | None:
    """Bytes of memory of this process and all processes below it; what they share counts once (PSS).
    None when the system does not tell."""
    if not _PROC.is_dir():
        return None
    sizes = [size for pid in _descendants(os.getpid()) for size in _pss(pid)]
    return sum(sizes) if sizes else None


def _pss(pid: int) -> Iterator[int]:
    with suppress(OSError), (_PROC / str(pid) / "smaps_rollup").open() as file:
        yield from (1024 * int(line.split()[1]) for line in file if line.startswith("Pss:"))


class PeakMemory:
    """While it is open, looks every *interval* seconds at the memory of this process and those below it. ``peak``: the
    most that was seen, in bytes, or None."""

    def __init__(self, interval: float = 0.2) -> None:
        self.peak: int | None = None
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval):
            seen = memory()
            if seen is None:
                return
            self.peak = max(seen, self.peak or 0)


def wal(engine: Engine) -> int:
    """Bytes of WAL that the whole server has written since it was made: other databases' share is among them."""
    with engine.connect() as conn:
        return int(conn.execute(_statement("wal")).scalar_one())


def rewritten(engine: Engine, schemas: Sequence[str]) -> int:
    """Rows of *schemas* that were ever updated or deleted: each left a dead tuple.

    Waits until other connections to this database have ended, for only then the server counts what they did.
    """
    deadline = time.monotonic() + 10
    with engine.connect() as connection:
        conn = connection.execution_options(isolation_level="AUTOCOMMIT")
        while conn.execute(_statement("others")).scalar_one() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(_STATS_DELAY)
        return int(conn.execute(_statement("rewritten"), {"schemas": list(schemas)}).scalar_one())


Meter = Callable[[], float]
"""CPU seconds that the processors have been busy, since some moment that stays the same."""


def meter() -> Meter:
    """How to measure here: the kernel's own count on Linux, else an estimate from the load average."""
    return proc_stat if proc_stat() > 0 else LoadAverage()


def proc_stat() -> float:
    """Busy CPU seconds of the processors that this process may use; 0.0 where the kernel does not tell.

    A hypervisor that gives our time to others (steal) does not make us busy, and neither does waiting for a disk.
    """
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else set()
    ticks = 0
    with suppress(OSError, ValueError):
        for line in _STAT.read_text("ascii").splitlines():
            name, *values = line.split()
            if name in mine:
                ticks += sum(
                    int(value) for place, value in enumerate(values[:_FIELDS]) if place not in (_IDLE, _IOWAIT, _STEAL)
                )
    return ticks / os.sysconf("SC_CLK_TCK")


class LoadAverage:
    """Busy CPU seconds from the load of the last minute: late by about half of it, but every Unix has it."""

    def __init__(
        self,
        load: Callable[[], float] = lambda: os.getloadavg()[0],
        cpus: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load, self._cpus, self._clock = load, cpus or usable_cpus(), clock
        self._busy, self._since = 0.0, clock()
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Busy CPU seconds since it was made."""
        with self._lock:
            now = self._clock()
            self._busy += min(self._load(), self._cpus) * (now - self._since)
            self._since = now
            return self._busy


class PeakCpu:
    """While it is open, looks at *meter* every *interval* seconds. ``peak``: the busiest interval, as a share of all
    processors; ``mean``: the share over the whole time."""

    def __init__(self, measure: Meter, cpus: int | None = None, interval: float = 5.0) -> None:
        self._measure, self._cpus, self._interval = measure, cpus or usable_cpus(), interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._first = self._last = (time.monotonic(), measure())
        self.peak = 0.0

    def __enter__(self) -> PeakCpu:
        self._first = self._last = (time.monotonic(), self._measure())
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    @property
    def mean(self) -> float:
        """The share of all processors that was busy so far."""
        return self._share(self._first, (time.monotonic(), self._measure()))

    def _watch(self) -> None:
        while not self._ended.wait(self._interval):
            self._look()

    def _look(self) -> None:
        now = (time.monotonic(), self._measure())
        if now[0] - self._last[0] >= self._interval / 2 or not self.peak:  # the last moment alone would tell little
            self.peak = max(self.peak, self._share(self._last, now))
            self._last = now

    def _share(self, since: tuple[float, float], now: tuple[float, float]) -> float:
        passed = (now[0] - since[0]) * self._cpus
        return min(1.0, (now[1] - since[1]) / passed) if passed > 0 else 0.0
