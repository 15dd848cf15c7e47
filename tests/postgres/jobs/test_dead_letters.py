"""Dead letters: one a cause and record, a clock from the first failure, done again with their lineage, and told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

import medmirror
from medmirror import errors, jobs
from medmirror.cli.deadletters import dead_letters
from medmirror.db import connect
from medmirror.jobs import Job, Request, deadletters, runner
from medmirror.jobs.deadletters import Letter, Selection, fingerprint, letters, payload, requeueing, triage
from medmirror.settings import PayloadSettings, Settings
from medmirror.sync import organizations
from medmirror.sync.organizations import Organization
from medmirror.sync.steps import Report
from medmirror_testing.samples.people import person
from medmirror_testing.servers.clock import SimulatedClock

NOW = datetime(2026, 3, 2, 22, 30, tzinfo=UTC)
DOWN = errors.RemoteUnavailable("No answer.", status=503)
DENIED = errors.AuthenticationFailed("The key was not accepted.", status=401)
BAD = errors.RemoteRefused("Refused.", status=400)


class Told:
    """A queue that nobody works."""

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        pass

    def work(self, execute: Callable[[UUID], None], concurrency: int, stop: threading.Event) -> None:
        raise NotImplementedError

    def depth(self) -> int:
        return 0

    def close(self) -> None:
        pass


class Place:
    """A database with two organisations, and what happens in it."""

    def __init__(self, engine: Engine, dsn: str) -> None:
        self.engine, self.dsn, self.time = engine, dsn, SimulatedClock(NOW)
        for name in ("org_1", "org_2"):
            organizations.put(engine, Organization(name, "cliniko", "cliniko", zone="Australia/Sydney"))

    def ask(self, organization: str = "org_1", **more: Any) -> Job:
        return jobs.submit(self.engine, Told(), Request(organization, "cliniko", **more), self.time.now()).job

    def do(self, job_id: UUID, error: Exception | None = None, then: Callable[[Job], None] | None = None) -> Job:
        def handler(job: Job, report: Report) -> Mapping[str, Any]:
            if then:
                then(job)
            if error:
                raise error
            return {}

        for _ in range(5):
            runner.execute(self.engine, Told(), job_id, handler, self.time.clock, "w")
            self.time.advance(600)
        with self.engine.connect() as conn:
            job = jobs.get(conn, job_id)
        assert job is not None
        return job

    def dead(self, error: Exception, organization: str = "org_1") -> Letter:
        job = self.do(self.ask(organization).job_id, error)
        assert job.state == "dead"
        return self.letters(organization_id=organization)[-1]

    def letters(self, **chosen: Any) -> list[Letter]:
        with self.engine.connect() as conn:
            return deadletters.find(conn, Selection(**chosen), states=None)

    def get(self, letter: Letter) -> Letter:
        with self.engine.connect() as conn:
            return deadletters.get(conn, letter.dead_letter_id)

    def record(self, job: Job, error: Exception = BAD, **more: Any) -> int:
        given = {"feed": "patient", "attempts": 1, "first_failed_at": self.time.now(), "now": self.time.now(), **more}
        with self.engine.begin() as conn:
            return deadletters.record(
                conn, job_id=job.job_id, organization_id=job.organization_id, source=job.source, error=error, **given
            )

    def requeue(self, *, limit: int | None = 1, **chosen: Any) -> list[requeueing.Requeued]:
        return requeueing.requeue(self.engine, Told(), Selection(**chosen), self.time.now(), limit=limit)

    def run(self, *words: str, code: int = 0) -> Any:
        found = CliRunner().invoke(
            dead_letters, [*words, "--json"], env={"MEDMIRROR_DSN": self.dsn}, standalone_mode=False
        )
        if found.exception:
            raise found.exception
        assert found.return_value.code == code
        list(map(str, found.return_value.show()))  # what people see can be made, too
        return orjson.loads(orjson.dumps(found.return_value.data, default=str))


@pytest.fixture(scope="module")
def books(database: Callable[[], AbstractContextManager[str]]) -> Iterator[tuple[Engine, str]]:
    """A database for all tests here: each begins with empty books."""
    with database() as dsn:
        made = connect.engine(dsn, pool_size=10)
        yield made, dsn
        made.dispose()


@pytest.fixture
def place(books: tuple[Engine, str]) -> Place:
    with books[0].begin() as conn:
        conn.execute(text("TRUNCATE medmirror.organization, medmirror.job CASCADE"))
    return Place(*books)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (DOWN, 1),
        (errors.RemoteRefused("Refused.", status=502), 1),
        (errors.ListingIncomplete(), 1),
        (errors.StoreUnavailable(), 1),
        (BAD, 2),
        (errors.RecordError("Refused."), 2),
        (errors.RemoteEmptied(), 2),
        (KeyError("x"), 2),
        (DENIED, 3),
        (errors.RemoteRefused("Refused.", status=403), 3),
        (errors.UsageError("There is no secret."), 3),
    ],
)
def test_the_class_of_a_letter_says_who_must_act(error: Exception, number: int) -> None:
    assert fingerprint.class_of(error) == number


def test_fingerprints_are_of_the_cause_and_of_nothing_else(place: Place) -> None:
    one, two = place.dead(DOWN), place.dead(errors.RemoteUnavailable("Broken off.", status=503, host="b"), "org_2")
    other = place.dead(errors.RemoteUnavailable("No answer.", status=500))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    with place.engine.connect() as conn:
        groups = deadletters.groups(conn)
    assert {(group.fingerprint, group.letters, group.organizations) for group in groups} == {
        (one.fingerprint, 2, 2),
        (other.fingerprint, 1, 1),
    }


def test_a_record_that_fails_in_every_sync_is_one_letter(place: Place) -> None:
    job = place.ask()
    first = place.record(job, record="patient 17")
    place.time.advance(4 * 3600)
    assert place.record(job, record="patient 17") == first
    assert place.record(job, record="patient 18") != first
    assert place.record(job, record="patient 17", error=errors.StaleWrite()) != first
    kinds = [place.record(job, error=errors.RecordError("Refused.", kind=kind)) for kind in ("ParseError", "NoKey")]
    assert len({place.letters(ids=[number])[0].fingerprint for number in kinds}) == 2
    again = place.letters()[0]
    assert (again.attempts, again.first_failed_at, again.died_at) == (2, NOW, NOW + timedelta(hours=4))
    with place.engine.connect() as conn:
        assert b"17" not in conn.scalar(text("SELECT record FROM medmirror.dead_letter LIMIT 1"))


def test_a_payload_is_kept_encrypted_and_opened_by_any_key_of_the_ring(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = person(3).family.encode()
    without = place.record(place.ask(), payload=body)
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    monkeypatch.setenv(payload.VARIABLE, old)
    kept = place.record(place.ask(), payload=body)
    monkeypatch.setenv(payload.VARIABLE, f"{new}, {old}")
    newer = place.record(place.ask(), payload=body)
    with place.engine.connect() as conn:
        sealed = conn.scalars(text("SELECT payload FROM medmirror.dead_letter WHERE payload IS NOT NULL")).all()
        assert len(sealed) == 2
        assert not any(body in one for one in sealed)
        assert [deadletters.payload_of(conn, number) for number in (without, kept, newer)] == [None, body, body]
        monkeypatch.setenv(payload.VARIABLE, old)
        assert deadletters.payload_of(conn, kept) == body
        with pytest.raises(errors.UsageError, match="None of the keys"):
            deadletters.payload_of(conn, newer)
        monkeypatch.setenv(payload.VARIABLE, "too short")
        with pytest.raises(errors.UsageError, match="holds what is no key"):
            deadletters.payload_of(conn, newer)
        monkeypatch.delenv(payload.VARIABLE)
        with pytest.raises(errors.UsageError, match="set MEDMIRROR_PAYLOAD_KEY"):
            deadletters.payload_of(conn, newer)


def test_a_key_may_be_in_a_file(tmp_path: Any) -> None:
    key = Fernet.generate_key()
    (tmp_path / "key").write_bytes(key + b"\n")
    sealed = payload.seal(b"x", PayloadSettings(key_file=tmp_path / "key"))
    assert sealed is not None
    assert Fernet(key).decrypt(sealed) == b"x"
    assert payload.seal(b"x", PayloadSettings()) is None


def test_what_is_requeued_and_succeeds_is_resolved(place: Place) -> None:
    letter = place.dead(DOWN)
    (made,) = place.requeue(ids=[letter.dead_letter_id])
    assert (made.outcome, place.get(letter).state, place.get(letter).requeued_as) == ("queued", "requeued", made.job_id)
    assert made.job_id is not None
    job = place.do(made.job_id)
    assert (job.state, job.trigger, job.parent) == ("succeeded", "requeue", letter.job_id)
    assert place.get(letter).state == "resolved"
    assert place.requeue(ids=[letter.dead_letter_id]) == []


def test_what_is_requeued_and_dies_again_is_a_child_with_the_clock_of_its_parent(place: Place) -> None:
    letter = place.dead(DENIED)
    deadletters.contacted(place.engine, letter.dead_letter_id, place.time.now())
    deadletters.annotate(place.engine, [letter.dead_letter_id], None, "INC-7")
    told = place.get(letter).contacted_at
    place.time.advance(3 * 3600)
    (made,) = place.requeue(ids=[letter.dead_letter_id])
    assert made.job_id is not None
    place.do(made.job_id, DENIED)
    child = place.letters()[-1]
    assert (child.parent, child.state, child.incident) == (letter.dead_letter_id, "open", "INC-7")
    assert (child.first_failed_at, child.contact_due, child.contacted_at) == (NOW, NOW + timedelta(hours=24), told)
    assert place.get(letter).state == "requeued"
    (made,) = place.requeue(ids=[child.dead_letter_id])
    assert made.job_id is not None
    place.do(made.job_id)
    assert place.get(child).state == "resolved"


def test_letters_of_one_organisation_become_one_job_and_no_letter_is_lost_when_it_dies(place: Place) -> None:
    one, two = place.dead(DOWN), place.dead(DOWN)
    first, second = place.requeue(fingerprint=one.fingerprint, limit=None)
    assert first.job_id == second.job_id is not None
    assert first.job_id is not None
    place.do(first.job_id, DOWN)
    assert [(letter.state, letter.parent) for letter in place.letters()] == [
        ("requeued", None),
        ("open", None),
        ("open", one.dead_letter_id),
    ]
    (made, again) = place.requeue(limit=None)
    assert made.dead_letter_id == two.dead_letter_id
    assert made.job_id is not None
    place.do(made.job_id)
    assert place.get(two).state == "resolved"
    assert made.job_id == again.job_id


def test_a_canary_is_one_letter_and_then_all(place: Place) -> None:
    for organization in ("org_1", "org_2"):
        place.dead(DOWN, organization)
    assert len(place.requeue(number=1)) == 1
    assert [letter.state for letter in place.letters()] == ["requeued", "open"]
    assert len(place.requeue(number=1, limit=None)) == 1
    assert {letter.state for letter in place.letters()} == {"requeued"}


def test_a_paused_organisation_keeps_its_letters_open(place: Place) -> None:
    letter = place.dead(DOWN)
    organizations.pause(place.engine, Organization("org_1", "cliniko", "cliniko"), "moving")
    (refused,) = place.requeue(ids=[letter.dead_letter_id])
    assert refused.outcome == "refused"
    assert "is paused (moving)" in str(refused.why)
    assert place.get(letter).state == "open"


def test_a_record_that_was_pushed_in_vain_is_resolved_when_its_job_comes_through(place: Place) -> None:
    job = place.ask()
    place.do(job.job_id, then=lambda job: [place.record(job, record=str(number)) for number in (1, 2)] and None)
    first, second = place.letters()
    made = place.requeue(limit=None)
    job_id = made[0].job_id
    assert job_id is not None
    place.do(job_id, then=lambda job: place.record(job, record="2") and None)
    one, two, again = place.letters()
    assert (again.parent, again.state) == (first.dead_letter_id, "open")  # which of the two it was, nobody knows
    assert {one.state, two.state} == {"requeued", "resolved"}
    assert second.state == "open"


def test_a_rejected_record_is_loaded_again_from_its_bytes(dsn: str, engine: Engine, tmp_path: Any) -> None:
    settings = replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)
    organizations.put(engine, Organization("org_1", "cliniko", "cliniko"))
    body = {"patients": [{"id": "1", "updated_at": "2026-01-01T00:00:00Z", "first_name": None}, {"updated_at": "soon"}]}
    (tmp_path / "patients.json").write_bytes(orjson.dumps(body))
    medmirror.load("cliniko", [tmp_path / "patients.json"], settings=settings, organization="org_1")
    job = jobs.submit(engine, Told(), Request("org_1", "cliniko"), NOW).job
    with engine.begin() as conn:
        reject_id = conn.scalar(text("SELECT reject_id FROM medmirror.reject"))
        assert reject_id is not None
        number = deadletters.record(
            conn, job_id=job.job_id, organization_id="org_1", source="cliniko", feed="patient", reject_id=reject_id,
            error=errors.RecordError("It has no time."), attempts=1, first_failed_at=NOW,
        )  # fmt: skip
    chosen = Selection(ids=[number])
    (failed,) = requeueing.requeue(engine, Told(), chosen, NOW, settings=settings)
    assert failed.outcome == "failed"
    with engine.begin() as conn:
        conn.execute(text("UPDATE medmirror.reject SET resolved_at = now()"))
    (done,) = requeueing.requeue(engine, Told(), chosen, NOW, settings=settings)
    assert done.outcome == "resolved"
    with engine.connect() as conn:
        assert deadletters.get(conn, number).state == "resolved"


def _walk(place: Place, **chosen: Any) -> list[triage.Finding]:
    with place.engine.connect() as conn:
        return triage.walk(conn, Selection(**chosen), place.time.now())


def test_the_playbook_sorts_by_fault_and_says_what_to_do(place: Place) -> None:
    for error in (DENIED, BAD, DOWN):
        place.dead(error)
    down, bad, denied = _walk(place)
    assert [one.category for one in (down, bad, denied)] == ["third party", "bad data", "account"]
    assert [one.priority for one in (down, bad, denied)] == ["P2", "P1", "P2"]
    assert down.issue is not None
    assert down.issue.origin == "list"
    assert "status page" in down.actions[0]
    assert "incident" in down.actions[1]
    assert (bad.issue, bad.path[-1]) == (None, "EscalateToHuman")
    assert "P1 ticket" in bad.actions[0]
    assert "full payload" in bad.actions[0]
    assert denied.letter == "reconnect"
    assert any("--kind reconnect" in command for command in denied.commands)
    assert all(any("--limit 1" in command for command in one.commands) for one in (down, bad, denied))


def test_what_was_solved_before_is_known_the_next_time_with_the_note_that_says_how(place: Place) -> None:
    letter = place.dead(BAD)
    deadletters.annotate(place.engine, [letter.dead_letter_id], "the clinic's time zone was missing", None)
    (made,) = place.requeue(ids=[letter.dead_letter_id])
    assert made.job_id is not None
    place.do(made.job_id)
    place.dead(BAD, "org_2")
    (found,) = _walk(place)
    assert found.issue is not None
    assert found.issue.origin == "history"
    assert found.path[-1] != "EscalateToHuman"
    assert "the clinic's time zone was missing" in found.issue.title


def test_a_group_whose_organisations_have_recovered_need_only_be_closed(place: Place) -> None:
    letter = place.dead(DOWN)
    with place.engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO medmirror.sync_state (organization_id, source, success_at)"
                " VALUES ('org_1', 'cliniko', :at)"
            ),
            {"at": letter.died_at + timedelta(minutes=1)},
        )
    (found,) = _walk(place)
    assert (found.priority, place.get(letter).recovered) == ("P3", True)
    assert "ignore" in found.commands[0]


def test_the_clock_of_a_day_runs_from_the_first_failure_until_the_clinic_is_told(place: Place) -> None:
    letter = place.dead(DOWN)
    assert not _walk(place)[0].overdue
    place.time.set(NOW + timedelta(hours=24, minutes=1))
    assert _walk(place)[0].overdue
    with place.engine.connect() as conn:
        assert deadletters.counts(conn, place.time.now()) == (1, 1, 0, 0, 1)
    place.run("letter", str(letter.dead_letter_id), "--sent")
    with place.engine.connect() as conn:
        assert deadletters.counts(conn, place.time.now()) == (1, 1, 0, 0, 0)
    assert not _walk(place)[0].overdue


@pytest.mark.parametrize("kind", letters.KINDS)
@pytest.mark.parametrize("error", [DOWN, BAD, DENIED])
def test_a_letter_says_when_and_what_and_nothing_of_a_patient_or_of_the_error(
    place: Place, kind: str, error: Exception
) -> None:
    letter = replace(place.dead(error), state="resolved" if kind == "resolved" else "open")
    message = letters.render(letter, kind, ZoneInfo("Australia/Sydney"))
    assert f"DL-{letter.dead_letter_id}" in message.subject
    assert "3 March 2026 at 09:30 (Australia/Sydney)" in message.body
    assert "Cliniko" in message.body
    assert "$" not in message.subject + message.body
    assert letter.message not in message.body


def test_a_clinic_is_not_told_that_it_refused_us_when_a_setting_of_ours_was_wrong(place: Place) -> None:
    ours, theirs = (
        letters.render(place.dead(error, name), "initial", ZoneInfo("UTC")).body
        for error, name in ((errors.UsageError("no secret"), "org_1"), (DENIED, "org_2"))
    )
    assert ("A setting on our side" in ours, "was not accepted" in ours) == (True, False)
    assert ("A setting on our side" in theirs, "was not accepted" in theirs) == (False, True)


def test_a_clinic_is_not_told_that_all_is_well_before_it_is(place: Place) -> None:
    letter = place.dead(DOWN)
    with pytest.raises(errors.UsageError, match="is open, not resolved"):
        letters.render(letter, "resolved", ZoneInfo("UTC"))


def test_the_commands_list_show_triage_requeue_and_ignore(place: Place) -> None:
    letter, other = place.dead(DOWN), place.dead(DENIED, "org_2")
    listed = place.run("list", "--class", "1")
    assert [one["dead_letter_id"] for one in listed["letters"]] == [letter.dead_letter_id]
    assert listed["counts"]["open"] == 2
    shown = place.run("show", str(letter.dead_letter_id), "--with-payload")
    assert (shown["payload"], shown["log"][-1]["level"]) == (None, "error")
    found = place.run("triage", "--apply", "--incident", "https://status.example.org/7", "--class", "1")["findings"]
    assert [one["category"] for one in found] == ["third party"]
    noted = place.get(letter)
    assert noted.incident == "https://status.example.org/7"
    assert str(noted.note).startswith("P2 third party: ")
    assert place.get(other).note is None
    done = place.run("requeue", "--fingerprint", letter.fingerprint)["requeued"]
    assert [one["outcome"] for one in done] == ["queued"]
    closed = place.run("ignore", str(other.dead_letter_id), "--note", "the clinic left")
    assert closed["ignored"] == [other.dead_letter_id]
    assert place.run("triage") == {"findings": []}
    with pytest.raises(errors.UsageError, match="Say which"):
        place.run("requeue")
    with pytest.raises(errors.UsageError, match="There is no dead letter 999"):
        place.run("show", "999")
