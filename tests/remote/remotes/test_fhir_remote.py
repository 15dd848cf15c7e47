"""A FHIR server read by search: nothing is missed, whatever it does meanwhile; and written to, once."""

from __future__ import annotations

import itertools
import random
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import orjson
import pytest

from fhirpages import items, newest
from medmirror.clock import microseconds
from medmirror.errors import (
    AuthenticationFailed,
    ListingIncomplete,
    MedmirrorError,
    PageExpired,
    RateLimited,
    RemoteRefused,
    RemoteUnavailable,
    StaleWrite,
    UsageError,
)
from medmirror.remotes import fhir
from medmirror.remotes.base import BEGINNING, Around, NoNotes, Page, Position, Remote, Secret
from medmirror.sync import fetch
from medmirror.sync.marks import START as NO_MARK
from medmirror.sync.marks import Mark
from medmirror_testing.samples.fhir_basics import Clinic, Instance, Resource
from medmirror_testing.samples.fhir_records import resource
from medmirror_testing.servers.clock import SimulatedClock
from medmirror_testing.servers.fhirdata import fill
from medmirror_testing.servers.fhirserver import FhirServer
from medmirror_testing.servers.server import LocalServer, Reply, Request, json_reply

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NOW = microseconds(START)
SECOND = 1_000_000


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(START)


@pytest.fixture
def server(clock: SimulatedClock) -> Iterator[FhirServer]:
    with FhirServer(clock.clock) as made:
        yield made


def remote_of(base: str, secret: str | None = None, around: Around | None = None, **settings: Any) -> Remote:
    key = Secret(secret) if secret else None
    return fhir.REMOTE.open("org-1", {"url": base, "count": 5, **settings}, key, around or Around())


@pytest.fixture
def remote(server: FhirServer) -> Iterator[Remote]:
    made = remote_of(server.base)
    yield made
    made.close()


def patient(number: int, revision: int = 0) -> Resource:
    made = resource(Clinic(100), Instance("Patient", number), revision=revision, changed=START)
    return {**made, "id": f"p{number:03d}"}


def add(server: FhirServer, clock: SimulatedClock, count: int, apart: float = 1.0, first: int = 0) -> None:
    """Patients, *apart* seconds from one another; at 0 they all bear one time."""
    for number in range(first, first + count):
        clock.advance(apart)
        server.store.put(patient(number))


def everything(remote: Remote, feed: str = "Patient") -> list[Page]:
    return list(remote.changed(feed, BEGINNING, remote.now()))


def held(server: FhirServer, kind: str = "Patient") -> dict[tuple[str, str], int]:
    return {(one.kind, one.id): one.time for one in server.store.living(kind)}


# --- what was changed


def test_default_types_are_those_that_the_mapping_knows() -> None:
    with files("medmirror").joinpath("mapping/mappers/fhir.toml").open("rb") as file:
        mappers = tomllib.load(file)["mapper"]
    assert set(fhir.TYPES) == {one["feed"] for one in mappers}


def test_everything_of_every_type_is_listed_and_read_by_the_source(server: FhirServer, clock: SimulatedClock) -> None:
    living = fill(server.store, 12)
    remote = remote_of(server.base, types="Organization,Location,Practitioner,PractitionerRole,Patient,Schedule,Slot,"
                       "Appointment,Encounter,Condition,MedicationRequest,Coverage,DocumentReference")  # fmt: skip
    pages = [page for feed in remote.capabilities.feeds for page in everything(remote, feed)]
    found = newest(pages)
    assert len(found) == living > 100
    assert found == {(one.kind, one.id): one.time for one in server.store.living()}


def test_pages_rise_and_say_how_far_they_reach(server: FhirServer, clock: SimulatedClock, remote: Remote) -> None:
    add(server, clock, 23)
    pages = everything(remote)
    times = [item.version for item in items(pages)]
    assert times == sorted(times)
    assert len(times) == len(set(times)) == 23
    assert len(pages) == 6  # of five, the last one of before among them
    for number, page in enumerate(pages):
        assert page.upto is not None
        before = {item.version for item in items(pages[: number + 1])}
        assert {time for time in held(server).values() if time < page.upto.time} <= before


def test_both_bounds_are_part_of_the_list(server: FhirServer, clock: SimulatedClock, remote: Remote) -> None:
    add(server, clock, 20)
    found = newest(remote.changed("Patient", Position(NOW + 5 * SECOND), NOW + 15 * SECOND))
    assert sorted(id for _, id in found) == [f"p{number:03d}" for number in range(4, 15)]


def test_records_keep_the_bytes_that_the_server_wrote() -> None:
    raw = b'{"resourceType":"Coverage","id":"c1","meta":{"lastUpdated":"2026-03-02T08:00:00.000Z"},"cost":1.00}'
    body = b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":' + raw + b"}]}"
    with LocalServer(lambda request: Reply(200, body)) as server:
        (page,) = remote_of(server.url).changed("Coverage", BEGINNING, NOW)
    assert isinstance(page.body, bytes)
    assert raw in page.body


@pytest.mark.parametrize("paging", ["offset", "snapshot"])
def test_records_touched_while_the_list_is_read_hide_no_other(
    server: FhirServer, clock: SimulatedClock, remote: Remote, paging: str
) -> None:
    server.habits.paging = paging  # type: ignore[assignment]
    add(server, clock, 40)
    still = dict(sorted(held(server).items())[20:])
    server.faults.add("touched", times=12)
    until = remote.now()
    clock.advance(60)
    found = newest(remote.changed("Patient", BEGINNING, until))
    assert server.faults.struck["touched"] > 5
    assert still.items() <= found.items()


@pytest.mark.parametrize("totals", [True, False])
@pytest.mark.parametrize("paging", ["offset", "snapshot"])
def test_more_equal_times_than_a_page_holds_are_all_given(
    server: FhirServer, clock: SimulatedClock, remote: Remote, paging: str, totals: bool
) -> None:
    server.habits.paging, server.habits.totals = paging, totals  # type: ignore[assignment]
    add(server, clock, 7)
    add(server, clock, 23, apart=0.0, first=7)
    add(server, clock, 7, first=30)
    assert newest(everything(remote)) == held(server)


@pytest.mark.parametrize("totals", [True, False])
def test_records_that_leave_a_run_of_equal_times_hide_no_other(
    server: FhirServer, clock: SimulatedClock, remote: Remote, totals: bool
) -> None:
    server.habits.paging, server.habits.totals = "offset", totals
    clock.advance(1)
    add(server, clock, 23, apart=0.0)
    until = remote.now()
    clock.advance(60)
    pages = remote.changed("Patient", BEGINNING, until)
    first = next(pages)
    server.store.put(patient(0, 1))  # goes to the end, and shifts the others
    found = newest([first, *pages])
    assert {key for key, time in held(server).items() if time <= until} <= found.keys()


def test_server_that_does_not_sort_is_read_to_its_end_before_anything_is_claimed(
    server: FhirServer, clock: SimulatedClock, remote: Remote
) -> None:
    server.habits.sorts = False
    numbers = list(range(23))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        clock.advance(1)
        server.store.put(patient(number))
    pages = everything(remote)
    assert newest(pages) == held(server)
    assert all(page.upto is None for page in pages)


def test_resources_that_do_not_say_when_they_were_changed_are_as_new_as_the_answer(
    server: FhirServer, clock: SimulatedClock, remote: Remote
) -> None:
    server.store.stamped = False
    add(server, clock, 12)
    pages = everything(remote)
    found = newest(pages)
    assert found.keys() == held(server).keys()
    assert set(found.values()) == {microseconds(clock.now())}
    assert all(page.upto is None for page in pages)


def test_what_a_search_says_of_itself_is_no_record(server: FhirServer, clock: SimulatedClock, remote: Remote) -> None:
    server.habits.outcomes = True
    add(server, clock, 12)
    assert newest(everything(remote)) == held(server)


def test_empty_pages_with_a_link_are_no_end(server: FhirServer, clock: SimulatedClock, remote: Remote) -> None:
    server.habits.empty_pages = 2
    add(server, clock, 12)
    assert newest(everything(remote)) == held(server)


def test_page_token_that_expires_costs_a_pass_and_no_record(
    server: FhirServer, clock: SimulatedClock, remote: Remote
) -> None:
    add(server, clock, 30, apart=0.0)
    server.faults.add("expired", times=2)
    assert newest(everything(remote)) == held(server)
    assert server.faults.struck["expired"] == 2


def test_page_tokens_that_always_expire_are_an_error(server: FhirServer, clock: SimulatedClock, remote: Remote) -> None:
    add(server, clock, 30, apart=0.0)
    server.faults.add("expired")
    with pytest.raises(PageExpired):
        everything(remote)


def _bundle(entries: list[Resource], **more: Any) -> Resource:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in entries], **more}


def _stamped(number: int) -> Resource:
    return {**patient(number), "meta": {"versionId": "1", "lastUpdated": "2026-03-02T08:00:00.000Z"}}


OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "fatal", "code": "exception",
           "diagnostics": patient(7)["name"][0]["family"]}]}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_bundle([_stamped(1)], total=2), ListingIncomplete),
        (_bundle([_stamped(1), OUTCOME]), RemoteUnavailable),
        (OUTCOME, RemoteUnavailable),
        ({**OUTCOME, "issue": [{"severity": "error", "code": "too-costly"}]}, RemoteRefused),
        ({**OUTCOME, "issue": [{"severity": "error", "code": "login"}]}, AuthenticationFailed),
        (_bundle([], link=[{"relation": "next", "url": "https://elsewhere.example.org/fhir/pages/2"}]), RemoteRefused),
        ({"hello": "world"}, RemoteUnavailable),
        ([], RemoteUnavailable),
        ({**_bundle([]), "link": {"relation": "next"}, "meta": [], "entry": [3]}, RemoteUnavailable),
    ],
)
def test_answer_of_200_that_is_no_whole_list_is_an_error_and_not_an_end(
    answer: Any, error: type[MedmirrorError]
) -> None:
    with LocalServer(lambda request: json_reply(answer)) as server, pytest.raises(error):
        list(remote_of(server.url).changed("Patient", BEGINNING, NOW))


def test_totals_that_are_not_exact_can_be_told_to_be_so() -> None:
    with LocalServer(lambda request: json_reply(_bundle([_stamped(1)], total=2))) as server:
        (page,) = remote_of(server.url, totals=False).changed("Patient", BEGINNING, NOW)
    assert page.records == 1


def test_searches_want_no_answer_that_was_kept(server: FhirServer, remote: Remote) -> None:
    everything(remote)
    assert server.http.seen[-1].headers["cache-control"] == "no-cache"


def test_links_that_lead_in_a_circle_are_an_error() -> None:
    def handle(request: Request) -> Reply:
        link = [{"relation": "next", "url": f"http://{request.headers['host']}/?page=1"}]
        return json_reply(_bundle([_stamped(1)], link=link))

    with LocalServer(handle) as server, pytest.raises(ListingIncomplete, match="circle"):
        list(remote_of(server.url).changed("Patient", BEGINNING, NOW))


def test_broken_answers_are_asked_for_again(server: FhirServer, clock: SimulatedClock, remote: Remote) -> None:
    add(server, clock, 12)
    server.faults.add("truncated", times=1)
    server.faults.add("unavailable", times=1)
    server.faults.add("closed", times=1, path="*/Patient")
    assert newest(everything(remote)) == held(server)


def test_limit_is_passed_on_with_its_wait(server: FhirServer, clock: SimulatedClock) -> None:
    told: list[float] = []
    server.faults.add("limited", seconds=17)
    with pytest.raises(RateLimited) as error:
        everything(remote_of(server.base, around=Around(limited=told.append)))
    assert error.value.context["wait"] == 17
    assert told == [17]


@pytest.mark.parametrize("seed", range(6))
def test_hostile_server_loses_nothing_through_the_watermarks(seed: int) -> None:
    clock, rng = SimulatedClock(START), random.Random(seed)
    with FhirServer(clock.clock) as server:
        server.faults.random.seed(seed)
        server.habits.paging = rng.choice(["offset", "snapshot"])  # type: ignore[assignment]
        server.habits.totals = rng.random() < 0.7
        server.faults.add("late", chance=0.2, seconds=200)
        server.faults.add("equal", chance=0.5)
        server.faults.add("touched", chance=0.3)
        server.faults.add("truncated", chance=0.02)
        server.faults.add("expired", chance=0.02)
        remote, stored, marks = remote_of(server.base), list[Page](), dict[str, Mark]()
        for _ in range(12):
            for number in range(rng.randrange(25)):
                clock.advance(rng.choice([0, 0, 0.001, 30]))
                server.store.put(patient(rng.randrange(60), number))
            if rng.random() < 0.3:
                server.store.delete("Patient", f"p{rng.randrange(60):03d}")
            _sync(remote, stored, marks, clock)
        server.faults.calm()
        clock.advance(400)
        _sync(remote, stored, marks, clock)
        assert newest(stored) == held(server)


def _sync(remote: Remote, stored: list[Page], marks: dict[str, Mark], clock: SimulatedClock) -> None:
    """One sync as the engine does it; what breaks off is left to the next one."""
    until, now = remote.now(), microseconds(clock.now())

    def keep(name: str, pages: list[Page], mark: Mark | None) -> Mark | None:
        stored.extend(pages)
        if mark is not None:
            marks[name] = mark
        return mark

    for kind, read in (("changed", fetch.read_changed), ("deleted", fetch.read_deleted)):
        try:
            read(
                remote, "Patient", marks.get(kind, NO_MARK), until, now,
                lambda pages, mark, kind=kind: keep(kind, pages, mark), batch=10,
            )  # type: ignore[misc]  # fmt: skip
        except (RemoteUnavailable, PageExpired, ListingIncomplete):
            continue


# --- what was deleted


def test_deletions_come_out_of_the_history(server: FhirServer, clock: SimulatedClock, remote: Remote) -> None:
    add(server, clock, 12)
    pages = everything(remote)
    since = remote.now()
    for number in (3, 4, 5, 6, 7, 8, 9):
        clock.advance(1)
        server.store.delete("Patient", f"p{number:03d}")
    clock.advance(1)
    server.store.put(patient(5, 1))  # made again: it lives
    until = remote.now()
    clock.advance(5)
    server.store.delete("Patient", "p011")
    gone = list(remote.deleted("Patient", since, until))
    assert {item.key[2] for item in items(gone)} == {f"p{number:03d}" for number in range(3, 10)}
    assert all(item.deleted and since <= item.version <= until for item in items(gone))
    assert [page.upto for page in gone if page.upto] == [Position(until)]  # of the last version before then
    assert list(remote.deleted("Patient", until + 60 * SECOND, until + 90 * SECOND)) == []
    pages += [*gone, *remote.changed("Patient", Position(since), until)]
    assert newest(pages) == held(server) | {("Patient", "p011"): NOW + 12 * SECOND}


def test_history_without_a_deletion_says_how_far_it_reached(
    server: FhirServer, clock: SimulatedClock, remote: Remote
) -> None:
    add(server, clock, 12)
    (page,) = remote.deleted("Patient", 0, NOW + 10 * SECOND)
    assert (page.records, page.upto) == (0, Position(NOW + 10 * SECOND))
    mark = fetch.read_deleted(remote, "Patient", NO_MARK, NOW + 10 * SECOND, NOW, lambda pages, mark: mark).mark
    assert mark.position == Position(NOW + 10 * SECOND)


def test_deletion_without_a_time_does_not_delete_what_was_made_anew() -> None:
    def entry(method: str, id: str) -> Resource:
        return {
            "fullUrl": f"https://fhir.example.org/Patient/{id}",
            "request": {"method": method, "url": f"Patient/{id}"},
        }

    body = {
        "resourceType": "Bundle",
        "type": "history",
        "entry": [entry("PUT", "a"), entry("DELETE", "a"), entry("DELETE", "b")],
    }
    with LocalServer(lambda request: json_reply(body)) as server:
        (page,) = remote_of(server.url).deleted("Patient", 0, NOW)
    assert [item.key[2] for item in items([page])] == ["b"]
    assert items([page])[0].version > NOW - SECOND


@pytest.mark.parametrize("status", [404, 405, 501])
def test_server_without_a_history_is_asked_once_and_remembered(server: FhirServer, status: int) -> None:
    def handle(request: Request) -> Reply:
        return json_reply({}, status) if request.path.endswith("_history") else server.handle(request)

    notes = NoNotes()
    with LocalServer(handle) as without:
        remote = remote_of(without.url + "/fhir", around=Around(notes=notes))
        assert remote.capabilities.deleted == fhir.TYPES
        assert list(remote.deleted("Patient", 0, NOW)) == []
        asked = without.total
        assert remote.capabilities.deleted == ()
        assert list(remote.deleted("Patient", 0, NOW)) == []
        assert remote_of(without.url + "/fhir", around=Around(notes=notes)).capabilities.deleted == ()
        assert without.total == asked


def test_history_that_is_cut_short_is_an_error() -> None:
    body = {"resourceType": "Bundle", "type": "history", "total": 3, "entry": []}
    with LocalServer(lambda request: json_reply(body)) as server, pytest.raises(ListingIncomplete):
        list(remote_of(server.url).deleted("Patient", 0, NOW))


# --- single resources, writes


def test_get_gives_a_page_of_one_or_nothing(server: FhirServer, clock: SimulatedClock, remote: Remote) -> None:
    add(server, clock, 2)
    server.store.delete("Patient", "p001")
    page = remote.get("Patient", "p000")
    assert page is not None
    assert [item.key[1:] for item in items([page])] == [("Patient", "p000")]
    assert remote.get("Patient", "p001") is None
    assert remote.get("Patient", "p002") is None


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("lost", [True, False])
def test_new_record_is_made_once_for_its_key(server: FhirServer, remote: Remote, conditional: bool, lost: bool) -> None:
    server.ways.conditional = conditional
    if lost:
        server.faults.add("lost", times=1, path="*/Patient")
        server.faults.calm("lost")
        server.faults.add("lost", times=2, path="*/Patient")  # the answers to the search and to the write
    made = []
    for _ in range(4):
        try:
            made.append(remote.push("Patient", patient(1), id=None, expected=None, idempotency_key="k1"))
        except RemoteUnavailable:
            assert lost
    assert len(set(made)) == 1
    assert len(server.store.living("Patient")) == 1
    (one,) = server.store.living("Patient")
    assert made[0] == (one.id, "1", one.time)
    assert one.id != "p001"
    other = remote.push("Patient", patient(2), id=None, expected=None, idempotency_key="k2")
    assert other.id != made[0].id


@pytest.mark.parametrize("body", [True, False])
def test_write_goes_onto_the_version_that_was_read(
    server: FhirServer, clock: SimulatedClock, remote: Remote, body: bool
) -> None:
    server.ways.body_on_write = body
    add(server, clock, 1)
    clock.advance(1)
    made = remote.push("Patient", patient(0, 1), id="p000", expected="1", idempotency_key="k1")
    assert (made.id, made.version) == ("p000", "2")
    assert made.time == microseconds(clock.now())
    with pytest.raises(StaleWrite):
        remote.push("Patient", patient(0, 2), id="p000", expected="1", idempotency_key="k2")
    (one,) = server.store.living("Patient")
    assert one.number == 2
    assert one.body is not None
    assert one.body["communication"] == patient(0, 1)["communication"]


@pytest.mark.parametrize("history", [True, False])
def test_same_write_again_says_what_the_first_one_did(
    server: FhirServer, clock: SimulatedClock, remote: Remote, history: bool
) -> None:
    server.ways.history = history
    add(server, clock, 1)
    server.faults.add("lost", times=1, path="*/p000")
    with pytest.raises(RemoteUnavailable):
        remote.push("Patient", patient(0, 1), id="p000", expected="1", idempotency_key="k1")
    again = [remote.push("Patient", patient(0, 1), id="p000", expected="1", idempotency_key="k1") for _ in range(2)]
    assert [one.version for one in again] == ["2", "2"]
    clock.advance(5)
    server.store.put(dict(server.store.living("Patient")[0].body or {}))  # somebody else, and the tag stays
    if history:
        later = remote.push("Patient", patient(0, 1), id="p000", expected="1", idempotency_key="k1")
        assert later == again[0]
    else:
        with pytest.raises(StaleWrite):
            remote.push("Patient", patient(0, 1), id="p000", expected="1", idempotency_key="k1")
    assert server.store.living("Patient")[0].number == 3


def test_write_onto_what_was_deleted_is_stale(server: FhirServer, clock: SimulatedClock, remote: Remote) -> None:
    add(server, clock, 1)
    server.store.delete("Patient", "p000")
    with pytest.raises(StaleWrite):
        remote.push("Patient", patient(0, 1), id="p000", expected="1", idempotency_key="k1")


def test_refused_write_is_no_stale_one(server: FhirServer, clock: SimulatedClock, remote: Remote) -> None:
    add(server, clock, 1)
    with pytest.raises(RemoteRefused) as error:
        remote.push("Patient", {**patient(0), "name": []}, id="p000", expected="1", idempotency_key="k1")
    assert error.value.context["status"] == 422


# --- who may come in, settings


@pytest.mark.parametrize(
    ("auth", "secret", "header"),
    [
        ("bearer", "t0k3n", "Bearer t0k3n"),
        (None, "t0k3n", "Bearer t0k3n"),
        ("basic", "user:pa:ss", "Basic dXNlcjpwYTpzcw=="),
        ("none", None, ""),
    ],
)
def test_key_goes_along_as_the_settings_say(
    server: FhirServer, auth: str | None, secret: str | None, header: str
) -> None:
    server.ways.authorization = header
    settings: Mapping[str, Any] = {} if auth is None else {"auth": auth}
    assert everything(remote_of(server.base, secret, **settings)) == []
    server.ways.authorization = "Bearer another"
    with pytest.raises(AuthenticationFailed) as error:
        everything(remote_of(server.base, secret, **settings))
    assert secret is None or secret not in str(error.value)


def test_smart_backend_service_changes_a_signed_assertion_for_a_token(server: FhirServer) -> None:
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA384
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    asked: list[dict[str, Any]] = []

    def token(request: Request) -> Reply:
        from base64 import urlsafe_b64decode
        from urllib.parse import parse_qsl

        form = dict(parse_qsl(request.body.decode()))
        head, claims, signature = form["client_assertion"].split(".")
        key.public_key().verify(
            urlsafe_b64decode(signature + "=="), f"{head}.{claims}".encode(), padding.PKCS1v15(), SHA384()
        )
        asked.append(orjson.loads(urlsafe_b64decode(claims + "==")))
        server.ways.authorization = f"Bearer token-{len(asked)}"
        return json_reply({"access_token": f"token-{len(asked)}", "token_type": "bearer", "expires_in": 300})

    server.ways.token, server.ways.authorization = token, "Bearer not yet"
    smart = {"auth": "smart", "token_url": f"{server.http.url}/token", "client_id": "mirror", "key_id": "k1"}
    remote = remote_of(server.base, pem, **smart)
    assert everything(remote) == everything(remote) == []
    assert len(asked) == 1
    assert (asked[0]["iss"], asked[0]["sub"], asked[0]["aud"]) == ("mirror", "mirror", smart["token_url"])
    with pytest.raises(UsageError):
        remote_of(server.base, "no key at all", **smart)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": None},
        {"url": "http://fhir.example.org"},
        {"types": "patient"},
        {"types": ["Patient", "Patient"]},
        {"count": 0},
        {"count": "5"},
        {"history": "yes"},
        {"totals": 1},
        {"auth": "bearer"},
        {"auth": "magic"},
        {"auth": "smart"},
        {"colour": "red"},
    ],
)
def test_wrong_settings_are_said_at_once(settings: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError):
        fhir.REMOTE.open("org-1", {"url": "https://fhir.example.org", **settings}, None, Around())


def test_no_request_or_error_names_anybody(server: FhirServer, clock: SimulatedClock, remote: Remote) -> None:
    add(server, clock, 3)
    for page in itertools.chain(everything(remote), remote.deleted("Patient", 0, NOW)):
        assert "127.0.0.1" not in page.name
        assert patient(0)["name"][0]["family"] not in page.name
