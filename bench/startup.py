"""The cost of a load before its first record: imports, processes, connections, tables."""

from __future__ import annotations

from statistics import median

from bench.lab import Lab
from bench.measure import Measured, table
from bench.pubmed import OURS, opponents
from bench.report import Report, middle

_MODULES = ("medmirror", "medmirror.cli", "medmirror.ingest.run", "medmirror.ingest.worker", "medmirror.sources.pubmed")


def costs(lab: Lab) -> Report:
    """Imports, and loads of one small file: into an empty database, again, and by the others."""
    report = Report("startup", "Start-up: what everything costs that is not the data")
    times = max(3, lab.runs)
    runs: list[Measured] = [middle([_python(lab, "Python itself", "pass") for _ in range(times)])]
    for module in _MODULES:
        runs.append(middle([_python(lab, f"import {module}", f"import {module}") for _ in range(times)]))
    sample = lab.pubmed(1)
    ours: dict[str, list[Measured]] = {}
    for _ in range(times):
        with lab.database() as dsn:
            for name, options in (("1 record, new database", ()), ("1 record again", ("--force",)), ("skipped", ())):
                cost = lab.load(dsn, "pubmed", [sample.path], *options, name=name).cost
                ours.setdefault(name, []).append(cost)
            single = lab.load(dsn, "pubmed", [sample.path], "--force", name="1 record again, 1 worker", workers=1)
            ours.setdefault(single.cost.name, []).append(single.cost)
    runs += [middle(loads) for loads in ours.values()]
    for side in opponents():
        with lab.database() as dsn:
            runs.append(lab.opponent(side, dsn, sample.path, 1))
    report.tables.append(table(runs))
    seconds = median(run.cpu for run in ours["1 record again"])
    report.tables.append(
        f"A load of {OURS} spends {seconds:.2f} s of CPU on starting and ending, whatever its size:"
        f" {1e6 * seconds / 30_000:.0f} us a citation\nof a file of 30,000."
    )
    report.keep(startup=runs)
    return report


def _python(lab: Lab, name: str, code: str) -> Measured:
    return lab.command(name, ["-c", code], lab.server, records=1).cost
