"""Measure every claim on speed and memory: ``python -m bench.run [--quick] [--only pubmed,json,...]``.

Prints a table a claim with the goals and whether they are met. Needs Linux (it reads /proc); the opponents need
``pip install 'medmirror[bench]'``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import (
    contention,
    csvfeeds,
    jsonfeeds,
    lab,
    matching,
    memory,
    nightly,
    practice,
    pubmed,
    scaling,
    searching,
    startup,
)
from bench.lab import Lab
from bench.measure import machine
from bench.report import Report, write_markdown
from medmirror import native
from medmirror.version import __version__

CLAIMS: dict[str, Callable[[Lab], Report]] = {
    "pubmed": pubmed.first_and_again,
    "changed": pubmed.changed,
    "json": jsonfeeds.against_copy,
    "csv": csvfeeds.against_pandas,
    "practice": practice.per_megabyte,
    "scaling": scaling.workers,
    "memory": memory.flat,
    "contention": contention.writers,
    "search": searching.vectors,
    "startup": startup.costs,
    "studies": jsonfeeds.others,
    "matching": matching.people,
    "nightly": nightly.share_and_deletions,
}


def main() -> int:
    """Measure; return 0 when no goal was missed, else 3."""
    options = _options()
    began = time.perf_counter()

    def say(what: str) -> None:
        print(f"[{time.perf_counter() - began:5.0f} s] {what}", file=sys.stderr, flush=True)

    reports: list[Report] = []
    runs = options.runs or (1 if options.quick else 3)
    with lab.opened(options.dsn, options.scratch, runs, options.quick, say) as place:
        head = f"medmirror {__version__}{'' if native.available() else ' without its compiled part'}"
        head += f", {time.strftime('%Y-%m-%d')}{', --quick' if options.quick else ''}, {machine(place.server)}"
        head += f"\nruns: {runs}; load average before: {os.getloadavg()[0]:.1f} (0 on a quiet machine)"
        print(head, flush=True)
        for name in options.only:
            say(name)
            reports.append(CLAIMS[name](place))
            print(f"\n{reports[-1].text()}", flush=True)
    if options.json:
        figures = {"machine": head, "quick": options.quick, "runs": runs}
        claims = {report.name: report.as_dict() for report in reports}
        options.json.write_text(json.dumps(figures | {"claims": claims}, indent=1))
    if options.markdown:
        write_markdown(options.markdown, reports, head)
    missed = [goal for report in reports for goal in report.goals if goal.met is False]
    print(f"\n{len(missed)} goals missed, {time.perf_counter() - began:,.0f} s")
    return 3 if missed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small inputs, one run: a look, not a measurement")
    parser.add_argument("--only", type=_names, default=list(CLAIMS), metavar="NAME,...", help=", ".join(CLAIMS))
    parser.add_argument("--runs", type=int, help="how many runs medians are taken of: 3, with --quick 1")
    parser.add_argument("--dsn", help="a server whose user may create databases; else one of its own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables between the marks in this file")
    parser.add_argument("--scratch", type=Path, default=Path(".scratch/bench"), help="where generated inputs are kept")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := sorted(set(names) - set(CLAIMS)):
        raise argparse.ArgumentTypeError(f"no claim {unknown[0]!r}; there are {', '.join(CLAIMS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
