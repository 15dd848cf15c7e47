"""The gauge itself: it must count what it says, above all the CPU of processes that are gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench.measure import Measured, machine, measure, table

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")

_BURN = "import time\nwhile time.process_time() < {}: pass\n"


def _burn(seconds: float) -> None:
    start = time.thread_time()  # not the process's: the meter's own thread, which does not count, is among that
    while time.thread_time() - start < seconds:
        pass


def test_counts_own_cpu_of_a_function() -> None:
    def work() -> int:
        _burn(0.5)
        return 10

    cost = measure("burn", work)
    assert cost.records == 10
    assert 0.45 < cost.client_cpu < 0.8
    assert cost.server_cpu is None
    assert cost.peak_mib
    assert cost.cpu_us_a_record == pytest.approx(cost.client_cpu / 10 * 1e6)


def test_counts_cpu_of_children_dead_and_alive_and_orphaned() -> None:
    child = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_BURN.format(0.2)!r}])\n{_BURN.format(0.1)}"
    )
    orphan = (
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {_BURN.format(0.3) + 'time.sleep(9)'!r}])"
    )
    assert measure("dead", [sys.executable, "-c", child]).client_cpu > 0.27

    def work() -> int:
        subprocess.run([sys.executable, "-c", orphan], check=True)
        time.sleep(0.8)
        return 1

    assert measure("orphan", work).client_cpu > 0.25


def test_counts_nothing_of_itself_for_a_command() -> None:
    cost = measure("sleep", ["sleep", "0.3"], records=5)
    assert cost.seconds >= 0.3
    assert cost.client_cpu < 0.1
    assert cost.records_a_second
    assert cost.records_a_second < 17


def test_reports_a_command_that_fails() -> None:
    cost = measure("false", [sys.executable, "-c", "raise SystemExit(3)"])
    assert cost.exit_code == 3
    assert "exit 3" in table([cost])


def test_peak_memory_is_that_of_all_processes_together() -> None:
    hold = "x = bytearray(b'1' * 60_000_000)\nimport time; time.sleep(0.6)"
    both = f"import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', {hold!r}])\n{hold}\np.wait()"
    cost = measure("two", [sys.executable, "-c", both])
    assert cost.peak_mib
    assert cost.peak_mib > 110


def test_table_shows_a_dash_for_what_is_not_known() -> None:
    row = Measured("x", 3, 1.5, 0.5, None, None, None, None, None, None, None)
    lines = table([row]).splitlines()
    assert lines[1].split()[:3] == ["x", "3", "1.50"]
    assert lines[1].split()[-1] == "-"
    assert len(set(map(len, lines))) == 1
    assert row.as_dict()["cpu"] == 0.5


def test_names_the_machine() -> None:
    assert f"{len(os.sched_getaffinity(0))} cores" in machine()
