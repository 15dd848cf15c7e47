"""The cost of a night: whether it keeps its share of the processors, and how fast it finds deletions."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from typing import Any

from bench.lab import Lab
from bench.report import Report, columns
from medmirror.db import connect, ledger, migrate, retry, runs
from medmirror.ingest import deletions
from medmirror.model import Certificate
from medmirror.nightly import config, night
from medmirror.settings import Settings

SHARES = (30, 60, 100)  # per cent
_TEXT = "[limits]\ncpu = {cpu}\nworkers = 2\n[index]\nenabled = false\n[load.pubmed]\npaths = ['pubmed/']\n"


def share_and_deletions(lab: Lab) -> Report:
    """A load of the same files under several shares; and a whole pass over a clinic's appointments."""
    report = Report("nightly", "The nightly: its share of the processors, and deletions by a whole pass")
    rows = [_night(lab, share) for share in SHARES]
    report.tables.append(columns(["limit %", "busy %", "busiest 5 s %", "seconds", "waited s"], rows))
    names = ("limit", "busy", "busiest", "seconds", "waited")
    report.figures["shares"] = [dict(zip(names, row, strict=True)) for row in rows]
    for limit, busy, *_ in rows[:-1]:  # a little over is the first moments, before there is anything to wait for
        report.at_most(f"busy under a limit of {limit} %", busy, 1.1 * limit, " %")
    passes = _passes(lab, 20_000 if lab.quick else 2_000_000)
    report.tables.append(columns(["pass", "records", "missing", "written", "seconds"], passes))
    report.figures["passes"] = [dict(zip(("pass", "records", "missing", "written", "seconds"), row, strict=True))
                                for row in passes]  # fmt: skip
    return report


def _night(lab: Lab, share: int) -> list[Any]:
    folder = lab.scratch / "nightly"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "pubmed").mkdir(parents=True)
    source = lab.pubmed(2_000 if lab.quick else 30_000).path
    shutil.copy(source, folder / "pubmed" / source.name)
    path = folder / "nightly.toml"
    path.write_text(_TEXT.format(cpu=share), encoding="utf-8")
    with lab.database() as dsn:
        settings = replace(Settings.from_environment({}, dsn=dsn), workers=2)
        receipt = night.run(config.read(path), settings)
    assert receipt is not None
    assert receipt["status"] == "done", receipt["failed"]
    cost = receipt["cost"]
    busy, busiest = 100 * cost["cpu_share_mean"], 100 * cost["cpu_share_peak"]
    return [share, busy, busiest, receipt["seconds"], cost["seconds_waited_for_cpu"]]


def _passes(lab: Lab, records: int) -> list[list[Any]]:
    """Whole passes over *records* records: all seen; one in a hundred missing; that again."""
    with lab.database() as dsn:
        engine = connect.engine(dsn)
        migrate.migrate(engine)
        run_id = _begin(engine)
        missing = records // 100
        whole, fewer = (_filled(engine, run_id, name, records, since) for name, since in (("a", 0), ("b", missing)))
        rows = []
        for name, number in (("all seen", whole), ("1 % missing", fewer), ("missing again", fewer)):
            whole_pass = deletions.Pass("org_1", "cliniko", (number,), os.urandom(32))
            began = time.perf_counter()
            certificate = {"appointment": Certificate(("appointment",), True, None, 0)}
            (verdict,) = deletions.judge(engine, whole_pass, certificate, deletions.Limits(), run_id)
            seconds = time.perf_counter() - began
            rows.append([name, verdict.living, verdict.newly + verdict.again, verdict.written, seconds])
        engine.dispose()
    return rows


def _begin(engine: Any) -> int:
    about: dict[str, Any] = {"source": None, "host": "h", "pid": os.getpid(), "version": "0", "settings": {}}
    return retry.in_transaction(engine, lambda conn: runs.begin_run(conn, command="bench", **about))


def _filled(engine: Any, run_id: int, name: str, records: int, since: int) -> int:
    """A file that shows the records from *since* on, in chunks of 5,000; and the records themselves, the first time."""
    statements = """
    INSERT INTO medmirror.sync_mapping (organization_id, source, feed, source_id, entity, canonical_id, own_id, version,
                                        source_hash, canonical_hash, run_id)
    SELECT 'org_1', 'cliniko', 'appointment', (n * 7919)::text, 'appointment', gen_random_uuid(), gen_random_uuid(), 1,
           '', '', %(run)s FROM generate_series(CAST(1 AS int8), %(records)s) AS n ON CONFLICT DO NOTHING;
    INSERT INTO medmirror.chunk (file_id, start_byte, end_byte, run_id, keys)
    SELECT %(file)s, n / 5000, n / 5000 + 1, %(run)s,
           string_agg(substring(sha256(convert_to('appointment' || chr(31) || (n * 7919)::text, 'UTF8')) FROM 1 FOR 8),
                      ''::bytea)
    FROM generate_series(CAST(%(since)s + 1 AS int8), %(records)s) AS n GROUP BY n / 5000;
    """

    def fill(conn: Any) -> int:
        facts = ledger.FileFacts(name, 1, name.encode() * 32, "{}")
        (number,) = ledger.register_files(conn, "cliniko", run_id, [facts], "org_1").values()
        values = {"run": run_id, "records": records, "since": since, "file": number}
        for statement in statements.split(";")[:2]:
            conn.exec_driver_sql(statement, values)
        return number

    number = retry.in_transaction(engine, fill)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.exec_driver_sql("ANALYZE")
    return number
