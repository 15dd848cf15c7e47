"""A reference to another server's resource names none of ours, in the canonical records, the views, and mapped anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from medmirror.ingest import remap, run

BASE = "https://ehr.example.org/r4"
ELSEWHERE = "https://other.example.net/fhir/Patient/21"


def appointment(number: str, reference: str) -> dict[str, Any]:
    actor = {"reference": reference, "display": "Somebody"}
    return {"resourceType": "Appointment", "id": number, "status": "booked", "participant": [{"actor": actor}]}


RESOURCES = [
    {"resourceType": "Patient", "id": "21", "name": [{"family": "Orthzqwin"}]},
    appointment("own", "Patient/21"),
    appointment("absolute", "http://EHR.example.org:80/r4/Patient/21/_history/4"),
    appointment("foreign", ELSEWHERE),
    appointment("search", "https://other.example.net/fhir/Patient?_id=21"),
    appointment("tenant", "https://ehr.example.org/r4/tenant/Patient/21"),
    {**appointment("contained", "#p"), "contained": [{"resourceType": "Patient", "id": "p"}]},
]
OURS = {"feed": "Patient", "id": "21", "text": "Somebody"}


def patients(engine: Engine) -> dict[str, Any]:
    with engine.connect() as conn:
        rows = conn.execute(
            text("SELECT source_id, record -> 'patient' FROM canonical.record WHERE entity = 'appointment'")
        )
        return {row[0]: row[1] for row in rows}


def shown(engine: Engine) -> dict[str, str | None]:
    with engine.connect() as conn:
        rows = conn.execute(text("SELECT id, target FROM fhir.link WHERE resource_type = 'Appointment'"))
        return {row.id: row.target for row in rows}


@pytest.mark.parametrize("layout", ["bundle", "export"])
def test_another_servers_patient_is_not_ours_of_that_number(
    layout: str, engine: Engine, dsn: str, tmp_path: Path
) -> None:
    if layout == "bundle":
        entries = [{"fullUrl": f"{BASE}/{one['resourceType']}/{one['id']}", "resource": one} for one in RESOURCES]
        bundle = {"resourceType": "Bundle", "type": "searchset", "timestamp": "2026-05-01T00:00:00Z", "entry": entries}
        (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    else:
        (tmp_path / "all.ndjson").write_text("".join(json.dumps(one) + "\n" for one in RESOURCES))
        output = [{"type": "Appointment", "url": f"{BASE}/files/all.ndjson"}]
        manifest = {"transactionTime": "2026-05-01T00:00:00Z", "request": f"{BASE}/$export", "output": output}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert run.load("fhir", tmp_path, organization="org_1", dsn=dsn, workers=1).status == "done"
    expected = {
        "own": OURS,
        "absolute": OURS,
        "foreign": {"feed": "Patient", "url": ELSEWHERE, "text": "Somebody"},
        "tenant": {"feed": "Patient", "url": "https://ehr.example.org/r4/tenant/Patient/21", "text": "Somebody"},
    }
    found = patients(engine)
    assert {name: found[name] for name in expected} == expected
    assert "id" not in (found["contained"] or {})
    result = remap.remap(organization="org_1", everything=True, dsn=dsn, workers=1)
    assert result.counts.mapped > 0
    assert patients(engine) == found
    ours = dict.fromkeys(("own", "absolute"), "Patient/21")
    assert shown(engine) == {**ours, **dict.fromkeys(("foreign", "tenant", "contained", "search"))}
