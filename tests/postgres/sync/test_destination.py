"""An organisation's records brought to a second practice system: a Cliniko clinic in the mirror, a FHIR server there,
and a system in memory that fails at every step."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, create_engine, text

from medmirror import remotes
from medmirror.cli import review as review_command
from medmirror.db import retry, runs
from medmirror.errors import (
    AuthenticationFailed,
    RemoteEmptied,
    RemoteRefused,
    RemoteUnavailable,
    StaleWrite,
    UsageError,
)
from medmirror.ingest.canonicalstore import own_id
from medmirror.remotes.base import BEGINNING, Around, Capabilities, Kind, Page, Position, Pushed, Remote
from medmirror.settings import Settings
from medmirror.sync import destination
from medmirror.sync.destination import bases, keep_in_step, review
from medmirror.sync.organizations import Organization
from medmirror.sync.steps import Report, silent
from medmirror.sync.store import Store
from medmirror_testing.samples.people import person
from medmirror_testing.servers import clinikoserver
from medmirror_testing.servers.clinikodata import Account
from medmirror_testing.servers.clinikoserver import ClinikoServer
from medmirror_testing.servers.clock import SimulatedClock
from medmirror_testing.servers.fhirserver import FhirServer

Document = dict[str, Any]
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
ARRAYS = {"patient": "patients", "appointment": "individual_appointments"}


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


class Clinic:
    """The organisation: what its Cliniko holds goes into the mirror by the same code as in a sync, and from there to
    its destination."""

    def __init__(self, engine: Engine, settings: Settings, clock: SimulatedClock, destination: Document) -> None:
        self.engine, self.settings, self.clock = engine, settings, clock
        self.destination = destination
        self.mappings: tuple[str, ...] = ()
        self.poison: list[tuple[str, str, str]] = []
        self.held: dict[tuple[str, str], Document] = {}

    @property
    def organization(self) -> Organization:
        return Organization("org_1", "cliniko", "cliniko", destination=self.destination, mappings=self.mappings)

    def patient(self, number: int, **more: Any) -> Document:
        who = person(number)
        known = self.held.get(("patient", str(number)), {})
        made = {
            "id": str(number), "first_name": who.given, "last_name": who.family, "date_of_birth": str(who.birth_date),
            "email": f"{number}@example.org", "sex": "Female", "occupation": "", "notes": "", "archived_at": None,
            "patient_phone_numbers": [], "links": {"self": f"https://api.au1.cliniko.com/v1/patients/{number}"},
        }  # fmt: skip
        return self._keep("patient", number, {**made, **known, **more})

    def visit(self, number: int, patient: int, start: datetime, minutes: int = 30, **more: Any) -> Document:
        made = {
            "id": str(number), "starts_at": iso(start), "ends_at": iso(start + timedelta(minutes=minutes)),
            "cancelled_at": None, "deleted_at": None, "notes": None, "did_not_arrive": False, "patient_arrived": False,
            "patient": {"links": {"self": f"https://api.au1.cliniko.com/v1/patients/{patient}"}},
            "links": {"self": f"https://api.au1.cliniko.com/v1/individual_appointments/{number}"},
        }  # fmt: skip
        return self._keep("appointment", number, {**made, **more})

    def _keep(self, feed: str, number: int, document: Document) -> Document:
        self.clock.advance(1)
        document["updated_at"] = iso(self.clock.now())
        self.held[feed, str(number)] = document
        return document

    def sync(self, *documents: Document, report: Report = silent) -> Counter[str]:
        """Store *documents* in the mirror and bring what is new to the destination."""
        self.clock.advance(60)
        run_id = retry.in_transaction(self.engine, lambda conn: runs.open_run(conn, "sync", "cliniko", {}))
        try:
            store = Store(self.engine, self.settings, self.organization, run_id)
            for feed, array in ARRAYS.items():
                some = [one for one in documents if ("starts_at" in one) == (feed == "appointment")]
                if some:
                    store.put([Page(feed, array, orjson.dumps({array: some}), len(some))], {})
            return self.bring(run_id, report)
        finally:
            facts: dict[str, Any] = {"status": "done", "counts": {}, "seconds": 0.0}
            retry.in_transaction(self.engine, lambda conn: runs.end_run(conn, run_id, **facts))

    def bring(self, run_id: int, report: Report = silent) -> Counter[str]:
        def poisoned(feed: str, source_id: str, error: Exception) -> None:
            self.poison.append((feed, source_id, type(error).__name__))

        return keep_in_step(
            self.engine,
            self.organization,
            run_id,
            self.clock.clock,
            lambda organization, kind, share: Around(sleep=self.clock.clock.sleep),
            report,
            poisoned,
        )

    def ask(self, query: str, **values: Any) -> list[Any]:
        with self.engine.connect() as conn:
            return list(conn.execute(text(query), values))

    def copy(self, feed: str, number: int) -> str | None:
        rows = self.ask(
            "SELECT remote_id FROM medmirror.sync_base WHERE feed = :feed AND source_id = :id",
            feed=feed,
            id=str(number),
        )
        return rows[0].remote_id if rows else None

    def outcome(self, feed: str, number: int) -> str:
        query = "SELECT outcome FROM medmirror.sync_base WHERE feed = :feed AND source_id = :id"
        return str(self.ask(query, feed=feed, id=str(number))[0].outcome)

    def decide(self, decision: review.Choice) -> None:
        (one,), _ = review.find(self.engine)
        review.decide(self.engine, one["review_id"], decision, by="ann", reason=None, now=self.clock.now())


@pytest.fixture
def settings(dsn: str) -> Settings:
    return replace(Settings.from_environment(environ={}), dsn=dsn)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(START - timedelta(days=30))


@pytest.fixture
def there(clock: SimulatedClock) -> Iterator[FhirServer]:
    with FhirServer(clock.clock) as made:
        yield made


@pytest.fixture
def clinic(engine: Engine, settings: Settings, clock: SimulatedClock, there: FhirServer) -> Clinic:
    return Clinic(engine, settings, clock, {"remote": "fhir", "settings": {"url": there.base}})


def resource(there: FhirServer, kind: str, id: str | None) -> Document:
    found = there.store.read(kind, str(id))
    assert found is not None
    assert found.body is not None
    return found.body


def patients(there: FhirServer) -> list[Document]:
    return [one.body or {} for one in there.store.living("Patient")]


# --- what goes there


def test_new_records_are_made_there_with_their_references(clinic: Clinic, there: FhirServer) -> None:
    counts = clinic.sync(clinic.patient(1), clinic.patient(2), clinic.visit(10, 1, START))
    assert (counts["pushed"], counts["poisoned"]) == (3, 0)
    patient = resource(there, "Patient", clinic.copy("patient", 1))
    assert (patient["name"][0]["family"], patient["gender"]) == (person(1).family, "female")
    visit = resource(there, "Appointment", clinic.copy("appointment", 10))
    assert visit["start"].startswith("2026-03-02T09:00")
    assert visit["status"] == "booked"
    assert [one["actor"]["reference"] for one in visit["participant"]] == [f"Patient/{clinic.copy('patient', 1)}"]


def test_a_second_sync_asks_nothing_and_writes_nothing(clinic: Clinic, there: FhirServer) -> None:
    clinic.sync(clinic.patient(1))
    before = there.http.total
    assert clinic.sync() == Counter()
    assert clinic.sync(clinic.patient(1)) == Counter()  # touched, and it means what it meant
    assert there.http.total == before


def test_a_change_here_is_written_there_and_nothing_else_of_it(clinic: Clinic, there: FhirServer) -> None:
    clinic.sync(clinic.patient(1))
    id = clinic.copy("patient", 1)
    there.store.put({**resource(there, "Patient", id), "maritalStatus": {"coding": [{"code": "M"}]}})
    counts = clinic.sync(clinic.patient(1, email="new@example.org"))
    assert (counts["pushed"], counts["conflicts"]) == (1, 0)  # what they filled in is none of ours
    made = resource(there, "Patient", id)
    assert [one["value"] for one in made["telecom"] if one["system"] == "email"] == ["new@example.org"]
    assert made["maritalStatus"] == {"coding": [{"code": "M"}]}


def test_a_change_there_alone_stays_and_a_change_here_to_the_same_is_then_a_conflict(
    clinic: Clinic, there: FhirServer
) -> None:
    clinic.sync(clinic.patient(1))
    id = clinic.copy("patient", 1)
    theirs = {**resource(there, "Patient", id), "birthDate": "1950-01-01"}
    there.store.put(theirs)
    assert clinic.sync() == Counter()
    assert resource(there, "Patient", id)["birthDate"] == "1950-01-01"
    counts = clinic.sync(clinic.patient(1, email="new@example.org"))
    assert (counts["pushed"], counts["conflicts"]) == (1, 1)
    assert resource(there, "Patient", id)["birthDate"] == str(person(1).birth_date)  # the source comes first


def test_what_is_deleted_here_is_put_away_there(clinic: Clinic, there: FhirServer) -> None:
    clinic.sync(clinic.patient(1), clinic.visit(10, 1, START))
    patient, visit = clinic.held["patient", "1"], clinic.held["appointment", "10"]
    clinic.clock.advance(5)
    gone = iso(clinic.clock.now())
    counts = clinic.sync(
        {**patient, "updated_at": gone, "deleted_at": gone}, {**visit, "updated_at": gone, "deleted_at": gone}
    )
    assert (counts["pushed"], counts["dropped"]) == (2, 2)
    assert resource(there, "Patient", clinic.copy("patient", 1))["active"] is False
    assert resource(there, "Appointment", clinic.copy("appointment", 10))["status"] == "cancelled"
    assert clinic.sync() == Counter()
    clinic.sync(clinic.patient(1, email="back@example.org"))  # it was brought back
    assert "active" not in resource(there, "Patient", clinic.copy("patient", 1))


def test_what_was_deleted_there_is_not_made_again_without_a_persons_word(clinic: Clinic, there: FhirServer) -> None:
    clinic.sync(clinic.patient(1))
    id = clinic.copy("patient", 1)
    there.store.delete("Patient", str(id))
    counts = clinic.sync(clinic.patient(1, email="a@example.org"))
    assert (counts["queued_for_review"], counts["pushed"]) == (1, 0)
    clinic.sync(clinic.patient(1, email="b@example.org"))
    assert patients(there) == []
    assert review.find(clinic.engine)[1] == 1  # the same question is asked once
    clinic.decide("source")
    assert clinic.sync()["made again"] == 1
    assert clinic.copy("patient", 1) != id
    assert len(patients(there)) == 1
    assert review.find(clinic.engine)[1] == 0


def test_a_deletion_there_of_what_nobody_changed_here_is_accepted(clinic: Clinic, there: FhirServer) -> None:
    clinic.sync(clinic.patient(1), clinic.patient(2))
    there.store.delete("Patient", str(clinic.copy("patient", 1)))
    retry.in_transaction(clinic.engine, lambda conn: bases.look_again(conn, "org_1", "cliniko", "patient", "1"))
    assert clinic.sync()["parted"] == 1
    assert clinic.sync() == Counter()
    assert len(patients(there)) == 1


def test_a_destination_that_suddenly_has_nothing_stops_the_sync(clinic: Clinic, there: FhirServer) -> None:
    clinic.sync(*(clinic.patient(number) for number in range(5)))
    for one in there.store.living("Patient"):
        there.store.delete("Patient", one.id)
    changed = [clinic.patient(number, email="x@example.org") for number in range(5)]
    with pytest.raises(RemoteEmptied):
        clinic.sync(*changed)
    clinic.destination["allow_empty"] = True
    assert clinic.sync()["queued_for_review"] == 5


# --- who is there already


def test_a_patient_who_is_there_already_is_not_made_twice(clinic: Clinic, there: FhirServer) -> None:
    """With the same content it is the same one; with other content a person says."""
    for number in (1, 2):
        who = person(number)
        there.store.put({
            "resourceType": "Patient", "id": f"p{number}", "birthDate": str(who.birth_date),
            "name": [{"use": "official", "family": who.family, "given": [who.given]}],
            "gender": "female", "telecom": [{"system": "email", "value": f"{number}@example.org"}],
            "maritalStatus": {"coding": [{"code": "M"}]} if number == 1 else {},
        } | ({"gender": "male"} if number == 2 else {}))  # fmt: skip
    counts = clinic.sync(clinic.patient(1), clinic.patient(2), clinic.visit(20, 2, START))
    assert (counts["agreed"], counts["queued_for_review"], counts["waiting"]) == (1, 1, 1)
    assert clinic.copy("patient", 1) == "p1"
    assert len(patients(there)) == 2
    clinic.decide("destination")
    counts = clinic.sync()
    assert (clinic.copy("patient", 2), resource(there, "Patient", "p2")["gender"]) == ("p2", "male")
    assert (counts["pushed"], counts["waiting"]) == (1, 0)  # the visit that waited for its patient


def test_what_deduplication_joined_is_one_record(clinic: Clinic, there: FhirServer) -> None:
    """The destination is mirrored, too: as this organisation's source fhir."""
    clinic.destination["mirrored"] = True
    there.store.put({"resourceType": "Patient", "id": "p9", "name": [{"family": "Other", "given": ["Name"]}]})
    statement = (
        "INSERT INTO medmirror.sync_mapping (organization_id, source, feed, source_id, entity, canonical_id, own_id,"
        " canonical_hash, run_id)"
        " SELECT 'org_1', 'fhir', 'Patient', 'p9', 'patient', :own, gen_random_uuid(), '\\x00', 0"
    )
    same = {"own": own_id("org_1", "cliniko", "patient", "1")}
    retry.in_transaction(clinic.engine, lambda conn: conn.execute(text(statement), same))
    counts = clinic.sync(clinic.patient(1))
    assert (counts["pushed"], counts["conflicts"], clinic.copy("patient", 1)) == (1, 1, "p9")
    assert [one["name"][0]["family"] for one in patients(there)] == [person(1).family]


def test_two_people_of_one_name_and_birthday_can_be_told_apart(clinic: Clinic, there: FhirServer) -> None:
    clinic.sync(clinic.patient(1))
    there.store.put({**resource(there, "Patient", clinic.copy("patient", 1)), "id": "other", "gender": "male"})
    twin = {**clinic.patient(1), "id": "77", "links": {"self": "https://api.au1.cliniko.com/v1/patients/77"}}
    assert clinic.sync(twin)["queued_for_review"] == 1
    clinic.decide("apart")
    assert clinic.sync()["pushed"] == 1
    assert len(patients(there)) == 3


# --- who claims the same time


@pytest.fixture
def met(clinic: Clinic, there: FhirServer) -> Clinic:
    """A patient with a copy, who has an appointment there that nobody entered here: 9:10 to 9:40."""
    clinic.sync(clinic.patient(1))
    entered(there, "there", str(clinic.copy("patient", 1)), START + timedelta(minutes=10))
    return clinic


def entered(there: FhirServer, id: str, patient: str, start: datetime, minutes: int = 30, **more: Any) -> None:
    who = [{"actor": {"reference": f"Patient/{patient}"}, "status": "accepted"}, *more.pop("others", ())]
    end = start + timedelta(minutes=minutes)
    there.store.put({
        "resourceType": "Appointment", "id": id, "status": "booked", "start": iso(start), "end": iso(end),
        "participant": who, **more,
    })  # fmt: skip


def visits(there: FhirServer) -> dict[str, str]:
    return {one.id: (one.body or {})["start"][11:16] for one in there.store.living("Appointment")}


def test_prioritize_source_overwrites_the_entry_of_that_time(met: Clinic, there: FhirServer) -> None:
    counts = met.sync(met.visit(10, 1, START))
    assert (counts["pushed"], counts["conflicts"]) == (1, 1)
    assert visits(there) == {"there": "09:00"}
    assert met.copy("appointment", 10) == "there"


def test_prioritize_destination_ignores_ours(met: Clinic, there: FhirServer) -> None:
    met.destination["strategy"] = "prioritize_destination"
    counts = met.sync(met.visit(10, 1, START))
    assert (counts["pushed"], counts["ignored"], counts["conflicts"]) == (0, 1, 1)
    assert visits(there) == {"there": "09:10"}


def test_newest_wins_by_the_time_of_change(met: Clinic, there: FhirServer) -> None:
    met.destination["strategy"] = "newest_wins"
    older = met.visit(10, 1, START)
    met.clock.advance(100)
    entered(there, "there", str(met.copy("patient", 1)), START + timedelta(minutes=10))
    assert met.sync(older)["ignored"] == 1
    assert met.sync(met.visit(10, 1, START, notes="newer"))["pushed"] == 1
    assert visits(there) == {"there": "09:00"}


def test_review_waits_and_does_what_a_person_says(met: Clinic, there: FhirServer) -> None:
    met.destination["strategy"] = "review"
    assert met.sync(met.visit(10, 1, START))["queued_for_review"] == 1
    assert visits(there) == {"there": "09:10"}
    met.decide("apart")
    assert met.sync()["pushed"] == 1
    assert sorted(visits(there).values()) == ["09:00", "09:10"]
    assert met.sync() == Counter()


def test_a_word_does_not_hold_for_what_the_person_did_not_see(met: Clinic, there: FhirServer) -> None:
    met.destination["strategy"] = "review"
    met.sync(met.visit(10, 1, START))
    met.decide("source")
    entered(there, "there", str(met.copy("patient", 1)), START + timedelta(minutes=10), description="moved the room")
    assert met.sync()["queued_for_review"] == 1
    assert visits(there) == {"there": "09:10"}
    met.decide("source")
    assert met.sync()["pushed"] == 1
    assert visits(there) == {"there": "09:00"}


def test_another_patient_of_the_same_practitioner_is_never_overwritten(clinic: Clinic, there: FhirServer) -> None:
    clinic.destination["pairs"] = {"practitioner": {"7": "Practitioner/doc"}}
    clinic.sync(clinic.patient(1))
    entered(there, "other", "somebody", START, others=[{"actor": {"reference": "Practitioner/doc"}}])
    link = {"links": {"self": "https://api.au1.cliniko.com/v1/practitioners/7"}}
    counts = clinic.sync(clinic.visit(10, 1, START, practitioner=link))
    assert (counts["pushed"], counts["queued_for_review"]) == (0, 1)
    (one,), _ = review.find(clinic.engine)
    assert one["kind"] == "clash"
    with pytest.raises(UsageError, match="destination, apart"):
        review.decide(clinic.engine, one["review_id"], "source", by="ann", reason=None, now=clinic.clock.now())


@pytest.mark.parametrize(("minutes", "threshold", "conflicts"), [(29, 60, 0), (28, 60, 1), (28, 120, 0)])
def test_an_overlap_up_to_the_threshold_is_none(
    clinic: Clinic, there: FhirServer, minutes: int, threshold: int, conflicts: int
) -> None:
    clinic.destination["threshold_s"] = threshold
    clinic.sync(clinic.patient(1))
    entered(there, "there", str(clinic.copy("patient", 1)), START + timedelta(minutes=minutes))
    assert clinic.sync(clinic.visit(10, 1, START))["conflicts"] == conflicts


def test_a_cancelled_appointment_claims_no_time(met: Clinic, there: FhirServer) -> None:
    cancelled = met.visit(10, 1, START, cancelled_at=iso(START - timedelta(days=1)))
    assert met.sync(cancelled)["conflicts"] == 0
    assert len(visits(there)) == 2


def test_two_of_ours_that_overlap_are_no_conflict_there(clinic: Clinic, there: FhirServer) -> None:
    """The source has it so; copies of its own records are known."""
    counts = clinic.sync(clinic.patient(1), clinic.visit(10, 1, START), clinic.visit(11, 1, START))
    assert (counts["pushed"], counts["conflicts"]) == (3, 0)
    assert clinic.sync(clinic.visit(11, 1, START, notes="x"))["conflicts"] == 0


def test_by_field_both_edits_stand(clinic: Clinic, there: FhirServer) -> None:
    clinic.destination |= {"strategy": "per_field", "fields": {"birth_date": "destination"}}
    clinic.sync(clinic.patient(1))
    id = clinic.copy("patient", 1)
    there.store.put({**resource(there, "Patient", id), "birthDate": "1950-01-01"})
    counts = clinic.sync(clinic.patient(1, date_of_birth="1949-09-09", email="new@example.org"))
    assert (counts["pushed"], counts["conflicts"]) == (1, 1)
    assert resource(there, "Patient", id)["birthDate"] == "1950-01-01"
    clinic.sync(clinic.patient(1, email="newer@example.org"))
    made = resource(there, "Patient", id)
    assert made["birthDate"] == "1950-01-01"  # where it was agreed to differ
    assert [one["value"] for one in made["telecom"]] == ["newer@example.org"]


# --- when things go wrong


class MemorySystem:
    """A practice system in memory that takes FHIR documents: versions, idempotency keys, and failures when it is told
    to. It lists what was changed, and deletes without a trace."""

    source = "fhir"
    capabilities = Capabilities(("Patient", "Appointment"), push=("Patient", "Appointment"), get=True)

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.kept: dict[tuple[str, str], Document] = {}
        self.keys: dict[str, Pushed] = {}
        self.writes: list[tuple[str, str]] = []
        self.count = 0
        self.fail = lambda step: None
        self.refuse: Any = lambda document: False
        self.between: Any = lambda: None

    def now(self) -> int:
        return int(self.clock.now().timestamp() * 1e6)

    def put(self, feed: str, id: str, document: Mapping[str, Any]) -> Pushed:
        self.count += 1
        self.clock.advance(0.001)
        meta = {"versionId": str(self.count), "lastUpdated": iso(self.clock.now())}
        self.kept[feed, id] = {**document, "resourceType": feed, "id": id, "meta": meta}
        return Pushed(id, str(self.count), self.now())

    def _page(self, feed: str, some: list[Document]) -> Page:
        body = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in some]}
        return Page(feed, feed, orjson.dumps(body), len(some), None)

    def changed(self, feed: str, since: Position, until: int) -> Iterator[Page]:
        self.fail("list")
        some = [one for (kind, _), one in self.kept.items() if kind == feed]
        start = iso(datetime.fromtimestamp(since.time / 1e6, UTC)) if since != BEGINNING else ""
        yield self._page(feed, [one for one in some if one["meta"]["lastUpdated"] >= start])

    def window(self, feed: str, start: datetime, end: datetime) -> Iterator[Page]:
        raise UsageError("nothing is listed by time")

    def deleted(self, feed: str, since: int, until: int) -> Iterator[Page]:
        yield from ()

    def get(self, feed: str, id: str) -> Page | None:
        self.fail("get")
        found = self.kept.get((feed, id))
        return None if found is None else self._page(feed, [found])

    def push(
        self, feed: str, document: Mapping[str, Any], *, id: str | None, expected: str | None, idempotency_key: str
    ) -> Pushed:
        self.fail("before")
        self.between()
        if self.refuse(document):
            raise RemoteRefused(status=422)
        if idempotency_key not in self.keys:
            if id is not None:
                held = self.kept.get((feed, id))
                if held is None:
                    raise RemoteRefused(status=410)
                if held["meta"]["versionId"] != expected:
                    raise StaleWrite(feed=feed)
            place = id or f"{feed.lower()}-{self.count}"
            self.writes.append((feed, place))
            self.keys[idempotency_key] = self.put(feed, place, document)
        self.fail("after")
        return self.keys[idempotency_key]

    def close(self) -> None:
        pass


@pytest.fixture
def memory(clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch) -> MemorySystem:
    made = MemorySystem(clock)
    remote: Remote = made
    kind = Kind("memory", {}, lambda organization, settings, secret, around: remote)
    monkeypatch.setattr(remotes, "kind", lambda name: kind)
    return made


@pytest.fixture
def remembered(engine: Engine, settings: Settings, clock: SimulatedClock, memory: MemorySystem) -> Clinic:
    return Clinic(engine, settings, clock, {"remote": "memory"})


def test_one_bad_record_is_set_aside_and_the_others_go_on(remembered: Clinic, memory: MemorySystem) -> None:
    memory.refuse = lambda document: document.get("birthDate") == str(person(3).birth_date)
    counts = remembered.sync(*(remembered.patient(number) for number in range(6)), remembered.visit(10, 3, START))
    assert (counts["pushed"], counts["poisoned"], counts["waiting"]) == (5, 1, 1)
    assert remembered.poison == [("patient", "3", "RemoteRefused")]
    assert remembered.sync()["poisoned"] == 0  # it is not tried again by itself
    memory.refuse = lambda document: False
    retry.in_transaction(remembered.engine, lambda conn: bases.look_again(conn, "org_1", "cliniko", "patient", "3"))
    assert remembered.sync()["pushed"] == 2  # it, and the visit that waited for it


def test_one_copy_that_cannot_be_read_is_set_aside(remembered: Clinic, memory: MemorySystem) -> None:
    remembered.sync(remembered.patient(1), remembered.patient(2))
    bad = str(remembered.copy("patient", 1))
    whole = memory.get

    def get(feed: str, id: str) -> Page | None:
        if id == bad:
            raise RemoteRefused(status=400)
        return whole(feed, id)

    memory.get = get  # type: ignore[method-assign]
    counts = remembered.sync(remembered.patient(1, email="x@y.zz"), remembered.patient(2, email="x@y.zz"))
    assert (counts["pushed"], counts["poisoned"]) == (1, 1)


def test_a_destination_that_refuses_everything_is_no_poison(remembered: Clinic, memory: MemorySystem) -> None:
    memory.refuse = lambda document: True
    with pytest.raises(RemoteRefused):
        remembered.sync(*(remembered.patient(number) for number in range(20)))
    assert remembered.poison == []
    memory.refuse = lambda document: False
    assert remembered.sync()["pushed"] == 20


def test_a_key_that_is_not_accepted_stops_the_sync(remembered: Clinic, memory: MemorySystem) -> None:
    def fail(step: str) -> None:
        if step == "before":
            raise AuthenticationFailed(status=401)

    memory.fail = fail
    with pytest.raises(AuthenticationFailed):
        remembered.sync(remembered.patient(1))
    memory.fail = lambda step: None
    assert remembered.sync()["pushed"] == 1


def test_an_edit_there_between_reading_and_writing_is_seen(remembered: Clinic, memory: MemorySystem) -> None:
    remembered.destination["strategy"] = "prioritize_destination"
    remembered.sync(remembered.patient(1))
    id = str(remembered.copy("patient", 1))

    def between() -> None:
        memory.between = lambda: None
        memory.put("Patient", id, {**memory.kept["Patient", id], "birthDate": "1950-01-01"})

    memory.between = between
    counts = remembered.sync(remembered.patient(1, email="new@example.org"))
    assert (counts["pushed"], counts["ignored"]) == (0, 1)
    assert memory.kept["Patient", id]["birthDate"] == "1950-01-01"


def test_an_answer_that_was_lost_makes_no_second_record(remembered: Clinic, memory: MemorySystem) -> None:
    """Under its key; and without one (as where a system knows no such keys) by its content."""
    for forgets in (False, True):
        number = int(forgets)

        def fail(step: str) -> None:
            if step == "after":
                raise RemoteUnavailable

        memory.fail = fail
        with pytest.raises(RemoteUnavailable):
            remembered.sync(remembered.patient(number))
        memory.fail = lambda step: None
        if forgets:
            memory.keys.clear()
        remembered.sync()
        assert len(memory.kept) == number + 1
        assert remembered.outcome("patient", number) == "agreed"


STEPS = ("destination read", "planned", "pushed", "based")


def test_a_kill_at_any_step_loses_nothing_and_doubles_nothing(remembered: Clinic, memory: MemorySystem) -> None:
    class Killed(BaseException):
        pass

    documents = [*(remembered.patient(number) for number in range(3)), remembered.visit(10, 1, START)]
    reached: list[str] = []
    left = 0

    def report(step: str, progress: dict[str, Any]) -> None:
        reached.append(step)
        if len(reached) > left:
            raise Killed

    while True:
        left = len(reached)
        reached.clear()
        try:
            remembered.sync(*documents, report=report)
        except Killed:
            continue
        break
    assert set(reached) <= set(STEPS)
    assert sorted(feed for feed, _ in memory.writes) == ["Appointment", "Patient", "Patient", "Patient"]
    assert remembered.sync() == Counter()


def test_edits_deletions_and_failures_at_random_end_in_step(remembered: Clinic, memory: MemorySystem) -> None:
    """Whatever happens on both sides: two quiet runs later every copy says what ours says, but where somebody edited it
    last, or deleted it; nothing is there twice, and nothing that was deleted there is there again."""
    rng = random.Random(20260302)
    deleted: set[str] = set()
    edited: set[str] = set()
    for step in range(30):
        number = rng.randrange(6)
        changes = [remembered.patient(number, email=f"{step}@example.org")]
        if rng.random() < 0.2:
            changes[0]["deleted_at"] = changes[0]["updated_at"]
            del remembered.held["patient", str(number)]
        changes.append(remembered.visit(number, number, START + timedelta(hours=number), notes=f"{step}"))
        copies = [id for kind, id in memory.kept if kind == "Patient"]
        if copies and rng.random() < 0.3:
            id = rng.choice(copies)
            memory.put("Patient", id, {**memory.kept["Patient", id], "birthDate": f"19{step % 50 + 10}-01-01"})
            edited.add(id)
        if copies and rng.random() < 0.1:
            id = rng.choice(copies)
            del memory.kept["Patient", id]
            deleted.add(id)

        def fail(step: str, chance: float = rng.choice([0.0, 0.0, 0.3])) -> None:
            if rng.random() < chance:
                raise RemoteUnavailable

        memory.fail = fail
        try:
            remembered.sync(*changes)
        except (RemoteUnavailable, RemoteEmptied):
            continue
    memory.fail = lambda step: None
    remembered.destination["allow_empty"] = True
    remembered.sync()
    quiet = remembered.sync()
    assert (quiet["pushed"], quiet["conflicts"], quiet["poisoned"]) == (0, 0, 0)
    assert not {id for kind, id in memory.kept if kind == "Patient"} & deleted
    rows = remembered.ask("SELECT source_id, remote_id, outcome FROM medmirror.sync_base WHERE feed = 'patient'")
    ids = [row.remote_id for row in rows if row.remote_id is not None]
    assert len(ids) == len(set(ids))
    assert {id for kind, id in memory.kept if kind == "Patient"} <= {*ids}
    for row in rows:
        document = memory.kept.get(("Patient", row.remote_id))
        ours = remembered.held.get(("patient", row.source_id))
        if document is None:
            assert row.outcome in ("review", "parted") or row.remote_id in deleted
        elif ours is not None and row.outcome == "agreed":
            assert [one["value"] for one in document["telecom"]] == [ours["email"]]


# --- Cliniko as the second system


@pytest.fixture
def account(clock: SimulatedClock) -> Account:
    """Another account, with practitioners, businesses and kinds of appointment, and nobody in it."""
    made = Account(clock.clock)
    for kind in ("business", "practitioner", "appointment_type"):
        made.put(kind)
    return made


@pytest.fixture
def second(
    engine: Engine, settings: Settings, clock: SimulatedClock, account: Account, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Clinic]:
    monkeypatch.setenv("SECOND_KEY", clinikoserver.KEY)
    with ClinikoServer(account, clock=clock.clock, limit=None) as server:
        where = {"url": server.url, "user_agent": "medmirror tests (tests@example.org)"}
        pairs = {
            feed: {"7": f"{feed}/{next(iter(account.ids(feed)))}"}
            for feed in ("business", "practitioner", "appointment_type")
        }
        yield Clinic(
            engine,
            settings,
            clock,
            {"remote": "cliniko", "settings": where, "secret": "env:SECOND_KEY", "pairs": pairs, "name": "second"},
        )


def booked(clinic: Clinic, number: int, patient: int, start: datetime, **more: Any) -> Document:
    base = "https://api.au1.cliniko.com/v1"
    arrays = {"business": "businesses", "practitioner": "practitioners", "appointment_type": "appointment_types"}
    links = {feed: {"links": {"self": f"{base}/{array}/7"}} for feed, array in arrays.items()}
    return clinic.visit(number, patient, start, **links, **more)


def test_another_account_of_cliniko_is_kept_in_step(second: Clinic, account: Account) -> None:
    counts = second.sync(second.patient(1), second.patient(2), booked(second, 10, 1, START))
    assert (counts["pushed"], counts["poisoned"]) == (3, 0)
    assert second.sync() == Counter()
    copy = str(second.copy("patient", 1))
    assert second.sync(second.patient(1, occupation="Farmer", email=""))["pushed"] == 1
    fields = account.newest("patient", copy).fields
    assert (fields["occupation"], fields["email"] or None) == ("Farmer", None)
    gone = iso(second.clock.now())
    visit = second.held["appointment", "10"]
    assert second.sync({**visit, "updated_at": gone, "cancelled_at": gone})["pushed"] == 1
    assert account.newest("appointment", str(second.copy("appointment", 10))).cancelled
    account.change("patient", copy, notes="entered there")
    assert second.sync(second.patient(1, occupation="Nurse"))["conflicts"] == 0
    assert account.newest("patient", copy).fields["notes"] == "entered there"


def test_of_a_patient_who_was_deleted_a_person_is_asked_where_nothing_can_say_so(second: Clinic) -> None:
    second.sync(second.patient(1))
    second.clock.advance(5)
    gone = iso(second.clock.now())
    counts = second.sync({**second.held["patient", "1"], "updated_at": gone, "deleted_at": gone})
    assert (counts["pushed"], counts["queued_for_review"]) == (0, 1)
    second.decide("destination")
    assert second.sync()["parted"] == 1


def test_the_time_of_ours_is_read_there_by_window_and_what_claims_it_is_a_conflict(
    second: Clinic, account: Account
) -> None:
    second.sync(second.patient(1))
    patient = str(second.copy("patient", 1))
    starts = int((START + timedelta(minutes=10)).timestamp()) * 1_000_000
    fields = {"patient_id": patient, "ends_at": iso(START + timedelta(minutes=40))}
    id = account.create("appointment", fields, starts)
    counts = second.sync(booked(second, 10, 1, START))
    assert (counts["pushed"], counts["conflicts"]) == (1, 1)
    assert second.copy("appointment", 10) == id
    assert account.newest("appointment", id).starts == int(START.timestamp()) * 1_000_000


# --- a database as the second system


def test_a_practices_database_is_kept_in_step(
    engine: Engine, settings: Settings, clock: SimulatedClock, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'practice.db'}"
    practice = create_engine(url)
    with practice.begin() as conn:
        conn.execute(
            text("CREATE TABLE patients (id integer PRIMARY KEY, family text, born date, room text, edited datetime)")
        )
        conn.execute(
            text(
                "CREATE TABLE medmirror_pushed (idempotency_key varchar(200) PRIMARY KEY, kind varchar(100),"
                " id varchar(400), version varchar(100), time bigint)"
            )
        )
    where = {"url": url, "mapping": TABLE, "push": ["patient"]}
    clinic = Clinic(engine, settings, clock, {"remote": "sql", "settings": where, "entities": ["patient"]})
    clinic.mappings = (TABLE,)
    counts = clinic.sync(clinic.patient(1))
    assert (counts["pushed"], counts["poisoned"]) == (1, 0)
    with practice.begin() as conn:
        conn.execute(text("UPDATE patients SET room = 'blue', edited = '2026-03-01 10:00:00'"))
    assert clinic.sync(clinic.patient(1, last_name="Newzqname"))["pushed"] == 1
    with practice.connect() as conn:
        assert list(conn.execute(text("SELECT family, born, room FROM patients"))) == [
            ("Newzqname", str(person(1).birth_date), "blue")
        ]
    practice.dispose()


TABLE = """
[[table]]
kind = "patient"
name = "patients"
key = ["id"]
updated = "edited"
time_zone = "UTC"
[[mapper]]
source = "sql"
feed = "patient"
entity = "patient"
[mapper.fields]
"names[0].family" = "family"
birth_date = "born"
[mapper.drop]
id = "the key"
edited = "the version"
room = "theirs"
"""

# --- people


def test_conflicts_are_listed_shown_and_decided_by_command(
    met: Clinic, there: FhirServer, monkeypatch: pytest.MonkeyPatch, dsn: str
) -> None:
    met.destination["strategy"] = "review"
    met.sync(met.visit(10, 1, START))
    monkeypatch.setenv("MEDMIRROR_DSN", dsn)
    runner = CliRunner()

    def run(*args: str) -> Any:
        found = runner.invoke(review_command.review, args, standalone_mode=False, catch_exceptions=False)
        return found.return_value.data

    listed = run("list")
    assert (listed["count"], listed["conflicts"][0]["kind"]) == (1, "overlap")
    number = str(listed["conflicts"][0]["review_id"])
    assert "remote_record" not in run("show", number)
    assert run("show", number, "--show-values")["remote_record"]["starts"]["utc"] == "2026-03-02T09:10:00Z"
    assert run("decide", number, "destination", "--by", "ann")["decision"] == "destination"
    met.sync()
    assert run("list")["count"] == 0
    assert run("list", "--state", "any")["conflicts"][0]["state"] == "done"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"strategy": "ai"}, "strategy is one of"),
        ({"entities": ["dentist"]}, "no entity"),
        ({"threshold_s": 5}, "between 10 and 300"),
        ({"two_way": True}, "no setting"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(clinic: Clinic, wrong: dict[str, Any], words: str) -> None:
    clinic.destination |= wrong
    with pytest.raises(UsageError, match=words):
        destination.options_of(clinic.organization)


def test_an_entity_that_the_destination_does_not_know_is_refused(clinic: Clinic, there: FhirServer) -> None:
    clinic.destination["feeds"] = {"patient": "Practitioner"}
    with pytest.raises(UsageError, match="Nothing maps patient to Practitioner"):
        clinic.sync(clinic.patient(1))
