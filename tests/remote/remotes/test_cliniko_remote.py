"""Cliniko's own ways: keys and shards, lists of several states, seconds, bulk changes, writes; and a whole life of
it."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from medmirror import sources
from medmirror.clock import microseconds
from medmirror.errors import (
    AuthenticationFailed,
    ListingIncomplete,
    RateLimited,
    RemoteRefused,
    RemoteUnavailable,
    StaleWrite,
    SyncError,
    UsageError,
)
from medmirror.remotes import cliniko
from medmirror.remotes.base import BEGINNING, MICROSECOND, Around, NoNotes, Page, Position, Secret
from medmirror.remotes.cliniko import Cliniko, open_remote, shard
from medmirror.sync import fetch, marks
from medmirror.sync.marks import Mark
from medmirror_testing.samples.people import person
from medmirror_testing.servers.clinikodata import Account
from medmirror_testing.servers.clinikoserver import KEY, ClinikoServer
from medmirror_testing.servers.clock import SimulatedClock
from medmirror_testing.servers.server import LocalServer, Reply, Request, json_reply

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
AGENT = "medmirror tests (tests@example.org)"
FEEDS = list(cliniko._CHANGED)


class Clinic:
    """A local Cliniko with one account, and remotes of it."""

    def __init__(self, server: ClinikoServer, account: Account, clock: SimulatedClock) -> None:
        self.server = server
        self.account = account
        self.clock = clock

    def remote(self, around: Around | None = None, **settings: object) -> Cliniko:
        given = {"url": self.server.url, "user_agent": AGENT, **settings}
        return open_remote("org_1", given, Secret(KEY), around or Around())

    def calls(self) -> int:
        return self.server.http.total


@pytest.fixture
def clinic() -> Iterator[Clinic]:
    clock = SimulatedClock(START)
    account = Account(clock.clock)
    with ClinikoServer(account, clock=clock.clock, limit=None) as server:
        yield Clinic(server, account, clock)


def items(pages: Iterable[Page]) -> list[tuple[str, str, int]]:
    """(feed, id, version) of each record, by the source."""
    source = sources.get("cliniko")
    found = []
    for page in pages:
        assert isinstance(page.body, bytes)
        body = page.body
        given = {"organization": "org_1", "path": page.name}
        context = source.context(page.name, body[: 1 << 16], lambda body=body: io.BytesIO(body), given)  # type: ignore[misc]
        for block in source.split(io.BytesIO(body), {**context, "organization": "org_1"}, 1 << 30, 1 << 26):
            for item in source.items(block.data, 0, {**context, "organization": "org_1"}):  # type: ignore[union-attr]
                found.append((item.feed, str(item.key[-1]), item.version))  # type: ignore[union-attr, arg-type]
    assert len(found) == sum(page.records for page in pages)
    return found


def ids(pages: Iterable[Page]) -> set[str]:
    return {id for _, id, _ in items(list(pages))}


# --- opening


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("MS0xLXg-uk1", "uk1"),
        ("MS0xLXg-au12", "au12"),
        ("MS0xLXg", "au1"),
        ("MS0-xLXg", "au1"),
        ("MS0-x.evil.example-au1.example", "au1"),
        ("MS0-au1/x", "au1"),
        ("", "au1"),
    ],
)
def test_the_shard_stands_at_the_end_of_the_key(key: str, found: str) -> None:
    assert shard(key) == found
    assert repr(open_remote("org_1", {"user_agent": AGENT}, Secret(key), Around())) == (
        f"Cliniko(Http(https://api.{found}.cliniko.com))"
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"user_agent": "nobody"},
        {"user_agent": "(a@example.org)"},
        {"user_agent": "App (a@example.org)\r\nX: y"},
        {"user_agent": AGENT, "feeds": ["patients"]},
        {"user_agent": AGENT, "feeds": []},
        {"user_agent": AGENT, "url": "http://api.example.org/v1"},
        {"user_agent": AGENT, "key": "x"},
    ],
)
def test_settings_that_will_not_do_are_said(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        open_remote("org_1", settings, Secret(KEY), Around())


def test_without_a_key_nothing_is_opened() -> None:
    with pytest.raises(UsageError):
        open_remote("org_1", {"user_agent": AGENT}, None, Around())


def test_the_server_wants_to_know_whom_to_write_to(clinic: Clinic) -> None:
    remote = clinic.remote()
    remote._http._headers = {"User-Agent": "curl/8"}  # what open_remote would refuse
    with pytest.raises(AuthenticationFailed):
        remote.now()


# --- lists


def test_a_sync_without_news_costs_a_call_a_list(clinic: Clinic) -> None:
    clinic.account.fill(patients=120, appointments=150)
    remote = clinic.remote()
    clinic.clock.advance(3600)
    until, before = remote.now(), clinic.calls() - 1
    since = Position(until - 600 * MICROSECOND)
    assert [page for feed in remote.capabilities.feeds for page in remote.changed(feed, since, until)] == []
    assert [page for feed in remote.capabilities.deleted for page in remote.deleted(feed, since.time, until)] == []
    assert clinic.calls() - before == 8  # 5 lists, practitioners who left, 2 of deleted ones; the clock for nothing


@pytest.mark.parametrize("which", [["business", "patient"], ["practitioner", "patient"], ["patient"], FEEDS])
def test_feeds_may_be_chosen(clinic: Clinic, which: list[str]) -> None:
    clinic.account.fill(patients=3, appointments=3)
    for kind in ("attachment", "invoice"):
        clinic.account.put(kind, at=START - timedelta(days=1))
    remote = clinic.remote(feeds=which[::-1])
    assert list(remote.capabilities.feeds) == which  # referenced ones first
    until = remote.now()
    for feed in which:
        found = items(list(remote.changed(feed, BEGINNING, until)))
        assert {(feed, id) for id in clinic.account.ids(feed)} == {(feed, id) for feed, id, _ in found}
    with pytest.raises(UsageError):
        list(remote.changed("attachment" if "attachment" not in which else "webhook", BEGINNING, until))


def test_what_changed_in_the_first_list_is_not_missed_for_the_clock(clinic: Clinic) -> None:
    clinic.account.fill()
    remote = clinic.remote()
    since = Position(remote.now() - 60 * MICROSECOND)
    clinic.clock.advance(100)
    clinic.account.change("business", "2")
    clinic.clock.advance(100)
    assert ids(remote.changed("business", since, remote.now())) == {"2"}
    assert ids(remote.changed("business", BEGINNING, remote.now())) == {"1", "2", "3"}
    assert ids(remote.changed("business", BEGINNING, remote.now())) == {"1", "2", "3"}


def test_cancelled_archived_and_moved_appointments_come_with_the_others(clinic: Clinic) -> None:
    account = clinic.account
    account.fill(patients=5, appointments=6)
    some = sorted(account.ids("appointment"))
    since = Position(microseconds(START))
    clinic.clock.advance(60)
    account.cancel(some[0])
    account.archive("appointment", some[1])
    account.move(some[2], START + timedelta(days=90))
    account.cancel(some[3])
    account.archive("appointment", some[3])
    remote = clinic.remote()
    assert ids(remote.changed("appointment", since, remote.now())) == set(some[:4])
    assert ids(remote.window("appointment", START + timedelta(days=89), START + timedelta(days=91))) == {some[2]}
    assert ids(remote.window("appointment", START - timedelta(days=400), START + timedelta(days=400))) == set(some)
    for id in some:
        page = remote.get("appointment", id)
        assert page is not None
        assert items([page])[0][:2] == ("appointment", id)


def test_practitioners_who_left_come_too(clinic: Clinic) -> None:
    clinic.account.fill()
    since = Position(microseconds(START))
    clinic.clock.advance(60)
    gone = sorted(clinic.account.ids("practitioner"))[4]
    clinic.account.retire(gone)
    remote = clinic.remote()
    assert ids(remote.changed("practitioner", since, remote.now())) == {gone}


def test_a_merged_patient_is_a_deletion_and_the_appointments_are_the_others(clinic: Clinic) -> None:
    account = clinic.account
    account.fill(patients=4, appointments=8)
    clinic.clock.advance(60)
    first, second, *_ = sorted(account.ids("patient"))
    theirs = {
        id for id, one in account.seen("appointment").items() if one.patient == account.newest("patient", first).ordinal
    }
    account.merge(first, second)
    remote = clinic.remote()
    until = remote.now()
    assert [(feed, id) for feed, id, _ in items(list(remote.deleted("patient", 0, until)))] == [("deletion", first)]
    assert ids(remote.changed("appointment", Position(microseconds(START) + 1), until)) == theirs
    assert remote.get("patient", first) is None


def test_the_middle_of_a_second_is_not_lost_to_rounding(clinic: Clinic) -> None:
    some = [clinic.account.put("patient", at=START - timedelta(seconds=10, milliseconds=-100 * n)) for n in range(20)]
    remote = clinic.remote()
    second = microseconds(START) - 10 * MICROSECOND
    assert ids(remote.changed("patient", BEGINNING, second)) == set(some[:10])
    assert ids(remote.changed("patient", Position(second + 700_000), second + 700_000)) == set(some[:10])
    assert ids(remote.changed("patient", Position(second + MICROSECOND), second + MICROSECOND)) == set(some[10:])


@pytest.mark.parametrize("imported", [False, True])
def test_a_bulk_change_is_whole_though_it_is_changed_while_it_is_read(clinic: Clinic, imported: bool) -> None:
    tie = START - timedelta(hours=1)
    made = [microseconds(tie) - (0 if imported else n) * MICROSECOND for n in range(260)]
    some = [clinic.account.put("patient", at=tie, created=time) for time in made[:250]]
    remote = clinic.remote()
    until, met, pages = remote.now(), set(), 0
    for page in remote.changed("patient", BEGINNING, until):
        pages += 1
        met |= ids([page])
        if pages in (2, 4):
            clinic.clock.advance(1)
            clinic.account.change("patient", some[-pages])  # it leaves; those behind it move up by one
            if not imported:  # and another one comes late
                clinic.account.put("patient", at=tie, created=made[-pages])
    assert set(some) - {some[-2], some[-4]} <= met  # who comes late is found in the overlap
    assert pages > 3


def test_a_bulk_import_that_never_rests_is_no_list(clinic: Clinic) -> None:
    tie = START - timedelta(hours=1)
    for _ in range(400):
        clinic.account.put("patient", at=tie)
    remote = clinic.remote()
    until = remote.now()
    with pytest.raises(ListingIncomplete):
        for page in remote.changed("patient", BEGINNING, until):
            assert page.upto in (None, Position(microseconds(tie)))  # nothing of that second is said to be whole
            clinic.clock.advance(1)
            clinic.account.change("patient", clinic.account.between("patient", "updated", 0, microseconds(START))[0].id)


def test_the_limit_of_the_server_is_obeyed_to_the_second(clinic: Clinic) -> None:
    with ClinikoServer(clinic.account, clock=clinic.clock.clock, limit=3) as server:
        remote = clinic.remote(url=server.url)
        clinic.clock.advance(25)
        for _ in range(3):
            remote.now()
        with pytest.raises(RateLimited) as caught:
            remote.now()
        assert caught.value.context["wait"] == 35.0
        clinic.clock.advance(35)
        remote.now()


# --- answers that are none


def _answering(body: Callable[[Request], object]) -> LocalServer:
    def handle(request: Request) -> Reply:
        found = body(request)
        return found if isinstance(found, Reply) else json_reply(found)

    return LocalServer(handle)


def _patients(*times: str, total: object = None, following: str | None = None) -> dict[str, Any]:
    records = [{"id": str(n), "updated_at": time, "date_of_birth": None} for n, time in enumerate(times)]
    links = {"self": "/v1/patients"} | ({"next": following} if following else {})
    return {"patients": records, "total_entries": len(records) if total is None else total, "links": links}


NOON, LATER = "2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"errors": "maintenance"}, RemoteUnavailable),
        ([], RemoteUnavailable),
        (Reply(200, b"<html>hello</html>"), RemoteUnavailable),
        (Reply(200, orjson.dumps(_patients(NOON))[:-20]), RemoteUnavailable),
        (Reply(204), RemoteUnavailable),
        ({"patients": [], "links": {}}, RemoteUnavailable),
        ({"patients": [], "total_entries": 0}, RemoteUnavailable),
        ({"patients": [1], "total_entries": 1, "links": {}}, RemoteUnavailable),
        (_patients(NOON, total=2), ListingIncomplete),
        (_patients(total=2), ListingIncomplete),
        (_patients(total=2, following="http://127.0.0.1/v1"), ListingIncomplete),
        (_patients(LATER, NOON), ListingIncomplete),
        (_patients("2020-01-01T00:00:00Z"), ListingIncomplete),  # the filter was not heeded
        (_patients("2030-01-01T00:00:00Z"), ListingIncomplete),
        (_patients(NOON, NOON, total=3, following="https://evil.example.com/v1/patients?page=2"), RemoteRefused),
    ],
)
def test_what_is_no_whole_page_is_never_the_end(body: object, error: type[SyncError]) -> None:
    with _answering(lambda request: body) as server:
        remote = open_remote("o", {"url": server.url + "/v1", "user_agent": AGENT}, Secret(KEY), Around())
        since = Position(microseconds(datetime(2026, 3, 1, 12, tzinfo=UTC)))
        with pytest.raises(error):
            list(remote.changed("patient", since, microseconds(START)))


def test_links_that_lead_on_and_on_are_not_followed_for_ever() -> None:
    def again(request: Request) -> object:
        onward = f"{server.url}/v1/patients?page={server.total}" if server.total < 500 else None
        return _patients(NOON, NOON, total=5, following=onward)

    with _answering(again) as server:
        remote = open_remote("o", {"url": server.url + "/v1", "user_agent": AGENT}, Secret(KEY), Around())
        with pytest.raises(ListingIncomplete):
            since = Position(microseconds(datetime(2026, 3, 1, 12, tzinfo=UTC)))
            list(remote.changed("patient", since, microseconds(START)))
        assert server.total < 100


def test_a_count_as_text_and_ids_of_any_size_are_taken() -> None:
    big = (1 << 64) + 7
    body = b'{"patients":[%s],"total_entries":"2","links":{}}' % b",".join(
        b'{"id":%d,"updated_at":"%s","links":{"self":"https://x/v1/patients/%d"}}' % (big + n, NOON.encode(), big + n)
        for n in range(2)
    )
    with _answering(lambda request: Reply(200, body)) as server:
        remote = open_remote("o", {"url": server.url + "/v1", "user_agent": AGENT}, Secret(KEY), Around())
        (page,) = remote.changed("patient", BEGINNING, microseconds(START))
        assert page.upto is not None
        assert page.upto.id == str(big + 1)


# --- writes


def _patient(number: int, **fields: object) -> dict[str, object]:
    who = person(number)
    return {"first_name": who.given, "last_name": who.family, **fields}


def test_an_appointment_is_written_with_its_relations_and_cancelled(clinic: Clinic) -> None:
    clinic.account.fill(patients=3)
    remote = clinic.remote()
    patient = min(clinic.account.ids("patient"))
    document = {
        "starts_at": "2026-03-05T10:00:00Z",
        "ends_at": "2026-03-05T10:45:00Z",
        "patient": {"links": {"self": f"https://api.au1.cliniko.com/v1/patients/{patient}"}},
        "practitioner_id": min(clinic.account.ids("practitioner")),
        "business_id": "1",
        "appointment_type_id": "1",
        "patient_name": "is not to be written",
        "cancelled_at": None,
    }
    first = remote.push("appointment", document, id=None, expected=None, idempotency_key="a")
    page = remote.get("appointment", first.id)
    assert page is not None
    held = orjson.loads(page.body)  # type: ignore[arg-type]
    assert held["patient"]["links"]["self"].endswith(f"/patients/{patient}")
    assert (held["starts_at"], held["ends_at"]) == ("2026-03-05T10:00:00Z", "2026-03-05T10:45:00Z")
    clinic.clock.advance(9)
    cancelled = {**document, "cancelled_at": "2026-03-02T09:00:00Z", "cancellation_reason": 30}
    second = remote.push("appointment", cancelled, id=first.id, expected=first.version, idempotency_key="b")
    assert clinic.account.newest("appointment", first.id).cancelled
    assert second.version != first.version


def test_a_write_that_says_what_is_there_already_writes_nothing(clinic: Clinic) -> None:
    remote = clinic.remote()
    document = _patient(1, notes="", email=None)
    first = remote.push("patient", document, id=None, expected=None, idempotency_key="a")
    clinic.clock.advance(9)
    again = remote.push("patient", document, id=first.id, expected="2001-01-01T00:00:00Z", idempotency_key="b")
    assert again == first
    assert clinic.server.http.calls["PATCH /v1/patients/*"] == 0


def test_a_refused_write_is_forgotten_and_may_be_tried_again(clinic: Clinic) -> None:
    notes = NoNotes()
    remote = clinic.remote(Around(notes=notes))
    with pytest.raises(RemoteRefused) as caught:
        remote.push("patient", {"first_name": "", "last_name": "x"}, id=None, expected=None, idempotency_key="a")
    assert caught.value.context["status"] == 422
    assert notes.get("pushed:a") is None
    clinic.server.faults.add("limited", times=1, method="POST")
    with pytest.raises(RateLimited):
        remote.push("patient", _patient(1), id=None, expected=None, idempotency_key="a")
    remote.push("patient", _patient(1), id=None, expected=None, idempotency_key="a")
    assert len(clinic.account.ids("patient")) == 1


def test_a_lost_write_is_not_taken_for_an_older_record_that_looks_alike(clinic: Clinic) -> None:
    remote = clinic.remote()
    older = remote.push("patient", _patient(1), id=None, expected=None, idempotency_key="a")
    clinic.clock.advance(3600)
    clinic.server.faults.add("closed", method="POST")
    with pytest.raises(RemoteUnavailable):
        remote.push("patient", _patient(1), id=None, expected=None, idempotency_key="b")
    clinic.server.faults.calm()
    made = remote.push("patient", _patient(1), id=None, expected=None, idempotency_key="b")
    assert clinic.account.ids("patient") == {older.id, made.id}


def test_a_write_to_a_record_that_is_gone_is_stale(clinic: Clinic) -> None:
    clinic.account.fill(patients=2)
    gone = min(clinic.account.ids("patient"))
    clinic.account.delete("patient", gone)
    with pytest.raises(StaleWrite):
        clinic.remote().push("patient", _patient(1), id=gone, expected=None, idempotency_key="a")
    with pytest.raises(UsageError):
        clinic.remote().push("business", {}, id=None, expected=None, idempotency_key="a")


# --- the server is as the API is documented


@pytest.mark.parametrize(
    ("path", "query", "found"),
    [
        ("patients", "", 8),
        ("patients", "q[]=archived_at:*", 10),
        ("patients", "q[]=archived_at:?", 2),
        ("patients", "q[]=archived_at:!?", 8),
        ("patients/archived", "", 2),
        ("patients/deleted", "", 1),
        ("patients/deleted", "q[]=deleted_at:>2026-03-02T09:00:00Z", 0),
        ("patients", "q[]=id:=1000,1002,7", 2),
        ("patients", "q[]=id:!=1000", 7),
        ("patients", "q[]=last_name:~ZQ", 8),
        ("patients", "q[]=last_name:~~%zq%", 8),
        ("patients", "q[]=last_name:=zq", 0),
        ("patients", "per_page=3&page=3", 8),
        ("patients", "sort=updated_at:desc,created_at", 8),
    ],
)
def test_filters_of_the_server(clinic: Clinic, path: str, query: str, found: int) -> None:
    account = clinic.account
    for n in range(11):
        account.put("patient", at=START - timedelta(hours=20 - n))
    some = [id for id in account.seen("patient") if id not in ("1000", "1002")]
    account.archive("patient", some[0])
    account.archive("patient", some[1])
    account.delete("patient", some[2])
    answer = clinic.remote()._http.get(f"{path}?{query}" if query else path)
    body = answer.json()
    assert int(body["total_entries"]) == found
    if not query.startswith("per_page"):
        assert len(body["patients"]) == found


@pytest.mark.parametrize(
    "target",
    [
        "patients/deleted?q[]=updated_at:>2026-03-02T09:00:00Z",
        "patients?q[]=shoe_size:>1",
        "patients?q[]=updated_at:=2026-03-02T09:00:00Z",
        "patients?q[]=updated_at:>yesterday",
        "patients?sort=shoe_size",
        "patients?page=0",
        "businesses?q[]=archived_at:*",
    ],
)
def test_the_server_refuses_what_the_api_refuses(clinic: Clinic, target: str) -> None:
    with pytest.raises(RemoteRefused) as caught:
        clinic.remote()._http.get(target)
    assert caught.value.context["status"] == 400


def test_links_lead_through_a_list(clinic: Clinic) -> None:
    clinic.account.fill(patients=250, others=False)
    http = clinic.remote()._http
    body = http.get("patients?per_page=100&q[]=archived_at:*").json()
    sizes = [len(body["patients"])]
    while following := body["links"].get("next"):
        body = http.get(following).json()
        assert body["links"]["previous"]
        sizes.append(len(body["patients"]))
    assert sizes == [100, 100, 50]


# --- a life of it


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_lost_in_a_hostile_life(seed: int) -> None:
    """The engine's own reading over a real server: late and equal times, changes while paging, 5xx, cuts."""
    dice = random.Random(seed)
    clock = SimulatedClock(START)
    account = Account(clock.clock, seed=seed)
    account.faults.random.seed(seed)
    account.fill(patients=130, appointments=60)
    known: dict[tuple[str, str], int] = {}
    gone: set[tuple[str, str]] = set()
    held_marks: dict[str, Mark] = {}
    with ClinikoServer(account, clock=clock.clock, limit=None) as server:
        remote = open_remote("o", {"url": server.url, "user_agent": AGENT}, Secret(KEY), Around())
        for what, chance in (("late", 0.3), ("equal", 0.5), ("touched", 0.3), ("unavailable", 0.1), ("truncated", 0.1)):
            server.faults.add(what, chance=chance, seconds=200.0)  # type: ignore[arg-type]
        for _ in range(6):
            _live(account, clock, dice)
            _sync(remote, known, gone, held_marks)
        server.faults.calm()
        clock.advance(900)
        _sync(remote, known, gone, held_marks)
    for kind in ("patient", "appointment", "practitioner", "business"):
        held = {id: time for (feed, id), time in known.items() if feed == kind and (kind, id) not in gone}
        assert held == {id: account.versions(kind)[id] for id in account.ids(kind)}
        assert {id for feed, id in gone if feed == kind} == account.gone(kind)


def _live(account: Account, clock: SimulatedClock, dice: random.Random) -> None:
    for _ in range(dice.randint(5, 25)):
        clock.advance(dice.choice((0.0, 0.3, 1.0, 40.0)))
        patients, appointments = sorted(account.ids("patient")), sorted(account.ids("appointment"))
        match dice.randrange(9):
            case 0:
                account.put("patient")
            case 1:
                account.put("appointment", patient=dice.randrange(100))
            case 2:
                account.cancel(dice.choice(appointments))
            case 3:
                account.archive("patient", dice.choice(patients))
            case 4:
                account.delete("patient", dice.choice(patients))
            case 5:
                account.move(dice.choice(appointments), clock.now() + timedelta(days=dice.randrange(60)))
            case 6:
                account.delete("appointment", dice.choice(appointments))
            case _:
                account.touch(("patient", "appointment", "practitioner", "business"))
    if dice.random() < 0.4:  # a bulk change: more than a page in one second
        for id in sorted(account.ids("patient"))[: dice.choice((99, 100, 101, 125))]:
            account.change("patient", id, at=clock.now())


def _sync(
    remote: Cliniko, known: dict[tuple[str, str], int], gone: set[tuple[str, str]], held: dict[str, Mark]
) -> None:
    """What the engine does with a remote, into *known* and *gone* instead of a database."""

    def store(name: str) -> Callable[[list[Page], Mark | None], Mark | None]:
        def put(pages: list[Page], mark: Mark | None) -> Mark | None:
            for told, id, version in items(pages):
                kind, _, feed = name.partition(" ")
                if kind == "deleted":
                    gone.add((feed, id))
                else:
                    known[told, id] = max(version, known.get((told, id), 0))
            held[name] = mark or held.get(name, marks.START)
            return mark

        return put

    try:
        until = remote.now()
        for feed in remote.capabilities.feeds:
            name = f"changed {feed}"
            fetch.read_changed(remote, feed, held.get(name, marks.START), until, until, store(name))
        for feed in remote.capabilities.deleted:
            name = f"deleted {feed}"
            fetch.read_deleted(remote, feed, held.get(name, marks.START), until, until, store(name))
    except (RemoteUnavailable, ListingIncomplete):
        return  # the next one goes on from the marks
