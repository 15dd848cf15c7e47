"""The cost of search: making the vectors, which no load pays for, and a query."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

from bench.lab import Lab
from bench.measure import table
from bench.pubmed import size
from bench.report import Report, columns
from medmirror import search
from medmirror.db.database import open_database
from medmirror.settings import Settings

_QUERIES = ("metformin heart failure", '"randomized trial" diabetes', "cancer -breast", "stroke or infarction")


def vectors(lab: Lab) -> Report:
    """CPU of the vectors a citation, shown apart; and how long a query takes with the vectors made."""
    sample = lab.pubmed(size(lab))
    report = Report("search", f"Search over {sample.records:,} citations")
    with lab.database() as dsn:
        load = lab.load(dsn, "pubmed", [sample.path], name="load")
        index = lab.command("vectors (medmirror index)", ["-m", "medmirror", "index", "pubmed", "--json"], dsn)
        again = lab.command("vectors, nothing changed", ["-m", "medmirror", "index", "pubmed", "--json"], dsn)
        lab.rest(dsn)
        records = sample.records
        costs = [replace(step.cost, records=records) for step in (load, index, again)]
        engine, _ = open_database(Settings.from_environment({}, dsn=dsn))
        rows = []
        for query in _QUERIES:
            seconds = []
            for _ in range(5):
                start = time.perf_counter()
                hits = search.search(engine, query, source="pubmed", limit=20)
                seconds.append(time.perf_counter() - start)
            rows.append([query, len(hits), 1e3 * median(seconds), 1e3 * max(seconds)])
        engine.dispose()
    report.tables += [table(costs), columns(["query, 20 hits", "hits", "ms", "slowest ms"], rows)]
    report.keep(search=costs)
    report.figures["queries"] = [dict(zip(("query", "hits", "ms", "slowest_ms"), row, strict=True)) for row in rows]
    return report
