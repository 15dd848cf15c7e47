"""The cost of a piece of work: wall time, CPU of the client's processes and of Postgres, WAL, rows touched, peak
memory.

CPU is the gauge that survives a noisy machine: it counts this process or the command, every process that it started
(the dead ones too), and every process of the Postgres server when that runs here. Linux only (it reads /proc).
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psycopg

from medmirror.ingest.resources import cpu_seconds

_PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Measured:
    """The cost of one piece of work; None where it cannot be known (a server elsewhere, no /proc)."""

    name: str
    records: int
    seconds: float
    client_cpu: float
    server_cpu: float | None
    wal_bytes: int | None
    inserted: int | None
    updated: int | None
    deleted: int | None
    dead: int | None
    peak_mib: float | None
    exit_code: int = 0

    @property
    def cpu(self) -> float:
        """CPU seconds of client and server together."""
        return self.client_cpu + (self.server_cpu or 0.0)

    @property
    def cpu_us_a_record(self) -> float | None:
        """Microseconds of CPU a record, client and server together."""
        return 1e6 * self.cpu / self.records if self.records else None

    @property
    def records_a_second(self) -> float | None:
        """Records a second of wall time."""
        return self.records / self.seconds if self.records and self.seconds else None

    @property
    def cores_busy(self) -> float | None:
        """CPU seconds a second of wall time: 2.0 is two cores all the time."""
        return self.cpu / self.seconds if self.seconds else None

    def as_dict(self) -> dict[str, Any]:
        """All fields and ratios, for JSON."""
        figures = {field.name: getattr(self, field.name) for field in fields(self)}
        return figures | {
            name: getattr(self, name) for name in ("cpu", "cpu_us_a_record", "records_a_second", "cores_busy")
        }


def measure(
    name: str,
    work: Callable[[], int] | Sequence[str],
    *,
    dsn: str | None = None,
    records: int | None = None,
    every: float = 0.05,
    env: dict[str, str] | None = None,
) -> Measured:
    """Do *work*; return its cost.

    *work* is a function that returns how many records it did, or a command; of a command this process counts for
    nothing, of a function it counts. A command needs *records* to have costs a record; one that fails is reported
    with its exit code. *dsn* is the database whose server is watched. Memory is sampled *every* so many seconds, as
    the sum of the proportional set sizes.
    """
    _adopt_orphans()
    own = callable(work)
    code, count = 0, records or 0
    with _watch(dsn) as server:
        tree = _Tree(include_self=own)
        before = tree.cpu()
        start = time.perf_counter()
        with _Sampler(tree, every) as sampler:
            if callable(work):
                done = work()
                count = records if records is not None else done
            else:
                code = subprocess.run(work, check=False, env=env).returncode
        seconds = time.perf_counter() - start
        client = tree.cpu() - before - sampler.cpu
    return Measured(name, count, seconds, client, **server.costs(), peak_mib=sampler.peak_mib, exit_code=code)


def machine(dsn: str | None = None) -> str:
    """A line that names the machine of the figures."""
    model = platform.processor() or platform.machine()
    memory = ""
    with suppress(OSError):
        for line in (_PROC / "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
        total = int((_PROC / "meminfo").read_text().split()[1])
        memory = f", {total / _MIB:.0f} GiB"
    system = f"{platform.system()}, Python {platform.python_version()}"
    text = f"{len(os.sched_getaffinity(0))} cores of {model}{memory}, {system}"
    if dsn:
        with psycopg.connect(dsn) as conn:
            text += f", Postgres {conn.info.server_version // 10_000}"
    return text


def table(rows: Iterable[Measured]) -> str:
    """The measurements as lines of text under each other."""
    titles = "records,seconds,records/s,CPU s,client,server,us/record,cores,WAL MB,inserted,updated,dead,peak MiB"
    lines = [("", *titles.split(","))]
    for row in rows:
        numbers = (row.seconds, row.records_a_second, row.cpu, row.client_cpu, row.server_cpu, row.cpu_us_a_record)
        formats = ("{:.2f}", "{:,.0f}", "{:.2f}", "{:.2f}", "{:.2f}", "{:.0f}")
        wal = None if row.wal_bytes is None else row.wal_bytes / 1e6
        lines.append(
            (
                row.name if not row.exit_code else f"{row.name} (exit {row.exit_code})",
                f"{row.records:,}",
                *(_cell(text, number) for text, number in zip(formats, numbers, strict=True)),
                _cell("{:.2f}", row.cores_busy),
                _cell("{:,.1f}", wal),
                *(_cell("{:,}", number) for number in (row.inserted, row.updated, row.dead)),
                _cell("{:.0f}", row.peak_mib),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(w) if n else cell.ljust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def _cell(text: str, value: float | None) -> str:
    return "-" if value is None else text.format(value)


# Processes


def _adopt_orphans() -> None:
    """Make every process whose parent dies a child of this one from now on, so that its CPU is not lost."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children(pid: int) -> list[int]:
    pids: list[int] = []
    with suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            with suppress(OSError):
                pids += map(int, (task / "children").read_text().split())
    return pids


def _stat(pid: int) -> tuple[str, list[str]] | None:
    """A process's name and the fields of its stat file from the state on; None when it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    head, _, rest = text.rpartition(")")
    return head.partition("(")[2], rest.split()


def _cpu(pid: int) -> float:
    """CPU seconds of a process and of the children that it has reaped."""
    stat = _stat(pid)
    return sum(map(int, stat[1][11:15])) / _TICK if stat else 0.0


class _Tree:
    """This process (or not) and all below it, without Postgres servers: they are counted apart."""

    def __init__(self, *, include_self: bool) -> None:
        self._self = include_self

    def pids(self) -> Iterator[int]:
        waiting = [os.getpid()]
        while waiting:
            pid = waiting.pop()
            if pid != os.getpid():
                stat = _stat(pid)
                if stat is None or stat[0].startswith(("postgres", "postmaster")):
                    continue
                yield pid
            elif self._self:
                yield pid
            waiting += _children(pid)

    def cpu(self) -> float:
        """CPU seconds of all of them, dead ones included."""
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = reaped.ru_utime + reaped.ru_stime
        if self._self:
            total += time.process_time()
        return total + sum(_cpu(pid) for pid in self.pids() if pid != os.getpid())

    def memory(self) -> int:
        """Bytes of all of them together, shared pages counted once."""
        return sum(map(_memory, self.pids()))


def _memory(pid: int) -> int:
    folder = _PROC / str(pid)
    try:
        for line in (folder / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class _Sampler:
    """Watches the memory of a tree from a thread; ``cpu`` is what the watching itself has cost."""

    def __init__(self, tree: _Tree, every: float) -> None:
        self.peak = 0
        self.cpu = 0.0
        self._tree, self._every = tree, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def peak_mib(self) -> float | None:
        return self.peak / _MIB if self.peak else None

    def _run(self) -> None:
        while True:
            self.peak = max(self.peak, self._tree.memory())
            self.cpu = time.thread_time() if self._tree._self else 0.0
            if self._stop.wait(self._every):
                return

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


# Postgres

_TOUCHED = """SELECT coalesce(sum(n_tup_ins), 0)::bigint, coalesce(sum(n_tup_upd), 0)::bigint,
    coalesce(sum(n_tup_del), 0)::bigint, coalesce(sum(n_dead_tup), 0)::bigint
    FROM pg_stat_user_tables WHERE schemaname NOT LIKE 'pg_temp%'"""


class _Server:
    """The Postgres behind a connection: its CPU, its WAL, and the rows of this database that were touched."""

    def __init__(self, conn: psycopg.Connection[Any] | None) -> None:
        self._conn = conn
        self._postmaster = None if conn is None else _postmaster(conn)
        self._before = self._read() if conn else None
        self._after: tuple[float | None, int, tuple[int, ...]] | None = None

    def stop(self) -> None:
        if self._conn:
            cpu = cpu_seconds(self._postmaster)
            self._settle()
            after = self._read()
            self._after = (cpu, *after[1:])

    def costs(self) -> dict[str, Any]:
        """The differences, by field of ``Measured``."""
        names = "inserted", "updated", "deleted", "dead"
        if not self._before or not self._after:
            return dict.fromkeys(("server_cpu", "wal_bytes", *names))
        (cpu, lsn, rows), (cpu2, lsn2, rows2) = self._before, self._after
        used = None if cpu is None or cpu2 is None else cpu2 - cpu
        return {
            "server_cpu": used,
            "wal_bytes": lsn2 - lsn,
            **{name: new - old for name, old, new in zip(names, rows, rows2, strict=True)},
        }

    def _read(self) -> tuple[float | None, int, tuple[int, ...]]:
        assert self._conn
        (lsn,) = self._conn.execute("SELECT (pg_current_wal_lsn() - '0/0')::bigint").fetchone() or (0,)
        rows = self._conn.execute(_TOUCHED).fetchone() or (0, 0, 0, 0)
        return cpu_seconds(self._postmaster), lsn, tuple(rows)

    def _settle(self, patience: float = 5.0) -> None:
        """Wait until the counts stand still: other sessions report theirs a little late."""
        assert self._conn
        end = time.monotonic() + patience
        last: Any = None
        still = 0
        while still < 4 and time.monotonic() < end:
            rows = self._conn.execute(_TOUCHED).fetchone()
            still = still + 1 if rows == last else 0
            last = rows
            time.sleep(0.15)


@contextmanager
def _watch(dsn: str | None) -> Iterator[_Server]:
    if dsn is None:
        yield _Server(None)
        return
    with psycopg.connect(dsn, autocommit=True) as conn:
        server = _Server(conn)
        yield server
        server.stop()


def _postmaster(conn: psycopg.Connection[Any]) -> int | None:
    """The pid of the server's first process when it runs on this machine."""
    (pid,) = conn.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    stat = _stat(pid)
    if stat is None or not stat[0].startswith("postgres"):
        return None
    return int(stat[1][1])
