"""Keys: scopes, organisations, rotation, revocation; and the audit log, which hears of every request."""

from __future__ import annotations

from datetime import timedelta

import clinics
import pytest
from sqlalchemy import text
from worlds import NOW, OURS, THEIRS, Make, World, organization, without

from medmirror.errors import UsageError
from medmirror.service import audit, keys

LIST = "/api/v1/organizations"


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_the_token_stands_nowhere_in_the_database(world: World) -> None:
    made = keys.add(world.engine, "lab", ["read"], [OURS], NOW)
    secret = made.token.rsplit("_", 1)[-1] if made.token.count("_") == 2 else made.token.split("_", 2)[2]
    with world.engine.connect() as conn:
        stored = conn.execute(text("SELECT CAST(k AS text) FROM medmirror.api_key AS k")).scalars().all()
    assert made.key_id in stored[0]
    assert secret not in "".join(stored)
    assert made.token not in repr(keys.every(world.engine))


@pytest.mark.parametrize("scope", keys.SCOPES)
def test_a_scope_allows_what_it_names_and_nothing_else(world: World, scope: str) -> None:
    key = world.key(scope)
    asked = {
        "read": world.client.get(LIST, headers=key),
        "sync": world.client.post(f"/api/v1/cliniko/sync/{OURS}", headers=key),
        "admin": world.client.post(f"{LIST}/{OURS}/cliniko/pause", headers=key),
        "metrics": world.client.get("/metrics", headers=key),
    }
    assert {name for name, answer in asked.items() if answer.status_code < 300} == {scope}
    assert {answer.status_code for name, answer in asked.items() if name != scope} == {403}


def test_a_key_sees_its_own_organisations_and_one_for_all_sees_all(world: World) -> None:
    def seen(key: dict[str, str]) -> list[str]:
        return [one["organization_id"] for one in world.client.get(LIST, headers=key).json()["items"]]

    assert seen(world.key("read")) == [OURS]
    everything = world.key("read", of=None)
    assert seen(everything) == [OURS, THEIRS]
    organization(world.engine, "org_later")
    assert seen(everything) == ["org_later", OURS, THEIRS]
    assert seen(world.key("read", of=("org_none",))) == []


def test_two_keys_hold_while_one_is_rotated_and_none_after_it_is_revoked(world: World) -> None:
    old = keys.add(world.engine, "lab", ["read"], [OURS], NOW, NOW + timedelta(days=30))
    new = keys.rotate(world.engine, old.key_id, NOW, timedelta(hours=24))
    assert new.expires_at == NOW + timedelta(days=30)

    def holds(token: str) -> bool:
        return world.client.get(LIST, headers=_bearer(token)).status_code == 200

    assert holds(old.token)
    assert holds(new.token)
    world.clock.advance(24 * 3600)
    assert not holds(old.token)
    assert holds(new.token)
    with pytest.raises(UsageError):
        keys.rotate(world.engine, old.key_id, world.clock.now(), timedelta())
    keys.revoke(world.engine, new.key_id, world.clock.now())
    assert not holds(new.token)


def test_a_key_ends_with_its_day_and_a_wrong_one_is_never_near(world: World) -> None:
    made = keys.add(world.engine, "lab", ["read"], [OURS], NOW, NOW + timedelta(seconds=10))
    other = keys.add(world.engine, "other", ["read"], [OURS], NOW)
    assert world.client.get(LIST, headers=_bearer(made.token)).status_code == 200
    crossed = f"mm_{made.key_id}_{other.token.split('_', 2)[2]}"
    for wrong in (crossed, made.token + "x", made.token[:-1], made.token.upper(), "mm__", "é" * 43):
        answer = world.client.get(LIST, headers={"Authorization": f"Bearer {wrong}".encode("latin-1")})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert world.client.get(LIST, headers={"Authorization": f"Basic {made.token}"}).status_code == 401
    world.clock.advance(10)
    assert world.client.get(LIST, headers=_bearer(made.token)).status_code == 401


def test_its_use_is_noted_to_the_minute(world: World) -> None:
    key = world.key("read")

    def used() -> object:
        return keys.every(world.engine)[0]["last_used_at"]

    assert used() is None
    world.client.get(LIST, headers=key)
    assert used() == NOW
    world.clock.advance(30)
    world.client.get(LIST, headers=key)
    assert used() == NOW
    world.clock.advance(31)
    world.client.get(LIST, headers=key)
    assert used() == NOW + timedelta(seconds=61)


def test_strangers_are_slowed_down_and_holders_of_keys_are_not(make: Make) -> None:
    world = make(failure_burst=3, failures=0.1)
    key = world.key("read")
    codes = [world.client.get(LIST, headers=_bearer("mm_no")).status_code for _ in range(5)]
    assert codes == [401, 401, 401, 429, 429]
    assert world.client.get(LIST, headers=key).status_code == 200


def test_the_audit_log_hears_of_every_request_and_of_no_value(world: World) -> None:
    key = world.key("read")
    key_id = keys.every(world.engine)[0]["key_id"]
    world.client.get(f"/api/v1/cliniko/status/{OURS}?include_logs=true", headers=key)
    world.client.get(f"/api/v1/cliniko/status/{THEIRS}", headers=key)
    world.client.post(f"/api/v1/cliniko/sync/{OURS}?mode=zz-value", headers=key)
    world.client.get("/api/v1/zz-value", headers={"X-Name": "zz-value"})
    world.client.post("/login", data={"key": "zz-value"})
    world.client.put(f"/api/v1/organizations/{OURS}/cliniko", headers=key, content=b"zz-value" * 10_000)
    world.client.get("/health")
    with world.engine.connect() as conn:
        rows = conn.execute(text("SELECT * FROM medmirror.audit_log ORDER BY audit_id")).mappings().all()
    shown = [(r["key_id"], r["method"], r["route"], r["organization_id"], r["status"], r["outcome"]) for r in rows]
    status, sync = "/api/v1/{source}/status/{organization_id}", "/api/v1/{source}/sync/{organization_id}"
    assert shown == [
        (key_id, "GET", status, OURS, 200, "ok"),
        (key_id, "GET", status, THEIRS, 404, "not-found"),
        (key_id, "POST", sync, OURS, 403, "scope-missing"),
        (None, "GET", None, None, 404, "not-found"),
        (None, "POST", "/login", None, 401, "key-missing"),
        (None, "PUT", None, None, 413, "too-large"),
    ]
    assert {r["address"] for r in rows} == {"127.0.0.1"}
    assert all(r["at"] == NOW for r in rows)
    assert "zz-value" not in repr(rows)


def test_the_audit_log_says_whose_job_or_letter_was_asked_for_by_its_number(world: World) -> None:
    key = world.key("read", "sync")
    with world.engine.begin() as conn:
        dead = clinics.job(conn, OURS, NOW, "dead")
        letter = clinics.letter(conn, OURS, dead, NOW, **{"class": 1})
        theirs = clinics.job(conn, THEIRS, NOW, "dead")
    world.client.get(f"/api/v1/jobs/{dead}", headers=key)
    world.client.get(f"/api/v1/jobs/{theirs}", headers=key)
    world.client.get(f"/api/v1/dead-letters/{letter}", headers=key)
    world.client.post(f"/api/v1/dead-letters/{letter}/requeue", headers=key)
    with world.engine.connect() as conn:
        rows = conn.execute(text("SELECT organization_id, source, status FROM medmirror.audit_log ORDER BY audit_id"))
        assert [tuple(row) for row in rows] == [
            (OURS, "cliniko", 200),
            (None, None, 404),
            (OURS, "cliniko", 200),
            (OURS, "cliniko", 202),
        ]


def test_what_cannot_be_written_down_is_not_answered(world: World) -> None:
    key = world.key("read")
    with without(world.engine, "audit_log"):
        answer = world.client.get(LIST, headers=key)
    assert answer.status_code == 500
    assert OURS not in answer.text
    assert world.client.get("/health").status_code == 200


def test_the_audit_log_keeps_its_days_and_strangers_push_out_only_their_like(world: World) -> None:
    def row(number: int, key_id: str | None, days: int) -> dict[str, object]:
        values = {"request_id": str(number), "key_id": key_id, "address": "127.0.0.1", "method": "GET", "route": None}
        more = {"organization_id": None, "source": None, "status": 200, "outcome": "ok", "milliseconds": 1}
        return {**values, **more, "at": NOW - timedelta(days=days)}

    for number in range(10):
        audit.write(world.engine, row(number, "k", days=number * 100))
    for number in range(10, 40):
        audit.write(world.engine, row(number, None, days=0))
    removed = audit.sweep(world.engine, NOW, days=400, strangers=7)
    with world.engine.connect() as conn:
        left = conn.execute(text("SELECT request_id FROM medmirror.audit_log ORDER BY audit_id")).scalars().all()
    assert left == [str(n) for n in (0, 1, 2, 3, 4)] + [str(n) for n in range(33, 40)]
    assert removed == 40 - len(left)
    assert audit.sweep(world.engine, NOW, days=400, strangers=7) == 0
