"""How long the HTTP API takes while a worker keeps the database busy: p50 and p99 of status and trigger requests.

    python -m bench.api                       # 8 clients, 10 s each, 1,000 organisations; about a minute

`medmirror serve` runs as a process of its own with an embedded Postgres; a worker process meanwhile stores a generated
clinic (2,000 patients, 20,000 appointments), a new one each time, as first syncs do.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from medmirror.clock import SYSTEM
from medmirror.db.database import open_database
from medmirror.service import keys
from medmirror.settings import Settings
from medmirror.sync import organizations
from medmirror.sync.organizations import Organization
from medmirror_testing import samples
from medmirror_testing.servers.postgres import postgres

_COLUMNS = ("what", "busy", "requests", "req/s", "p50 ms", "p99 ms", "max ms", "not 2xx")


@contextmanager
def _serving(dsn: str) -> Iterator[str]:
    command = [sys.executable, "-m", "medmirror", "--dsn", dsn, "-q", "serve", "--port", "0", "--workers", "0",
               "--no-scheduler", "--rate", "10000"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        address = next((m[1] for line in process.stderr if (m := re.search(r"serves at (\S+)", line))), None)
        assert address is not None
        try:
            yield address
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def _busy(dsn: str, folder: Path) -> Iterator[None]:
    """A process that stores *folder* as one clinic after the other, with one worker, until the `with` ends."""
    load = f'"{sys.executable}" -m medmirror --dsn "{dsn}" -q load cliniko --workers 1 --org clinic_$$_$n "{folder}"'
    loop = f"n=0; while :; do n=$((n + 1)); {load} >/dev/null 2>&1; done"
    with subprocess.Popen(["sh", "-c", loop], start_new_session=True) as process:
        time.sleep(3.0)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def _measure(request: Callable[[httpx.Client, int], int], address: str, clients: int, seconds: float) -> list[object]:
    taken: list[float] = []
    bad = 0
    lock = threading.Lock()

    def repeat(number: int) -> None:
        nonlocal bad
        mine, wrong, turn = [], 0, number
        with httpx.Client(base_url=address, timeout=60) as client:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                begun = time.perf_counter()
                status = request(client, turn)
                mine.append(time.perf_counter() - begun)
                wrong += not 200 <= status < 300
                turn += clients
        with lock:
            taken.extend(mine)
            bad += wrong

    threads = [threading.Thread(target=repeat, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cuts = statistics.quantiles(taken, n=100)
    milliseconds = [f"{value * 1000:.1f}" for value in (cuts[49], cuts[98], max(taken))]
    return [len(taken), f"{len(taken) / seconds:.0f}", *milliseconds, bad]


def run(clients: int, seconds: float, count: int) -> list[list[object]]:
    """Measure; return the rows of the table."""
    with postgres(Settings.from_environment(), "medmirror-bench-") as own:
        engine, settings = open_database(replace(own.settings, dsn=own.dsn))
        try:
            for number in range(count):
                organizations.put(engine, Organization(f"org_{number:04}", "cliniko", "cliniko"))
            token = keys.add(engine, "bench", ["read", "sync"], None, SYSTEM.now()).token
            folder = own.folder / "clinic"
            samples.write_cliniko(folder, patients=2_000, appointments=20_000)
            return _rows(settings.dsn_text, folder, token, clients, seconds, count)
        finally:
            engine.dispose()


def _rows(dsn: str, folder: Path, token: str, clients: int, seconds: float, count: int) -> list[list[object]]:
    key = {"Authorization": f"Bearer {token}"}

    def status(client: httpx.Client, turn: int) -> int:
        return client.get(f"/api/v1/cliniko/status/org_{turn % count:04}", headers=key).status_code

    def trigger(client: httpx.Client, turn: int) -> int:
        return client.post(f"/api/v1/cliniko/sync/org_{turn % count:04}", headers=key).status_code

    rows: list[list[object]] = []
    with _serving(dsn) as address:
        for name, request in (("status", status), ("trigger", trigger)):
            _measure(request, address, clients, 1.0)
            for many in (1, clients):
                label = f"{name}, {many} client{'s' if many > 1 else ''}"
                rows.append([label, "no", *_measure(request, address, many, seconds)])
                with _busy(dsn, folder):
                    rows.append([label, "yes", *_measure(request, address, many, seconds)])
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--organizations", type=int, default=1000)
    options = parser.parse_args()
    measured = run(options.clients, options.seconds, options.organizations)
    rows = [_COLUMNS, *([str(cell) for cell in row] for row in measured)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    for row in rows:
        aligned = zip(row, widths, range(len(row)), strict=True)
        print(
            "  ".join(cell.ljust(width) if place < 2 else cell.rjust(width) for cell, width, place in aligned).rstrip()
        )


if __name__ == "__main__":
    main()
