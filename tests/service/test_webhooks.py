"""Webhooks: taken when they are signed, in time and new; refused alike for every other reason."""

from __future__ import annotations

import base64
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import clinics
import pytest
from sqlalchemy import text
from worlds import NOW, OURS, THEIRS, World, organization

from medmirror.service import webhooks

HOOK = f"/api/v1/cliniko/webhooks/{OURS}"
SECRET = "whsec_" + base64.b64encode(b"made up for this test, 32 bytes!").decode()
BODY = b'{"type": "patient.updated", "note": "nobody believes this"}'


@pytest.fixture
def hooked(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("TEST_HOOK_SECRET", SECRET)
    organization(world.engine, OURS, webhook_secret="env:TEST_HOOK_SECRET")
    return world


def _headers(world: World, event: str, body: bytes = BODY, ago: int = 0, secret: str = SECRET) -> dict[str, str]:
    stamp = str(int(world.clock.now().timestamp()) - ago)
    signature = webhooks.sign(webhooks.key_of(secret), event, stamp, body)
    return {"webhook-id": event, "webhook-timestamp": stamp, "webhook-signature": signature}


def _jobs(world: World) -> list[tuple[str, str]]:
    with world.engine.connect() as conn:
        rows = conn.execute(text("SELECT trigger, state FROM medmirror.job ORDER BY created_at"))
        return [(row.trigger, row.state) for row in rows]


def test_a_signed_one_queues_a_sync_even_when_the_mirror_is_fresh(hooked: World) -> None:
    with hooked.engine.begin() as conn:
        clinics.state(conn, OURS, NOW - timedelta(minutes=3))
    answer = hooked.client.post(HOOK, content=BODY, headers=_headers(hooked, "evt_1"))
    assert (answer.status_code, answer.json()) == (202, {"status": "queued"})
    assert _jobs(hooked) == [("webhook", "queued")]


def test_the_same_event_again_does_nothing_again(hooked: World) -> None:
    headers = _headers(hooked, "evt_1")
    first = hooked.client.post(HOOK, content=BODY, headers=headers).json()
    with hooked.engine.begin() as conn:
        conn.execute(text("UPDATE medmirror.job SET state = 'succeeded'"))
    again = hooked.client.post(HOOK, content=BODY, headers=headers)
    assert (first["status"], again.json()["status"]) == ("queued", "repeated")
    assert len(_jobs(hooked)) == 1


def test_many_of_one_event_at_once_make_one_job(hooked: World) -> None:
    headers = _headers(hooked, "evt_1")
    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(lambda _: hooked.client.post(HOOK, content=BODY, headers=headers).json()["status"], range(16))
        )
    assert set(answers) <= {"queued", "repeated"}
    assert len(_jobs(hooked)) == 1


def test_what_is_not_signed_right_is_refused_for_one_reason(hooked: World) -> None:
    good = _headers(hooked, "evt_1")
    wrong = [
        (HOOK, BODY + b" ", good),  # the body is signed
        (HOOK, BODY, {**good, "webhook-id": "evt_2"}),  # the event's id is, too
        (HOOK, BODY, {**good, "webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)}),
        (HOOK, BODY, _headers(hooked, "evt_1", ago=301)),  # old
        (HOOK, BODY, _headers(hooked, "evt_1", ago=-301)),  # ahead
        (HOOK, BODY, _headers(hooked, "evt_1", secret="another")),
        (HOOK, BODY, {**good, "webhook-signature": "v1,"}),
        (HOOK, BODY, {**good, "webhook-signature": "v1," + "A" * 44}),
        (HOOK, BODY, {**good, "webhook-timestamp": "١٢٣"}),
        (HOOK, BODY, _headers(hooked, "")),
        (HOOK, BODY, {}),
        (f"/api/v1/cliniko/webhooks/{THEIRS}", BODY, good),  # has no secret
        ("/api/v1/cliniko/webhooks/org_none", BODY, good),
        (f"/api/v1/fhir/webhooks/{OURS}", BODY, good),
    ]
    answers = []
    for path, body, headers in wrong:
        raw = {name: value.encode() for name, value in headers.items()}
        answers.append(hooked.client.post(path, content=body, headers=raw))
    assert {(one.status_code, one.content) for one in answers} == {(401, answers[0].content)}
    assert answers[0].json()["type"].endswith("signature-refused")
    assert _jobs(hooked) == []


def test_a_secret_may_be_changed_while_both_are_signed_with(hooked: World) -> None:
    headers = _headers(hooked, "evt_1")
    other = webhooks.sign(b"the old one", "evt_1", headers["webhook-timestamp"], BODY)
    headers["webhook-signature"] = f"{other} {headers['webhook-signature']}"
    assert hooked.client.post(HOOK, content=BODY, headers=headers).status_code == 202


def test_a_secret_that_is_gone_is_refused_without_a_word_of_where_it_was(
    hooked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = _headers(hooked, "evt_1")
    monkeypatch.delenv("TEST_HOOK_SECRET")
    answer = hooked.client.post(HOOK, content=BODY, headers=headers)
    assert answer.status_code == 401
    assert "TEST_HOOK_SECRET" not in answer.text


@pytest.mark.parametrize("secret", ["whsec_", "whsec_é", "whsec_!!"])
def test_a_secret_that_is_none_lets_nobody_in(hooked: World, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("TEST_HOOK_SECRET", secret)
    headers = _headers(hooked, "evt_1", secret="")  # what anybody can sign with
    assert hooked.client.post(HOOK, content=BODY, headers=headers).status_code == 401
    assert _jobs(hooked) == []


def test_events_are_forgotten_only_after_their_signature_is_too_old(hooked: World) -> None:
    ahead = _headers(hooked, "evt_1", ago=-300)  # the sender's clock is five minutes ahead
    assert hooked.client.post(HOOK, content=BODY, headers=ahead).status_code == 202
    hooked.clock.advance(599)
    assert hooked.client.post(HOOK, content=BODY, headers=_headers(hooked, "evt_2")).status_code == 202
    assert hooked.client.post(HOOK, content=BODY, headers=ahead).json()["status"] == "repeated"
    hooked.clock.advance(2000)
    assert hooked.client.post(HOOK, content=BODY, headers=ahead).status_code == 401
    assert hooked.client.post(HOOK, content=BODY, headers=_headers(hooked, "evt_3")).status_code == 202
    with hooked.engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM medmirror.webhook_event")).scalar() == 1


def test_a_paused_organisation_takes_note_and_does_nothing(hooked: World) -> None:
    key = hooked.key("admin")
    hooked.client.post(f"/api/v1/organizations/{OURS}/cliniko/pause", headers=key)
    answer = hooked.client.post(HOOK, content=BODY, headers=_headers(hooked, "evt_1"))
    assert (answer.status_code, answer.json()["status"]) == (202, "paused")
    assert _jobs(hooked) == []


def test_the_example_of_the_specification_has_its_signature() -> None:
    key = webhooks.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert webhooks.sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )
    assert time.gmtime(1614265330).tm_year == 2021
