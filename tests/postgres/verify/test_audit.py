"""The audit: silent when all is well, and each kind of damage is found where it is."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

import medmirror
from medmirror.settings import Settings
from medmirror.verify.audit import audit
from medmirror_testing import samples

BAD = b'{"protocolSection": {"identificationModule": {"nctId": "NOT ONE"}}}'


@pytest.fixture
def mirror(dsn: str, tmp_path: Path) -> str:
    """A DSN of a mirror with two files in many chunks, a reject, and a second run over the same with other chunks."""
    studies = tmp_path / "studies.json"
    samples.write_studies(studies, 12, big=False)
    bad = tmp_path / "bad.json"
    bad.write_bytes(b"[" + BAD + b"]")
    for size in ("16KiB", "40KiB"):
        settings = Settings.from_environment({}, dsn=dsn, workers=1, chunk_bytes=size)
        medmirror.load("clinicaltrials", [studies, bad], settings=settings, force=True)
    return dsn


def test_nothing_is_wrong_with_an_empty_mirror(engine: Engine) -> None:
    report = audit(engine)
    assert (report.ok, report.findings) == (True, [])
    assert report.checks


def test_nothing_is_wrong_after_runs_with_other_chunks(mirror: str, engine: Engine) -> None:
    report = audit(engine)
    assert report.findings == []
    looked_at = {check.what: check.looked_at for check in report.checks}
    assert looked_at["clinicaltrials.study agrees with its facts"] == 12
    assert looked_at["a loaded file has no bytes left out"] == 2


HOLE = """
    DELETE FROM medmirror.chunk
    WHERE file_id = 1 AND end_byte > (SELECT bytes / 2 FROM medmirror.file WHERE file_id = 1)
      AND start_byte < (SELECT bytes / 2 FROM medmirror.file WHERE file_id = 1)
"""
LAST = (
    "DELETE FROM medmirror.chunk WHERE file_id = 1 AND end_byte = (SELECT bytes FROM medmirror.file WHERE file_id = 1)"
)
DAMAGE = [
    ("UPDATE medmirror.chunk SET read = read + 1", "what was read of a chunk is accounted for"),
    ("UPDATE medmirror.chunk SET read = read + 1, unchanged = unchanged + 1", "a run's counts are those of its chunks"),
    ("UPDATE medmirror.chunk SET start_byte = greatest(0, start_byte - 9)", "no run read the same bytes twice"),
    (HOLE, "a loaded file has no bytes left out"),
    (LAST, "a loaded file has no bytes left out"),
    ("DELETE FROM medmirror.chunk", "a loaded file has no bytes left out"),
    ("DELETE FROM medmirror.reject", "every failure is kept as a reject"),
    ("UPDATE medmirror.reject SET resolved_at = now()", "a reject is open until its bytes are loaded"),
    ("UPDATE medmirror.reject SET run_id = 1", "a reject is open until its bytes are loaded"),
    ("DELETE FROM clinicaltrials.study WHERE nct_id = (SELECT min(nct_id) FROM clinicaltrials.study)",
     "clinicaltrials.study agrees with its facts"),
    ("DELETE FROM clinicaltrials.study_fact WHERE nct_id = (SELECT min(nct_id) FROM clinicaltrials.study)",
     "clinicaltrials.study agrees with its facts"),
    ("DELETE FROM clinicaltrials.study_fact WHERE nct_id = (SELECT min(nct_id) FROM clinicaltrials.study)",
     "clinicaltrials holds as many keys as its chunks made"),
    ("UPDATE clinicaltrials.study_fact SET deleted = true", "clinicaltrials.study agrees with its facts"),
    ("SET session_replication_role = replica; UPDATE clinicaltrials.study_fact SET digest = ''",
     "the digest kept of clinicaltrials.study_fact is that of its rows"),
    ("DELETE FROM medmirror.set_delta", "the digest kept of clinicaltrials.study_fact is that of its rows"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "what"), DAMAGE)
def test_damage_is_found(statement: str, what: str, mirror: str, engine: Engine) -> None:
    with psycopg.connect(mirror) as connection:
        connection.execute(statement)
    report = audit(engine)
    assert not report.ok
    found = [finding for finding in report.findings if finding.check == what]
    assert found
    assert all(finding.where and finding.what and finding.advice for finding in found)
    assert next(check for check in report.checks if check.what == what).wrong >= 1


def test_the_number_of_findings_is_bounded_but_all_are_counted(mirror: str, engine: Engine) -> None:
    with psycopg.connect(mirror) as connection:
        connection.execute(
            "INSERT INTO medmirror.chunk (file_id, start_byte, end_byte, run_id, read)"
            " SELECT 1, n, n, 1, 1 FROM generate_series(1, 100) AS n"
        )
    report = audit(engine)
    what = "what was read of a chunk is accounted for"
    assert sum(finding.check == what for finding in report.findings) == 20
    assert next(check for check in report.checks if check.what == what).wrong == 100
