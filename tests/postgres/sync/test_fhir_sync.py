"""FHIR servers synchronised into Postgres: by search and by export, the mirror is equal to the server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

import mirrors
from medmirror.clock import SYSTEM, microseconds
from medmirror.errors import StillPreparing
from medmirror.settings import Settings
from medmirror.sync import engine as sync_engine
from medmirror.sync import organizations
from medmirror.sync.organizations import Organization
from medmirror.sync.session import SyncRequest, Tools
from medmirror_testing.samples.fhir_basics import Clinic
from medmirror_testing.samples.fhir_states import current_resource, everything
from medmirror_testing.servers.fhirserver import FhirServer

CLINIC = Clinic(12)
KINDS = ("Practitioner", "Patient", "Appointment")


@pytest.fixture
def fhir_server() -> Iterator[FhirServer]:
    with FhirServer() as made:
        begun = microseconds(SYSTEM.now() - timedelta(days=30))
        for number, one in enumerate(everything(CLINIC)):
            if one.kind in KINDS:
                made.store.put(current_resource(CLINIC, one), at=begun + number * 600_000_000)
        made.ways.authorization = "Bearer t0k3n"
        yield made


def added(engine: Engine, fhir_server: FhirServer, kind: str, **settings: Any) -> Organization:
    return organizations.put(
        engine,
        Organization("org-1", "fhir", kind, settings={"url": fhir_server.base, **settings}, secret="env:FHIR_TOKEN"),
    )


def mirrored(engine: Engine) -> dict[tuple[str, str], int]:
    with engine.connect() as conn:
        conn.execute(text("SET medmirror.organization = '*'"))
        rows = conn.execute(text("SELECT resource_type, id, last_updated FROM fhir.resource WHERE NOT deleted"))
        return {(row[0], row[1]): microseconds(row[2]) for row in rows}


def held(fhir_server: FhirServer) -> dict[tuple[str, str], int]:
    return {(one.kind, one.id): one.time for one in fhir_server.store.living()}


@pytest.mark.parametrize("kind", ["fhir", "bulk"])
def test_mirror_is_equal_to_the_server_after_each_sync(
    engine: Engine, dsn: str, fhir_server: FhirServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FHIR_TOKEN", "t0k3n")
    fhir_server.exporting.polls, fhir_server.exporting.per_file = 0, 1000
    one = added(engine, fhir_server, kind, **({"count": 5, "types": list(KINDS)} if kind == "fhir" else {}))
    tools = Tools(engine, Settings.from_environment(dsn=dsn, workers=1), batch=20)
    first = sync_engine.run(tools, one, SyncRequest())
    assert mirrored(engine) == held(fhir_server)
    assert first["read"] >= len(held(fhir_server))
    patients = fhir_server.store.living("Patient")
    now = fhir_server.store.now() - 60_000_000
    fhir_server.store.put(patients[0].body or {}, at=now)
    fhir_server.store.delete("Patient", patients[1].id, at=now)
    fhir_server.store.put({**(patients[2].body or {}), "id": "new-one"}, at=now)
    second = sync_engine.run(tools, one, SyncRequest())
    assert mirrored(engine) == held(fhir_server)
    assert ("Patient", patients[1].id) not in mirrored(engine)
    assert second["read"] <= 2 * len(KINDS) + 3
    sync_engine.run(tools, one, SyncRequest(mode="comprehensive"))
    assert mirrored(engine) == held(fhir_server)
    mirrors.books_are_right(dsn)


def test_export_that_takes_its_time_is_taken_up_by_the_next_try(
    engine: Engine, dsn: str, fhir_server: FhirServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FHIR_TOKEN", "t0k3n")
    fhir_server.exporting.polls, fhir_server.exporting.retry_after = 2, "300"
    one = added(engine, fhir_server, "bulk", types="Patient")
    tools = Tools(engine, Settings.from_environment(dsn=dsn, workers=1))
    for _ in range(2):
        with pytest.raises(StillPreparing):
            sync_engine.run(tools, one, SyncRequest())
    sync_engine.run(tools, one, SyncRequest())
    assert fhir_server.exports.kicked_off == 1
    assert mirrored(engine).keys() == {("Patient", one.id) for one in fhir_server.store.living("Patient")}
