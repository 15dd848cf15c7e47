"""The documented addresses over real HTTP: triggers, status, lists, and what is answered when something is wrong."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import clinics
import pytest
from sqlalchemy import text
from worlds import NOW, OURS, THEIRS, Make, World, without

from medmirror import jobs
from medmirror.db import connect
from medmirror.jobs import runner

SYNC = f"/api/v1/cliniko/sync/{OURS}"
STATUS = f"/api/v1/cliniko/status/{OURS}"
PROBLEM = "application/problem+json"


def _succeed(world: World) -> None:
    with world.engine.begin() as conn:
        clinics.state(conn, OURS, world.clock.now())


def test_a_trigger_makes_a_job_and_says_where_it_is(world: World) -> None:
    key = world.key("sync", "read")
    answer = world.client.post(SYNC, params={"mode": "incremental"}, headers=key)
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
    job = world.client.get(answer.headers["Location"], headers=key).json()["job"]
    assert (job["organization_id"], job["state"], job["trigger"], job["mode"]) == (OURS, "queued", "api", "incremental")
    again = world.client.post(SYNC, params={"force_full": True}, headers=key).json()
    assert again["status"] == "coalesced"
    assert again["job"]["job_id"] == job["job_id"]
    assert again["job"]["force_full"] is True


def test_a_fresh_organisation_is_skipped_unless_it_is_forced(world: World) -> None:
    key = world.key("sync")
    _succeed(world)
    world.clock.advance(29 * 60)
    skipped = world.client.post(SYNC, headers=key)
    assert skipped.status_code == 200
    assert skipped.json()["status"] == "skipped"
    assert "less than 30 minutes ago" in skipped.json()["reason"]
    assert world.client.post(SYNC, params={"force_full": "true"}, headers=key).status_code == 202
    world.clock.advance(61)
    assert world.client.post(SYNC, headers=key).status_code == 202


def test_one_that_runs_is_a_conflict_that_names_the_job(world: World) -> None:
    key = world.key("sync")
    job_id = world.client.post(SYNC, headers=key).json()["job"]["job_id"]
    answers = []

    def handler(job: jobs.Job, report: object) -> dict[str, int]:
        answers.append(world.client.post(SYNC, headers=key))
        return {}

    runner.execute(world.engine, world.queue, UUID(job_id), handler, world.clock.clock, "test")
    (answer,) = answers
    assert answer.status_code == 409
    assert answer.headers["Content-Type"] == PROBLEM
    assert answer.json()["type"] == "urn:medmirror:problem:sync-running"
    assert answer.json()["job_id"] == job_id
    assert answer.headers["Location"].endswith(job_id)


def test_an_idempotency_key_gets_the_same_job_whatever_has_become_of_it(world: World) -> None:
    key = world.key("sync")
    headers = {**key, "Idempotency-Key": "a-1"}
    first = world.client.post(SYNC, headers=headers).json()["job"]["job_id"]
    runner.execute(world.engine, world.queue, UUID(first), lambda job, report: {}, world.clock.clock, "test")
    second = world.client.post(SYNC, headers=headers)
    assert second.status_code == 202
    assert (second.json()["status"], second.json()["job"]["job_id"]) == ("repeated", first)
    assert second.json()["job"]["state"] == "succeeded"
    other = world.client.post(SYNC, params={"mode": "comprehensive"}, headers=headers)
    assert other.status_code == 422
    assert other.json()["type"].endswith("key-reused")


@pytest.mark.parametrize("mode", ["basic", "patients-only"])
def test_old_modes_work_and_say_that_they_are_deprecated(world: World, mode: str) -> None:
    answer = world.client.post(SYNC, params={"mode": mode}, headers=world.key("sync"))
    assert answer.status_code == 202
    assert answer.headers["Deprecation"].startswith("@")
    assert mode in answer.headers["Warning"]


def test_status_tells_how_current_it_is_what_runs_and_what_was_said(world: World) -> None:
    key = world.key("read")
    empty = world.client.get(STATUS, headers=key).json()
    assert empty["organization"]["freshness"] == "never"
    with world.engine.begin() as conn:
        clinics.state(conn, OURS, NOW, recovered=NOW)
        done = clinics.job(conn, OURS, NOW, counts='{"read": 12}')
        clinics.say(conn, done, NOW, "12 records")
        clinics.job(conn, OURS, NOW + timedelta(seconds=9), "in_progress", step="fetched", progress='{"read": 3}')
        clinics.letter(conn, OURS, done, NOW)
        values = {"organization_id": OURS, "source": "cliniko", "feed": "patient", "position": 1_795_000_000_000_000}
        conn.execute(clinics._MARK, {**values, "at": NOW})
    found = world.client.get(STATUS, params={"include_logs": "true"}, headers=key).json()
    one = found["organization"]
    assert (one["freshness"], one["dead_letters"], one["age"]) == ("recovered", 1, 0.0)
    assert one["job"]["step"] == "fetched"
    assert one["job"]["progress"] == {"read": 3}
    assert found["watermarks"][0] | {"moved_at": ""} == {
        "feed": "patient",
        "kind": "changed",
        "position": "2026-11-18T11:06:40Z",
        "whole": True,
        "window_end": None,
        "moved_at": "",
    }
    assert found["logs"][str(done)][0]["message"] == "12 records"
    assert "logs" in empty
    assert not empty["logs"]
    world.clock.advance(5 * 3600)
    assert world.client.get(STATUS, headers=key).json()["organization"]["freshness"] == "stale"


def test_lists_come_in_pages_that_meet(world: World) -> None:
    key = world.key("read")
    with world.engine.begin() as conn:
        made = [clinics.job(conn, OURS, NOW) for _ in range(5)]  # of the same moment
        made += [clinics.job(conn, OURS, NOW + timedelta(seconds=n)) for n in range(1, 3)]
        letters = [clinics.letter(conn, OURS, made[0], NOW) for _ in range(5)]
    found, before = [], None
    while True:
        page = world.client.get(
            "/api/v1/jobs", params={"limit": 3, **({"before": before} if before else {})}, headers=key
        )
        found += [job["job_id"] for job in page.json()["items"]]
        before = page.json()["next"]
        if before is None:
            break
    assert sorted(found) == sorted(str(one) for one in made)
    first = world.client.get("/api/v1/dead-letters?limit=3", headers=key).json()
    rest = world.client.get(f"/api/v1/dead-letters?limit=3&before={first['next']}", headers=key).json()
    assert [one["dead_letter_id"] for one in first["items"] + rest["items"]] == letters[::-1]
    assert rest["next"] is None


def test_organisations_are_changed_and_paused_but_never_moved(world: World) -> None:
    key = world.key("admin", "read", "sync")
    place = f"/api/v1/organizations/{OURS}/cliniko"
    change = {"zone": "Australia/Sydney", "tier": "realtime", "windows": [{"requests": 100, "seconds": 60}]}
    assert world.client.put(place, json=change, headers=key).json()["tier"] == "realtime"
    for more in ({"settings": {"url": "http://evil.example"}}, {"secret": "env:MEDMIRROR_DSN"}):
        refused = world.client.put(place, json={**change, **more}, headers=key)
        assert refused.status_code == 422
        assert "evil" not in refused.text
        assert "MEDMIRROR_DSN" not in refused.text
    assert world.client.put(place, json={**change, "zone": "../../etc/passwd"}, headers=key).status_code == 422
    with world.engine.connect() as conn:
        row = conn.execute(text("SELECT settings, windows FROM medmirror.organization WHERE tier = 'realtime'")).one()
    assert row.settings == {"url": "http://127.0.0.1:9"}
    assert row.windows == [[100, 60]]
    assert world.client.post(f"{place}/pause", json={"why": "holiday"}, headers=key).json()["badge"] == "paused"
    assert world.client.post(SYNC, headers=key).status_code == 409
    assert world.client.post(f"{place}/resume", headers=key).json()["paused_at"] is None
    assert world.client.post(SYNC, headers=key).status_code == 202


def test_a_change_does_not_bring_back_what_the_operator_changes_meanwhile(world: World) -> None:
    key, place = world.key("admin", "read"), f"/api/v1/organizations/{OURS}/cliniko"
    waits = text(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )
    with ThreadPoolExecutor() as threads, world.engine.connect() as watch:
        with world.engine.begin() as conn:
            conn.execute(text("UPDATE medmirror.organization SET secret = 'env:NEWER'"))
            asked = threads.submit(world.client.put, place, json={"zone": "UTC", "tier": "economy"}, headers=key)
            while not watch.scalar(waits):  # it has read the organization, and waits to write it
                watch.rollback()
                assert not asked.done()
        assert asked.result(30).json()["tier"] == "economy"
        assert watch.scalar(text("SELECT secret FROM medmirror.organization WHERE tier = 'economy'")) == "env:NEWER"


def test_a_letter_is_requeued_once(world: World) -> None:
    key = world.key("sync", "read")
    with world.engine.begin() as conn:
        dead = clinics.job(conn, OURS, NOW, "dead", error="RemoteUnavailable")
        number = clinics.letter(conn, OURS, dead, NOW, feed=None, scope="job", **{"class": 1})
    answer = world.client.post(f"/api/v1/dead-letters/{number}/requeue", headers=key)
    assert answer.status_code == 202
    job = world.client.get(f"/api/v1/jobs/{answer.json()['job_id']}", headers=key).json()["job"]
    assert (job["trigger"], job["parent"]) == ("requeue", str(dead))
    assert world.client.get(f"/api/v1/dead-letters/{number}", headers=key).json()["state"] == "requeued"
    assert world.client.post(f"/api/v1/dead-letters/{number}/requeue", headers=key).status_code == 409


def test_every_refusal_is_a_problem_document_without_what_was_sent(world: World) -> None:
    key = world.key("sync", "read", "admin")
    put = f"/api/v1/organizations/{OURS}/cliniko"
    cases = [
        (404, "GET", "/nowhere", {}),
        (404, "GET", "/api/v1/jobs/00000000-0000-0000-0000-000000000000", {"headers": key}),
        (405, "DELETE", SYNC, {"headers": key}),
        (401, "GET", STATUS, {}),
        (401, "GET", STATUS, {"headers": {"Authorization": "Bearer zz-secret"}}),
        (422, "POST", f"{SYNC}?mode=zz-secret", {"headers": key}),
        (422, "GET", "/api/v1/jobs?before=zz-secret", {"headers": key}),
        (422, "GET", "/api/v1/runs/99999999999999999999", {"headers": key}),
        (422, "GET", "/api/v1/cliniko/status/zz-secret%00", {"headers": key}),
        (422, "PUT", put, {"headers": key, "json": {"zone": 5, "zz-no": "zz-secret"}}),
        (400, "PUT", put, {"headers": {**key, "Content-Type": "application/json"}, "content": b'{"zz-secret'}),
        (413, "PUT", put, {"headers": key, "content": b"x" * 70_000}),
        (413, "PUT", put, {"headers": key, "content": iter([b"x" * 40_000, b"x" * 40_000])}),
        (431, "GET", STATUS, {"headers": {**key, **{f"X-{n}": "1" for n in range(70)}}}),
    ]
    for status, method, path, more in cases:
        answer = world.client.request(method, path, **more)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM), path
        document = answer.json()
        assert document["status"] == status
        assert document["type"].startswith("urn:medmirror:problem:")
        assert document["detail"]
        assert "zz-secret" not in answer.text
        assert "X-Problem" not in answer.headers


def test_a_key_that_asks_too_often_is_told_when_to_come_again(make: Make) -> None:
    world = make(rate=0.5, burst=3)
    key, other = world.key("read"), world.key("read")
    answers = [world.client.get("/api/v1/organizations", headers=key) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert answers[3].headers["Retry-After"] == "2"
    assert world.client.get("/api/v1/organizations", headers=other).status_code == 200
    world.clock.advance(2)
    assert world.client.get("/api/v1/organizations", headers=key).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(make: Make) -> None:
    world = make(body_seconds=0.2)
    url = world.client.base_url
    with socket.create_connection((url.host, url.port), timeout=120) as slow:
        slow.sendall(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab")
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_what_the_database_says_is_not_passed_on(world: World) -> None:
    with without(world.engine, "api_key"):
        broken = world.client.get(STATUS, headers={"Authorization": f"Bearer mm_{'a' * 12}_{'b' * 43}"})
    assert broken.status_code == 500
    assert broken.headers["Content-Type"] == PROBLEM
    assert "api_key" not in broken.text


def test_a_database_that_is_away_busy_or_older_is_said(make: Make, dsn: str) -> None:
    impatient = connect.engine(dsn, session={"statement_timeout": "2s"})
    world = make(engine=impatient)
    key = world.key("read")
    assert world.client.get("/ready").json() == {"status": "ok"}
    other = connect.engine(dsn)
    with other.begin() as conn:
        conn.execute(text("LOCK medmirror.organization"))
        busy = world.client.get("/api/v1/organizations", headers=key)
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "5")
    assert world.client.get("/api/v1/organizations", headers=key).status_code == 200
    with other.begin() as conn:
        gone = text("DELETE FROM medmirror.migration WHERE source = 'service' RETURNING *")
        rows = conn.execute(gone).mappings().all()
    assert "older version" in world.client.get("/ready").json()["detail"]
    with other.begin() as conn:
        back = text("INSERT INTO medmirror.migration VALUES (:source, :number, :digest, :applied_at)")
        conn.execute(back, [dict(row) for row in rows])
    impatient.dispose()
    other.dispose()
    away = make(engine=connect.engine("postgresql://nobody@127.0.0.1:1/none"))
    for path in ("/ready", "/api/v1/organizations"):
        answer = away.client.get(path, headers=key)
        assert (answer.status_code, answer.headers["Content-Type"]) == (503, PROBLEM)
        assert "127.0.0.1" not in answer.text
    assert away.client.get("/health").status_code == 200


def test_pages_of_the_browser_cannot_be_framed_or_scripted(world: World) -> None:
    for path in ("/health", "/login", "/static/status.css", "/nowhere"):
        headers = world.client.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
        assert "Server" not in headers
    answer = world.client.options(
        SYNC, headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert answer.status_code == 405
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert world.client.get("/docs").status_code == 404


def test_what_belongs_to_others_answers_as_what_does_not_exist(world: World) -> None:
    key = world.key("read", "sync", "admin")
    with world.engine.begin() as conn:
        job = clinics.job(conn, THEIRS, NOW, "dead")
        number = clinics.letter(conn, THEIRS, job, NOW)
    nothing, none = "00000000-0000-0000-0000-000000000000", number + 1000
    pairs = [
        ("POST", f"/api/v1/cliniko/sync/{THEIRS}", "/api/v1/cliniko/sync/org_none"),
        ("GET", f"/api/v1/cliniko/status/{THEIRS}", "/api/v1/cliniko/status/org_none"),
        ("GET", f"/api/v1/organizations/{THEIRS}/cliniko", "/api/v1/organizations/org_none/cliniko"),
        ("POST", f"/api/v1/organizations/{THEIRS}/cliniko/pause", "/api/v1/organizations/org_none/cliniko/pause"),
        ("GET", f"/api/v1/jobs/{job}", f"/api/v1/jobs/{nothing}"),
        ("GET", f"/api/v1/jobs?organization_id={THEIRS}", "/api/v1/jobs?organization_id=org_none"),
        ("GET", f"/api/v1/dead-letters/{number}", f"/api/v1/dead-letters/{none}"),
        ("POST", f"/api/v1/dead-letters/{number}/requeue", f"/api/v1/dead-letters/{none}/requeue"),
    ]
    for method, theirs, nobodys in pairs:
        one, other = (world.client.request(method, path, headers=key) for path in (theirs, nobodys))
        assert (one.status_code, one.content) == (other.status_code, other.content), theirs
        varying = {"x-request-id", "date"}
        names = [{name: value for name, value in each.headers.items() if name not in varying} for each in (one, other)]
        assert names[0] == names[1]
