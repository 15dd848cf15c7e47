"""Claims about JSON: ClinicalTrials.gov and openFDA against COPY alone of the same rows; the splitter's memory."""

from __future__ import annotations

from importlib.util import find_spec
from statistics import median
from typing import NamedTuple

from bench import floors
from bench.floors import Prepared, Target
from bench.lab import Lab, Sample
from bench.measure import Measured, table
from bench.pubmed import opponents
from bench.report import Report, columns, middle

STUDY = Target("clinicaltrials", "study", "study")
LABEL = Target("openfda", "label", "record")
_LIMIT = 1.4


class _Input(NamedTuple):
    name: str
    target: Target
    sample: Sample


def against_copy(lab: Lab) -> Report:
    """An array of studies, the same as files, and an object of labels: all CPU of a load against COPY of its rows."""
    studies, labels = (1_000, 1_000) if lab.quick else (20_000, 19_000)
    inputs = [
        _Input("array of studies", STUDY, lab.studies(studies)),
        _Input("the same as files", STUDY, lab.studies(studies, shape="folder")),
        _Input("object of labels", LABEL, lab.labels(labels)),
    ]
    report = Report("json", f"JSON: {studies:,} studies and {labels:,} labels, against COPY alone of the same rows")
    loads: dict[str, list[Measured]] = {entry.name: [] for entry in inputs}
    stages: dict[str, dict[str, float]] = {}
    alone: dict[Target, list[list[Measured]]] = {STUDY: [], LABEL: []}
    prepared: dict[Target, Prepared] = {}
    for _ in range(lab.runs):
        for entry in inputs:
            with lab.database() as dsn:
                load = lab.load(dsn, entry.target.source, [entry.sample.path], name=entry.name)
                loads[entry.name].append(load.cost)
                stages[entry.name] = load.result["cpu_seconds"]
                if entry.target not in prepared:
                    prepared[entry.target] = floors.prepare(dsn, entry.target, lab.scratch)
        for target, rows in prepared.items():
            alone[target].append(
                [
                    floors.copy_binary(lab, target, rows, indexes=True),
                    floors.copy_binary(lab, target, rows, indexes=False),
                    floors.copy_text(lab, target, rows),
                ]
            )
    for rows in prepared.values():
        rows.binary.unlink()
        rows.lines.unlink()
    for entry in inputs:
        floor_runs = alone[entry.target]
        references = [middle(column) for column in zip(*floor_runs, strict=True)]
        ratios = [
            median(load.cpu / floor[place].cpu for load, floor in zip(loads[entry.name], floor_runs, strict=True))
            for place in range(3)
        ]
        cost = middle(loads[entry.name])
        report.tables += [
            f"{entry.name}, {entry.sample.size / 1e6:,.0f} MB\n\n{table([cost, *references])}",
            columns(
                ["medmirror's CPU, times that of", ""],
                [[reference.name, number] for reference, number in zip(references, ratios, strict=True)],
            ),
            _stages(cost, stages[entry.name]),
        ]
        report.at_most(f"{entry.name}: CPU, times COPY alone", ratios[0], _LIMIT, " x")
        report.keep(
            **{
                entry.name: loads[entry.name],
                f"{entry.target.feed} alone": [run for runs in floor_runs for run in runs],
            }
        )
    _streaming(lab, report, inputs)
    return report


def _stages(cost: Measured, stages: dict[str, float]) -> str:
    spent = {**stages, "processes: start, receive chunks, end": cost.client_cpu - sum(stages.values())}
    rows = [[name, 1e6 * seconds / cost.records] for name, seconds in spent.items()]
    return columns(["CPU of the load", "us/record"], [*rows, ["Postgres", 1e6 * (cost.server_cpu or 0) / cost.records]])


def _streaming(lab: Lab, report: Report, inputs: list[_Input]) -> None:
    rows = []
    for entry in inputs:
        if entry.sample.path.is_file():
            words = ["-m", "bench.splitter", entry.target.source, str(entry.sample.path)]
            cost = lab.command(f"splitter, {entry.name}", words, lab.server).result
            rows.append([entry.name, cost["bytes"] / 1e6, cost["read"], cost["cpu"], cost["grown_mib"]])
            report.at_most(f"{entry.name}: memory of the streaming reader", cost["grown_mib"], 64, " MiB")
    titles = ["the splitter alone", "MB", "blocks", "CPU s", "memory grew MiB"]
    report.tables.append(columns(titles, rows))


def others(lab: Lab) -> Report:
    """The array of studies by the opponents; run once, without a goal."""
    sample = lab.studies(1_000 if lab.quick else 20_000)
    report = Report("studies", f"{sample.records:,} studies in an array, {sample.size / 1e6:,.0f} MB, all sides once")
    runs = []
    with lab.database() as dsn:
        runs.append(lab.load(dsn, "clinicaltrials", [sample.path]).cost)
    for side in opponents() if find_spec("ijson") else []:
        with lab.database() as dsn:
            runs.append(lab.opponent(side, dsn, sample.path, sample.records, "load_studies"))
    report.tables.append(table(runs))
    report.keep(studies=runs)
    return report
