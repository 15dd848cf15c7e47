"""Claims about PubMed with all its fields: the first load against the opponents, and loads of the same content."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from bench.lab import Lab, Load, Sample, touched
from bench.measure import Measured, table
from bench.report import Report, columns, middle, ratio
from medmirror import sources
from medmirror.readers import files
from medmirror.settings import MIB

OURS = "medmirror"
OPPONENTS = ("classic", "executemany", "dlt_merge", "duckdb_postgres")
_NEEDS = {"dlt_merge": ("dlt",), "duckdb_postgres": ("duckdb", "pyarrow", "duckdb_extension_postgres_scanner")}
_FACTORS = {"classic": 5, "dlt_merge": 5, "duckdb_postgres": 3}
_CHANGED = 0.01

Runs = dict[str, list[Measured]]


def opponents() -> list[str]:
    """The opponents whose packages are installed."""
    return [name for name in OPPONENTS if all(find_spec(package) for package in _NEEDS.get(name, ()))]


def size(lab: Lab) -> int:
    """The number of citations of most claims."""
    return 6_000 if lab.quick else 30_000


def first_and_again(lab: Lab) -> Report:
    """All sides load the same citations, and then load them once more; in turns, each time into a fresh database."""
    sample = lab.pubmed(size(lab))
    report = Report("pubmed", f"PubMed, all fields, {sample.records:,} citations, {sample.size / 1e6:,.0f} MB of XML")
    sides = [OURS, *opponents()]
    new: Runs = {name: [] for name in sides}
    again: Runs = {name: [] for name in sides}
    starts: Runs = {name: [] for name in sides}
    loads: list[tuple[Load, Load]] = []
    written = 0
    single = lab.pubmed(1)
    for number in range(lab.runs):
        turn = number % len(sides)
        for side in sides[turn:] + sides[:turn]:
            with lab.database() as dsn:
                starts[side].append(_load_one_record(lab, side, dsn, single))
            with lab.database() as dsn:
                if side != OURS:
                    new[side].append(lab.opponent(side, dsn, sample.path, sample.records))
                    lab.rest(dsn)
                    again[side].append(lab.opponent(side, dsn, sample.path, sample.records))
                    continue
                first = lab.load(dsn, "pubmed", [sample.path])
                lab.rest(dsn)
                before = touched(dsn, "pubmed")
                second = lab.load(dsn, "pubmed", [sample.path], "--force")
                written += _count(before, touched(dsn, "pubmed"))
                loads.append((first, second))
                new[side].append(first.cost)
                again[side].append(second.cost)
    by_cpu = sorted(loads, key=lambda pair: pair[0].cost.cpu)
    first, second = by_cpu[(len(by_cpu) - 1) // 2]
    parent = _parent(sample.path)
    report.tables += [
        f"First load, the run with the median CPU of {lab.runs}\n\n{table(map(middle, new.values()))}",
        f"Times what medmirror needs, median of {lab.runs}; and without the start, which is a load of one record\n\n"
        f"{_ratios(new, starts)}",
        f"Where medmirror's CPU goes, first load\n\n{_stages(parent, first)}",
        f"The same again (medmirror with --force; the others know no difference)\n\n"
        f"{table(map(middle, again.values()))}",
        f"Times what medmirror needs\n\n{_ratios(again, starts)}",
        f"Where medmirror's CPU goes, the same again\n\n{_stages(parent, second)}",
    ]
    report.at_most("first load, CPU a citation", middle(new[OURS]).cpu_us_a_record, 250, " us")
    for name, factor in _FACTORS.items():
        installed = name in sides
        cpu = ratio(new[name], new[OURS], "cpu_us_a_record") if installed else None
        wall = ratio(new[name], new[OURS], "seconds") if installed else None
        report.at_least(f"first load, CPU of {name}", cpu, factor, " x")
        report.at_least(f"first load, time of {name}", wall, factor, " x")
    report.at_most("the same again, CPU a citation", middle(again[OURS]).cpu_us_a_record, 60, " us")
    report.at_most("the same again, rows of pubmed.* written or left dead", written, 0)
    share = 100 * (second.cost.wal_bytes or 0) / (first.cost.wal_bytes or 1)
    report.at_most("the same again, WAL of the first load's", share, 1, " %")
    report.keep(first=[run for runs in new.values() for run in runs])
    report.keep(starts=[run for runs in starts.values() for run in runs])
    report.keep(again=[run for runs in again.values() for run in runs])
    return report


def changed(lab: Lab) -> Report:
    """One citation in a hundred has changed: in the same file published anew, and in a later file."""
    old = lab.pubmed(size(lab))
    report = Report("changed", f"PubMed, 1 % of {old.records:,} citations changed")
    costs: list[Measured] = []
    rows = []
    for name, number in (("under the same file name", 1), ("in a later file", 2)):
        new = lab.pubmed(size(lab), number=number, change=_CHANGED)
        with lab.database() as dsn:
            lab.load(dsn, "pubmed", [old.path], name="(first load)")
            lab.rest(dsn)
            before = touched(dsn, "pubmed")
            load = lab.load(dsn, "pubmed", [new.path], name=name)
            after = touched(dsn, "pubmed")
            costs.append(load.cost)
            wide = _difference(before["citation"], after["citation"])
            facts = _difference(before["citation_fact"], after["citation_fact"])
            result = load.result
            rows.append([name, new.changed, result["updated"], result["unchanged"], *wide, *facts])
            exact = wide == (new.changed, 0, new.changed) and result["updated"] == new.changed
            report.at_most(f"{name}, rows too many or too few", 0 if exact else abs(wide[0] - new.changed) or 1, 0)
    titles = ["", "changed", "updated", "unchanged"]
    titles += [f"{what} {kind}" for what in ("rows", "facts") for kind in ("ins", "upd", "del")]
    report.tables += [table(costs), columns(titles, rows)]
    report.keep(changed=costs)
    return report


def _difference(before: tuple[int, int, int], after: tuple[int, int, int]) -> tuple[int, int, int]:
    ins, upd, gone = (new - old for old, new in zip(before, after, strict=True))
    return ins, upd, gone


def _count(before: Mapping[str, Sequence[int]], after: Mapping[str, Sequence[int]]) -> int:
    return sum(map(sum, after.values())) - sum(map(sum, before.values()))


def _load_one_record(lab: Lab, side: str, dsn: str, sample: Sample) -> Measured:
    if side == OURS:
        return lab.load(dsn, "pubmed", [sample.path], name=f"{side}, one record").cost
    return replace(lab.opponent(side, dsn, sample.path, sample.records), name=f"{side}, one record")


def _ratios(runs: Runs, starts: Runs) -> str:
    rows = []
    ours = _net(runs[OURS], starts[OURS])
    for name, loads in runs.items():
        net = _net(loads, starts[name])
        start = middle(starts[name]).cpu
        rows.append(
            [
                name,
                ratio(loads, runs[OURS], "cpu_us_a_record"),
                ratio(loads, runs[OURS], "seconds"),
                start,
                net,
                net / ours,
            ]
        )
    return columns(["", "CPU", "time", "start, CPU s", "us/citation without it", "CPU without it"], rows)


def _net(runs: list[Measured], starts: list[Measured]) -> float:
    """Microseconds of CPU a record beyond the start."""
    load = middle(runs)
    return 1e6 * (load.cpu - middle(starts).cpu) / load.records


def _stages(alone: tuple[float, float, float], load: Load) -> str:
    """CPU a citation by stage: workers' stages as they report them, the parent's share measured alone."""
    spent: dict[str, float] = dict(load.result["cpu_seconds"])
    digest, gunzip, split = alone
    parent = spent.pop("parent", 0.0)
    stages = {
        "parent: digest of the file (measured alone)": digest,
        "parent: gunzip (measured alone)": gunzip,
        "parent: split (measured alone)": split,
        "parent: start, hand out, tally": max(0.0, parent - digest - gunzip - split),
        **{f"worker: {name}": seconds for name, seconds in spent.items()},
        "processes: start, receive chunks, end": load.cost.client_cpu - parent - sum(spent.values()),
        "Postgres": load.cost.server_cpu or 0.0,
    }
    records = load.cost.records
    rows = [[name, 1e6 * seconds / records, 100 * seconds / load.cost.cpu] for name, seconds in stages.items()]
    rows.append(["sum", load.cost.cpu_us_a_record, 100.0])
    return columns(["", "us/citation", "%"], rows)


def _parent(path: Path) -> tuple[float, float, float]:
    """CPU seconds of digest, of gunzip, and of split without gunzip."""
    source = sources.get("pubmed")
    (stream,) = files.streams(path, 200)
    context = source.context(stream.name, files.head(stream), stream.open, {})

    def unzip() -> None:
        with stream.open() as file:
            while file.read(MIB):
                pass

    def split() -> None:
        with stream.open() as file:
            for _ in source.split(file, context, 2 * MIB, 64 * MIB):
                pass

    digest, gunzip, both = _cpu(lambda: files.digest(path)), _cpu(unzip), _cpu(split)
    return digest, gunzip, max(0.0, both - gunzip)


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
