"""The audit after syncs: clean ones add up to the last byte, and a page whose record was swallowed does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text

import mirrors
from medmirror import sources
from medmirror.errors import SyncError
from medmirror.settings import Settings
from medmirror.sync import deletions, organizations, state
from medmirror.sync import engine as sync_engine
from medmirror.sync.organizations import Organization
from medmirror.sync.session import SyncRequest, Tools
from medmirror.verify.audit import audit
from medmirror_testing.servers.clinikodata import Account
from medmirror_testing.servers.clinikoserver import KEY, ClinikoServer
from medmirror_testing.servers.clock import SimulatedClock
from syncclinics import added

LEFT_OUT = "a loaded file has no bytes left out"
TABLE = """
[[table]]
kind = "patient"
name = "patients"
key = ["id"]
updated = "edited"
time_zone = "UTC"
"""
FILE = '[file]\nkind = "patient"\nkey = ["Id"]\n'


@pytest.fixture
def tools(engine: Engine, dsn: str) -> Tools:
    return Tools(engine, Settings.from_environment(dsn=dsn, workers=1), batch=10)


@pytest.fixture
def cliniko(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Organization]:
    monkeypatch.setenv("CLINIC_KEY", KEY)
    clock = SimulatedClock(datetime(2026, 11, 16, 9, tzinfo=UTC))
    account = Account(clock.clock)
    with ClinikoServer(account, clock=clock.clock) as server:
        account.fill(patients=5, appointments=4)
        yield added(engine, server, "org_1", "CLINIC_KEY")


def wrong(engine: Engine) -> list[str]:
    """What the audit finds, without a place."""
    return [finding.check for finding in audit(engine).findings]


def test_every_way_to_read_a_database_adds_up(engine: Engine, tools: Tools, dsn: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'practice.db'}"
    practice = create_engine(url)
    with practice.begin() as conn:
        conn.execute(text("CREATE TABLE patients (id integer PRIMARY KEY, family text, edited datetime)"))
        conn.execute(text("CREATE TABLE gone (id integer, kind text, at datetime)"))
        for number, family in enumerate(("Ash", 'a,\n {}["', "")):
            values = {"id": number, "family": family, "at": f"2026-01-0{number + 1} 10:00:00"}
            conn.execute(text("INSERT INTO patients VALUES (:id, :family, :at)"), values)
    settings: dict[str, Any] = {"url": url, "mapping": TABLE}
    one = organizations.put(engine, Organization("org_1", "sql", "sql", settings=settings, mappings=(TABLE,)))
    assert sync_engine.run(tools, one, SyncRequest())["inserted"] == 3
    with practice.begin() as conn:
        conn.execute(text("UPDATE patients SET family = 'Oak', edited = '2026-02-01 10:00:00' WHERE id = 1"))
    sync_engine.run(tools, one, SyncRequest())
    sync_engine.run(tools, one, SyncRequest(mode="comprehensive", force_full=True))
    mirrors.books_are_right(dsn)


def test_files_of_a_folder_add_up(engine: Engine, tools: Tools, dsn: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Id,Name\n1,Ash\n2,Elm\n")
    settings = {"path": str(tmp_path), "source": "csv", "rest": 0}
    one = organizations.put(engine, Organization("org_1", "csv", "folder", settings=settings, mappings=(FILE,)))
    assert sync_engine.run(tools, one, SyncRequest())["inserted"] == 2
    (tmp_path / "b.csv").write_text("Id,Name\n2,Oak\n,Nobody\n")
    assert sync_engine.run(tools, one, SyncRequest())["rejected"] == 1
    mirrors.books_are_right(dsn)


def test_a_pass_over_a_folder_that_held_links_is_not_whole(
    engine: Engine, tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("Id,Name\n1,Ash\n")
    (tmp_path / "b.csv").symlink_to("a.csv")
    os.mkfifo(tmp_path / "a.csv.md5")
    settings = {"path": str(tmp_path), "source": "csv", "rest": 0}
    one = organizations.put(engine, Organization("org_1", "csv", "folder", settings=settings, mappings=(FILE,)))
    judged: list[list[str]] = []
    monkeypatch.setattr(deletions, "infer", lambda *given: judged.append(list(given[3])) or {})
    first = sync_engine.run(tools, one, SyncRequest(force_full=True))
    assert (first["inserted"], first["unread"]) == (1, 1)
    assert "not whole" in first["said"]
    assert judged == []
    with engine.connect() as conn:
        assert state.read(conn, one).full_at is None
    (tmp_path / "b.csv").unlink()
    second = sync_engine.run(tools, one, SyncRequest(force_full=True))
    assert ("unread" in second and second["unread"], judged) == (False, [["file"]])
    with engine.connect() as conn:
        assert state.read(conn, one).full_at is not None


@pytest.mark.parametrize("damage", [
    "UPDATE medmirror.chunk SET end_byte = end_byte - 40",
    "UPDATE medmirror.chunk SET start_byte = start_byte + 1",
    "UPDATE medmirror.file SET frame = int8multirange(int8range(0, 5)) WHERE frame IS NOT NULL",
    "UPDATE medmirror.file SET bytes = bytes + 1, size = size + 1 WHERE frame IS NOT NULL",
    "DELETE FROM medmirror.chunk WHERE file_id = (SELECT min(file_id) FROM medmirror.file WHERE frame IS NOT NULL)",
])  # fmt: skip
def test_bytes_of_a_page_without_an_owner_are_found(
    engine: Engine, tools: Tools, dsn: str, cliniko: Organization, damage: str
) -> None:
    sync_engine.run(tools, cliniko, SyncRequest())
    assert wrong(engine) == []
    with psycopg.connect(dsn) as connection:
        connection.execute(damage)
    assert LEFT_OUT in wrong(engine)


def test_pages_that_an_earlier_version_stored_are_a_warning(
    engine: Engine, tools: Tools, dsn: str, cliniko: Organization
) -> None:
    sync_engine.run(tools, cliniko, SyncRequest())
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE medmirror.file SET frame = NULL")
    report = audit(engine)
    assert report.findings == []
    assert ["--force-full" in warning.advice for warning in report.warnings if warning.check == "pages"] == [True]
    sync_engine.run(tools, cliniko, SyncRequest(mode="comprehensive", force_full=True))
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT FROM medmirror.file WHERE frame IS NOT NULL").rowcount > 0


def test_a_record_that_a_reader_passes_over_stores_nothing_of_its_page(
    engine: Engine, tools: Tools, cliniko: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sources.get("cliniko")
    lossy = replace(whole, items=lambda *given: iter(list(whole.items(*given))[1:]))
    monkeypatch.setattr(sources, "get", lambda name: lossy if name == "cliniko" else whole)
    with pytest.raises(SyncError, match="none of its records"):
        sync_engine.run(tools, cliniko, SyncRequest())
    with engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM medmirror.sync_mapping")).scalar_one() == 0
