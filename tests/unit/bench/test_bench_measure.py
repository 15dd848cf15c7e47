"""The gauge itself: it must count what it says, above all the CPU of processes that are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import measure as gauge
from bench.measure import Measured, machine, measure, table

import mirrors

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


def test_counts_cpu_of_children_dead_and_alive_and_orphaned(tmp_path: Path) -> None:
    child = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_BURN.format(0.2)!r}])\n{_BURN.format(0.1)}"
    )
    burnt = f"{_BURN.format(0.3)}import pathlib, sys\npathlib.Path(sys.argv[1]).touch()\ntime.sleep(600)"
    orphan = f"""if True:
        import subprocess, sys
        p = subprocess.Popen([sys.executable, "-c", {burnt!r}, sys.argv[1]], stdout=subprocess.DEVNULL)
        print(p.pid)
    """
    assert measure("dead", [sys.executable, "-c", child]).client_cpu > 0.27

    def work() -> int:
        command = [sys.executable, "-c", orphan, str(tmp_path / "burnt")]
        pids.append(int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
        mirrors.until((tmp_path / "burnt").exists, "the orphan burns nothing")
        return 1

    pids: list[int] = []
    try:
        assert measure("orphan", work).client_cpu > 0.25
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


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


def test_peak_memory_is_that_of_all_processes_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both hold their memory until it was looked at while both of them did."""
    seen = tmp_path / "seen"
    hold = f"""if True:
        import pathlib, sys, time
        x = bytearray(b"1" * 60_000_000)
        pathlib.Path({str(tmp_path)!r}, sys.argv[1]).touch()
        while not pathlib.Path({str(seen)!r}).exists():
            time.sleep(0.02)
    """
    both = f"import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', {hold!r}, 'two'])\n{hold}    p.wait()"
    usual = gauge._Tree.memory

    def memory(tree: gauge._Tree) -> int:
        held = all((tmp_path / name).exists() for name in ("one", "two"))
        found = usual(tree)
        if held:
            seen.touch()
        return found

    monkeypatch.setattr(gauge._Tree, "memory", memory)
    cost = measure("two", [sys.executable, "-c", both, "one"])
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
