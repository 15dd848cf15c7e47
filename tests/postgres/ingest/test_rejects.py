"""Retrying rejects: from the kept bytes or from the file, through the same path as a load."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

import medmirror
from medmirror.errors import UsageError
from medmirror.ingest import executors, rejects, worker
from medmirror.model import Chunk, Outcome
from medmirror.settings import Settings
from medmirror.verify.audit import audit
from medmirror_testing import samples


def study(nct_id: str, title: str = "A trial") -> dict[str, Any]:
    return {"protocolSection": {"identificationModule": {"nctId": nct_id, "briefTitle": title}}}


@pytest.fixture
def settings(dsn: str) -> Settings:
    return Settings.from_environment({}, dsn=dsn, workers=1)


@pytest.fixture
def load(settings: Settings) -> Callable[..., medmirror.LoadResult]:
    """Load files of clinicaltrials with *settings*, other ones where they are named."""

    def call(*paths: Path, **other: Any) -> medmirror.LoadResult:
        own = Settings.from_environment({}, dsn=settings.dsn, workers=1, **other)
        return medmirror.load("clinicaltrials", paths, settings=own)

    return call


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Three studies, the second of which has no good number."""
    path = tmp_path / "studies.json"
    path.write_text(json.dumps([study("NCT00000001"), study("NOT ONE"), study("NCT00000003")]))
    return path


def mend(dsn: str, nct_id: str) -> None:
    """Do what a fixed medmirror would do: from now on the kept bytes can be loaded."""
    with psycopg.connect(dsn) as connection:
        raw = json.dumps(study(nct_id)).encode()
        connection.execute("UPDATE medmirror.reject SET raw = %s", [raw])


def titles(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute("SELECT nct_id FROM clinicaltrials.study ORDER BY 1")]


def test_one_that_fails_again_stays_open_with_one_attempt_more(
    load: Any, bad: Path, engine: Engine, settings: Settings
) -> None:
    load(bad)
    (before,), _ = rejects.find(engine)
    result = rejects.retry(engine, settings)
    assert (result.tried, result.loaded, result.failed, result.exit_code) == (1, 0, 1, 3)
    assert result.rejects[0].error == "InvalidRecord"
    (after,), count = rejects.find(engine)
    assert (after["attempts"], count) == (2, 1)
    assert after["first_failed_at"] == before["first_failed_at"]
    assert after["last_failed_at"] > before["last_failed_at"]
    assert audit(engine).findings == []


def test_one_that_loads_now_is_resolved_and_the_books_stay_right(
    load: Any, bad: Path, engine: Engine, settings: Settings, dsn: str
) -> None:
    load(bad)
    mend(dsn, "NCT00000002")
    result = rejects.retry(engine, settings, source="clinicaltrials")
    assert (result.loaded, result.counts.inserted, result.exit_code) == (1, 1, 0)
    assert titles(dsn) == ["NCT00000001", "NCT00000002", "NCT00000003"]
    assert rejects.find(engine) == ([], 0)
    (resolved,), _ = rejects.find(engine, everything=True)
    assert resolved["resolved_at"] is not None
    assert audit(engine).findings == []


def test_a_retry_does_not_overtake_a_newer_copy(
    load: Any, bad: Path, tmp_path: Path, engine: Engine, settings: Settings, dsn: str
) -> None:
    load(bad)
    newer = tmp_path / "newer.json"
    status = {"lastUpdatePostDateStruct": {"date": "2025-01-01"}, "versionHolder": "2025-01-02"}
    copy = study("NCT00000002", "Newer")
    copy["protocolSection"]["statusModule"] = status
    newer.write_text(json.dumps([copy]))
    load(newer)
    mend(dsn, "NCT00000002")
    result = rejects.retry(engine, settings)
    assert (result.loaded, result.counts.duplicate) == (1, 1)
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT brief_title FROM clinicaltrials.study WHERE nct_id = 'NCT00000002'").fetchone()
    assert row == ("Newer",)
    assert audit(engine).findings == []


def test_only_those_named_are_tried(load: Any, tmp_path: Path, engine: Engine, settings: Settings) -> None:
    path = tmp_path / "studies.json"
    path.write_text(json.dumps([study("NOT ONE"), study("NOR THIS")]))
    load(path)
    (first, second), _ = rejects.find(engine)
    rejects.retry(engine, settings, reject_ids=[second["reject_id"]])
    found, _ = rejects.find(engine)
    assert [one["attempts"] for one in found] == [1, 2]
    with pytest.raises(UsageError, match="999"):
        rejects.retry(engine, settings, reject_ids=[first["reject_id"], 999])


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Two studies, the first of which is above 64 KiB."""
    path = tmp_path / "studies.json"
    path.write_text(json.dumps([study("NCT00000001", "long " * 30_000), study("NCT00000002")]))
    return path


def test_a_record_that_was_too_large_is_read_again_from_its_file(
    load: Any, large: Path, engine: Engine, settings: Settings, dsn: str
) -> None:
    load(large, max_record_bytes="64KiB", chunk_bytes="16KiB")
    (reject,), _ = rejects.find(engine)
    assert reject["error"] == "RecordTooLarge"
    small = Settings.from_environment({}, dsn=dsn, workers=1, max_record_bytes="64KiB", chunk_bytes="16KiB")
    assert rejects.retry(engine, small).failed == 1
    assert rejects.find(engine)[0][0]["attempts"] == 2
    assert rejects.retry(engine, settings).loaded == 1
    assert titles(dsn) == ["NCT00000001", "NCT00000002"]
    assert audit(engine).findings == []


def test_several_of_one_archive_are_found_again_in_their_members(
    load: Any, tmp_path: Path, engine: Engine, settings: Settings, dsn: str
) -> None:
    path = tmp_path / "studies.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in range(3):
            first, second = (study(f"NCT{member}000000{place}", f"{place} long " * 30_000) for place in (1, 2))
            some = [first, study(f"NCT{member}0000005"), second]
            archive.writestr(f"{member}.json", json.dumps(some))
    loaded = load(path, max_record_bytes="64KiB", chunk_bytes="16KiB")
    assert (loaded.inserted, loaded.rejected) == (3, 6)
    result = rejects.retry(engine, settings)
    assert (result.loaded, result.counts.inserted) == (6, 6)
    assert len(titles(dsn)) == 9
    assert audit(engine).findings == []


@pytest.mark.parametrize("swapped", ["the file", "its folder"])
@pytest.mark.parametrize("noted", [True, False])
def test_a_file_that_was_found_in_a_folder_is_not_read_again_through_a_link(
    noted: bool, swapped: str, load: Any, large: Path, tmp_path: Path, engine: Engine, settings: Settings, dsn: str
) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "clinic" / "exports"
    inside.mkdir(parents=True)
    outside.mkdir()
    (inside / "studies.json").write_bytes(large.read_bytes())
    load(tmp_path / "clinic", max_record_bytes="64KiB", chunk_bytes="16KiB")
    (inside / "studies.json").rename(outside / "studies.json")  # the very bytes: only the way to them is another one
    if swapped == "the file":
        (inside / "studies.json").symlink_to(outside / "studies.json")
    else:
        inside.rmdir()
        inside.symlink_to(outside)
    if not noted:  # by an earlier version
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE medmirror.file SET beneath = NULL")
    result = rejects.retry(engine, settings)
    assert (result.tried, result.left) == (0, 1)
    assert "link" in str(result.rejects[0].reason)


def test_a_link_that_the_user_named_himself_is_read_again(
    load: Any, large: Path, tmp_path: Path, engine: Engine, settings: Settings
) -> None:
    (tmp_path / "named.json").symlink_to(large)
    load(tmp_path / "named.json", max_record_bytes="64KiB", chunk_bytes="16KiB")
    assert rejects.retry(engine, settings).loaded == 1


@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_file_that_is_gone_or_another_one_is_not_read(
    change: str, load: Any, large: Path, engine: Engine, settings: Settings
) -> None:
    load(large, max_record_bytes="64KiB", chunk_bytes="16KiB")
    if change == "gone":
        large.unlink()
    else:
        samples.write_studies(large, 2)
    result = rejects.retry(engine, settings)
    assert (result.tried, result.left, result.exit_code) == (0, 1, 3)
    assert result.rejects[0].reason
    assert rejects.find(engine)[0][0]["attempts"] == 1
    assert audit(engine).findings == []


class _Deadly:
    """An executor whose worker dies of every chunk that is to be looked into."""

    def submit(self, process: Any, chunk: Chunk, job: worker.Job) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        if chunk.parts[0].given_up:
            future.set_result(process(chunk, job))
        else:
            future.set_exception(BrokenProcessPool())
        return future

    def shutdown(self, wait: bool) -> None:
        pass


def test_one_that_kills_its_worker_stays_a_reject(
    load: Any, bad: Path, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(bad)
    monkeypatch.setattr(executors, "local", lambda workers: _Deadly())
    result = rejects.retry(engine, settings)
    assert (result.failed, result.rejects[0].error) == (1, "KillsWorker")
    assert rejects.find(engine)[0][0]["attempts"] == 2
    assert audit(engine).findings == []


def test_a_retry_is_a_run(load: Any, bad: Path, engine: Engine, settings: Settings, dsn: str) -> None:
    load(bad)
    result = rejects.retry(engine, settings)
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT command, status, CAST(counts ->> 'rejected' AS int) FROM medmirror.run WHERE run_id = %s",
            [result.run_id],
        ).fetchone()
    assert row == ("rejects retry", "rejects", 1)
