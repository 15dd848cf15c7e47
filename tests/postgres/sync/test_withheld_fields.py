"""A field that a remote gives of nobody any more, in a sync: the mirror's meaning keeps it until a person decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import text
from test_sync_engine import Clinic, make  # noqa: F401 - the fixture


def mails(clinic: Clinic) -> int:
    query = text("SELECT count(*) FROM canonical.record WHERE entity = 'patient' AND record ? 'emails'")
    with clinic.tools.engine.connect() as conn:
        return int(conn.execute(query).scalar_one())


def emptied(clinic: Clinic, **values: Any) -> None:
    clinic.clock.advance(3600)
    for patient in clinic.account.ids("patient"):
        clinic.account.change("patient", patient, **values)


def test_a_field_that_all_patients_lose_is_withheld_until_a_person_decides(make: Callable[..., Clinic]) -> None:  # noqa: F811
    clinic = make()
    emptied(clinic, email="ada@example.org")
    assert "withheld_fields" not in clinic.sync()
    assert mails(clinic) == 30
    emptied(clinic, email="", notes="seen")
    counts = clinic.sync()
    assert counts["withheld_fields"] == {"cliniko.patient: emails": 30}
    assert mails(clinic) == 30
    with clinic.tools.engine.connect() as conn:
        kept = conn.execute(
            text("SELECT status, counts FROM medmirror.run WHERE run_id = :id"), {"id": counts["run_id"]}
        )
        assert [(row.status, row.counts["withheld_fields"]) for row in kept] == [("rejects", counts["withheld_fields"])]
    assert clinic.sync()["withheld_fields"] == counts["withheld_fields"], "told until it is decided"
    accepted = clinic.sync(mode="comprehensive", args={"accept_empty_fields": True})
    assert "withheld_fields" not in accepted
    assert mails(clinic) == 0


def test_problems_of_a_sync_are_counted_by_field(make: Callable[..., Clinic]) -> None:  # noqa: F811
    clinic = make()
    emptied(clinic, date_of_birth="0001-01-01")
    counts = clinic.sync()
    assert counts["problems"]["cliniko.patient: birth_date placeholder"] == 30
    assert "cliniko.patient: birth_date placeholder" in counts["over_limit"]
