"""Claims about exports of practice systems: what a megabyte of their JSON costs beside a megabyte of openFDA's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.lab import Lab, Sample
from bench.measure import Measured, table
from bench.report import Report, columns, middle
from medmirror_testing import samples

_LIMIT = 1.2
_ORGANIZATION = ("--org", "clinic")


class _Written(NamedTuple):
    path: Path
    records: int
    size: int
    changed: Sequence[int] = ()


class _Input(NamedTuple):
    name: str
    source: str
    options: tuple[str, ...]
    sample: Sample


def per_megabyte(lab: Lab) -> Report:
    """Cliniko's pages and FHIR's lines, mapped as they are loaded, against openFDA's products and labels, which are not
    mapped: all CPU, client and server, for a decoded megabyte."""
    scale = 1 if lab.quick else 20
    inputs = [
        _Input("openfda ndc", "openfda", (), _drugs(lab, "ndc", 2_000 * scale)),
        _Input("openfda label", "openfda", (), _drugs(lab, "label", 400 * scale)),
        _Input("cliniko", "cliniko", _ORGANIZATION, _cliniko(lab, 500 * scale, 3_000 * scale)),
        _Input("fhir", "fhir", _ORGANIZATION, _fhir(lab, 100 * scale)),
    ]
    runs: dict[str, list[Measured]] = {entry.name: [] for entry in inputs}
    mapping: dict[str, float] = {}
    for _ in range(lab.runs):
        for entry in inputs:
            with lab.database() as dsn:
                load = lab.load(dsn, entry.source, [entry.sample.path], *entry.options, name=entry.name)
                runs[entry.name].append(load.cost)
                mapping[entry.name] = load.result["cpu_seconds"].get("map", 0.0)
    report = Report("practice", "Practice systems' JSON, mapped while it is loaded, beside openFDA's")
    report.tables.append(table([middle(costs) for costs in runs.values()]))
    cost = {entry.name: [run.cpu / (entry.sample.size / 1e6) for run in runs[entry.name]] for entry in inputs}
    rows = [
        [
            entry.name,
            entry.sample.size / 1e6,
            entry.sample.size / entry.sample.records,
            1e3 * median(cost[entry.name]),
            1e6 * mapping[entry.name] / entry.sample.records,
        ]
        for entry in inputs
    ]
    titles = ["input", "MB", "bytes/record", "CPU ms/MB", "of it mapping, us/record"]
    report.tables.append(columns(titles, rows))
    for name in ("cliniko", "fhir"):
        for other in ("openfda ndc", "openfda label"):
            ratio = median(mine / its for mine, its in zip(cost[name], cost[other], strict=True))
            report.at_most(f"{name}: CPU a megabyte, times that of {other}", ratio, _LIMIT, " x")
    report.keep(**runs)
    return report


def _drugs(lab: Lab, endpoint: str, records: int) -> Sample:
    name = f"drug-{endpoint}-0001-of-0001.json"
    return lab.sample((endpoint, records), name, lambda path: samples.write_openfda(path, endpoint, records))  # type: ignore[arg-type]


def _cliniko(lab: Lab, patients: int, appointments: int) -> Sample:
    def write(folder: Path) -> int:
        export = samples.write_cliniko(folder, patients=patients, appointments=appointments, per_page=1_000)
        return sum(export.records.values())

    return lab.sample(("cliniko", patients, appointments), "cliniko", _folder(write))


def _fhir(lab: Lab, patients: int) -> Sample:
    def write(folder: Path) -> int:
        export = samples.write_fhir(folder, patients=patients, per_file=100_000)
        return sum(export.records.values())

    return lab.sample(("fhir", patients), "fhir", _folder(write))


def _folder(write: Callable[[Path], int]) -> Callable[[Path], _Written]:
    def written(folder: Path) -> _Written:
        records = write(folder)
        return _Written(folder, records, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))

    return written
