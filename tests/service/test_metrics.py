"""/metrics: numbers of the organisations that the key may see, in a form that Prometheus' own parser reads."""

from __future__ import annotations

from datetime import timedelta

import clinics
from prometheus_client.parser import text_string_to_metric_families
from worlds import NOW, OURS, THEIRS, World


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def _who(organization_id: str, **more: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"organization": organization_id, "source": "cliniko", **more}.items()))


def test_it_tells_of_the_organisations_of_the_key_alone(world: World) -> None:
    with world.engine.begin() as conn:
        clinics.state(conn, OURS, NOW - timedelta(minutes=7))
        clinics.state(conn, THEIRS, NOW - timedelta(minutes=9), failures=2)
        dead = clinics.job(conn, THEIRS, NOW, "dead")
        clinics.letter(conn, THEIRS, dead, NOW)
        clinics.job(conn, OURS, NOW)
    text = world.client.get("/metrics", headers=world.key("metrics")).text
    assert THEIRS not in text
    found = _samples(text)
    assert found["medmirror_freshness_seconds", _who(OURS)] == 420
    assert found["medmirror_organization_state", _who(OURS, state="fresh")] == 1
    assert found["medmirror_organization_state", _who(OURS, state="stale")] == 0
    assert found["medmirror_dead_letters_open", _who(OURS)] == 0
    assert found["medmirror_jobs", (("state", "succeeded"),)] == 1
    assert found["medmirror_jobs", (("state", "dead"),)] == 0
    every = _samples(world.client.get("/metrics", headers=world.key("metrics", of=None)).text)
    assert every["medmirror_dead_letters_open", _who(THEIRS)] == 1
    assert every["medmirror_sync_failures", _who(THEIRS)] == 2
    assert every["medmirror_jobs", (("state", "dead"),)] == 1


def test_requests_are_counted_by_route_and_nobody_can_make_labels_up(world: World) -> None:
    key = world.key("metrics", "read")
    for number in range(5):
        world.client.get(f"/api/v1/cliniko/status/{OURS}", headers=key)
        world.client.request(f"ZZ{number}", f"/zz-{number}")
    text = world.client.get("/metrics", headers=key).text
    found = _samples(text)
    route = "/api/v1/{source}/status/{organization_id}"
    assert found["medmirror_requests_total", (("method", "GET"), ("route", route), ("status", "200"))] == 5
    assert found["medmirror_request_seconds_count", (("method", "GET"), ("route", route))] == 5
    assert found["medmirror_requests_total", (("method", "other"), ("route", "none"), ("status", "404"))] == 5
    assert "zz-" not in text.lower()


def test_it_says_whether_anybody_works(world: World) -> None:
    key = world.key("metrics")
    assert _samples(world.client.get("/metrics", headers=key).text)["medmirror_workers", ()] == 0
    with world.engine.begin() as conn:
        clinics.staff(conn, NOW - timedelta(seconds=90))
    found = _samples(world.client.get("/metrics", headers=key).text)
    assert found["medmirror_workers", ()] == 1
    assert found["medmirror_scheduler_age_seconds", ()] == 90
