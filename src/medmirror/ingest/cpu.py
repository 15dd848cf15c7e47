"""How busy the processors are, whoever keeps them so: ourselves, Postgres, or the programs beside us."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from medmirror.settings import usable_cpus

_STAT = Path("/proc/stat")
_IDLE, _IOWAIT, _STEAL, _FIELDS = 3, 4, 7, 8  # user nice system idle iowait irq softirq steal

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
