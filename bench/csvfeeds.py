"""Claims about CSV: a practice system's export, against pandas' ``read_csv`` and ``to_sql`` of the same file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from bench.lab import Lab, Sample
from bench.measure import Measured, table
from bench.report import Report, columns, middle, ratio
from medmirror_testing import samples

_TIMES = 3


def against_pandas(lab: Lab) -> Report:
    """An export of patients: records a second and CPU of a load against the better of pandas' two ways; a second load;
    memory. The records have no mapping, as pandas has none: what that costs is the business of another claim."""
    rows = 5_000 if lab.quick else 300_000
    sample, few = _export(lab, rows), _export(lab, rows // 30)
    options = _options(lab)
    report = Report("csv", f"CSV: {rows:,} patients, {sample.size / 1e6:,.0f} MB, against pandas and to_sql")
    ours: list[Measured] = []
    again: list[Measured] = []
    theirs: list[Measured] = []
    pandas = bool(find_spec("pandas"))
    for _ in range(lab.runs):
        with lab.database() as dsn:
            ours.append(lab.load(dsn, "csv", [sample.path], *options).cost)
            again.append(lab.load(dsn, "csv", [sample.path], *options, "--force", name="the same again").cost)
        if pandas:
            with lab.database() as dsn:
                theirs.append(lab.opponent("pandas_to_sql", dsn, sample.path, rows))
    shown = [middle(ours), middle(again), *([middle(theirs)] if pandas else [])]
    if pandas:  # thirty times slower than the other way: once, and of few records
        with lab.database() as dsn:
            shown.append(lab.opponent("pandas_to_sql", dsn, few.path, few.records, "load_multi"))
        report.keep(to_sql=theirs, to_sql_multi=shown[-1])
    report.tables.append(table(shown))
    report.at_least("records a second, times pandas", ratio(theirs, ours, "seconds") if pandas else None, _TIMES)
    report.at_least("CPU of pandas, times ours", ratio(theirs, ours, "cpu_us_a_record") if pandas else None, _TIMES)
    report.keep(csv=ours, again=again)
    _streaming(lab, report, sample)
    return report


def _export(lab: Lab, rows: int) -> Sample:
    return lab.sample(("pms_csv", rows), "patient-1.csv", lambda path: samples.write_pms_csv(path, "patient", rows))


def _options(lab: Lab) -> list[str]:
    path = lab.scratch / "patients.toml"
    section, _, _ = samples.PMS_MAPPINGS["patient"].partition("[[mapper]]")
    path.write_text(section)
    return ["--org", "bench", "--mapping", str(path)]


def _streaming(lab: Lab, report: Report, sample: Sample) -> None:
    mapping = Path(_options(lab)[-1])
    words = ["-m", "bench.splitter", "csv", str(sample.path), str(mapping)]
    cost = lab.command("splitter, patients", words, lab.server).result
    rows = [["patients", cost["bytes"] / 1e6, cost["read"], cost["cpu"], cost["grown_mib"]]]
    report.at_most("patients: memory of the streaming reader", cost["grown_mib"], 64, " MiB")
    report.tables.append(columns(["the splitter alone", "MB", "blocks", "CPU s", "memory grew MiB"], rows))
