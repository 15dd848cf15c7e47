"""The claim that memory does not grow with the input."""

from __future__ import annotations

from bench.lab import Lab, Sample
from bench.measure import Measured, table
from bench.report import Report

_SIZES = (50, 200, 1_000)  # MB
_CITATION, _STUDY = 7_240, 19_600  # bytes, on average
_LIMITS = {"pubmed": 256, "clinicaltrials": 400}
_FLAT = 1.15  # growth from the smallest input to the largest that still counts as none


def flat(lab: Lab) -> Report:
    """The most memory that all own processes held together, for inputs of three sizes."""
    sizes = [size // 10 for size in _SIZES] if lab.quick else _SIZES
    text = ", ".join(f"{size:,}" for size in sizes)
    report = Report("memory", f"Peak memory of all own processes together (PSS), 2 workers; inputs of {text} MB")
    for source, limit in _LIMITS.items():
        runs: list[Measured] = []
        for size in sizes:
            sample = _sample(lab, source, size)
            with lab.database() as dsn:
                name = f"{source}, {sample.size / 1e6:,.0f} MB"
                runs.append(lab.load(dsn, source, [sample.path], name=name, every=0.02).cost)
        peaks = [run.peak_mib or 0.0 for run in runs]
        report.tables.append(table(runs))
        report.at_most(f"{source}: peak memory", max(peaks), limit, " MiB")
        report.at_most(f"{source}: largest input's peak, times the middle one's", peaks[2] / peaks[1], _FLAT, " x")
        report.keep(**{source: runs})
    return report


def _sample(lab: Lab, source: str, size: int) -> Sample:
    if source == "pubmed":
        return lab.pubmed(size * 1_000_000 // _CITATION)
    return lab.studies(size * 1_000_000 // _STUDY)
