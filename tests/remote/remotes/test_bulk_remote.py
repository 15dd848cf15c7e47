"""Bulk Data exports: waited for, taken up again, whole or an error; and their own time as the bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
    StillPreparing,
    UsageError,
)
from medmirror.remotes import bulk
from medmirror.remotes.base import BEGINNING, Around, NoNotes, Page, Position, Remote, Secret
from medmirror.remotes.bulk import files as bulkfiles
from medmirror.remotes.bulk.export import File
from medmirror_testing.samples.fhir_basics import Clinic, Instance, Resource
from medmirror_testing.samples.fhir_records import resource
from medmirror_testing.servers.clock import SimulatedClock
from medmirror_testing.servers.fhirdata import fill
from medmirror_testing.servers.fhirserver import FhirServer
from medmirror_testing.servers.server import LocalServer, Reply, Request

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


class Clinicside:
    """Opens remotes of one organisation, one after the other, as its runs do: with the same notes."""

    def __init__(self, base: str, clock: SimulatedClock) -> None:
        self.base, self.clock, self.notes = base, clock, NoNotes()
        self.waits: list[float] = []
        self.opened: list[Remote] = []

    def open(self, secret: str | None = None, **settings: Any) -> Remote:
        key = Secret(secret) if secret else None
        around = Around(sleep=self._sleep, notes=self.notes)
        self.opened.append(bulk.REMOTE.open("org-1", {"url": self.base, **settings}, key, around))
        return self.opened[-1]

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)


@pytest.fixture
def here(server: FhirServer, clock: SimulatedClock) -> Iterator[Clinicside]:
    made = Clinicside(server.base, clock)
    yield made
    for remote in made.opened:
        remote.close()


def patient(number: int, revision: int = 0) -> Resource:
    made = resource(Clinic(100), Instance("Patient", number), revision=revision, changed=START)
    return {**made, "id": f"p{number:03d}"}


def add(server: FhirServer, clock: SimulatedClock, count: int) -> None:
    for number in range(count):
        clock.advance(1)
        server.store.put(patient(number))


def exported(remote: Remote, since: int = 0) -> list[Page]:
    return list(remote.changed("", Position(since), remote.now()))


def held(server: FhirServer) -> dict[tuple[str, str], int]:
    return {(one.kind, one.id): one.time for one in server.store.living()}


def test_export_holds_everything_up_to_its_own_time(
    server: FhirServer, here: Clinicside, clock: SimulatedClock
) -> None:
    living = fill(server.store, 12)
    server.exporting.per_file = 7
    pages = exported(here.open())
    assert newest(pages) == held(server)
    assert len(held(server)) == living
    assert all(isinstance(page.body, Path) for page in pages[:-1])
    assert [page.upto for page in pages[:-1]] == [None] * (len(pages) - 1)
    assert pages[-1].upto == Position(NOW)  # the clock stood still at the kick-off, and went on while it was waited
    assert microseconds(clock.now()) > NOW
    assert pages[-1].records == 0
    kinds = list(dict.fromkeys(Path(page.name).name.partition(".")[0] for page in pages[:-1]))
    assert kinds.index("Organization") < kinds.index("Practitioner") < kinds.index("Patient")


def test_next_export_holds_what_was_changed_and_deleted_since(
    server: FhirServer, here: Clinicside, clock: SimulatedClock
) -> None:
    add(server, clock, 20)
    clock.advance(1)
    pages = exported(here.open())
    assert pages[-1].upto is not None
    since = pages[-1].upto.time
    for number in range(5):
        clock.advance(1)
        server.store.put(patient(number, 1))
        server.store.delete("Patient", f"p{number + 10:03d}")
    more = exported(here.open(), since)
    assert sum(page.records for page in more) == 10
    assert newest([*pages, *more]) == held(server)
    assert sum(item.deleted for item in items(more)) == 5
    deletions = [page for page in more if page.name.startswith("deleted")]
    assert deletions == more[-2:-1]


def test_what_was_changed_at_the_very_time_is_exported(
    server: FhirServer, here: Clinicside, clock: SimulatedClock
) -> None:
    add(server, clock, 5)
    found = newest(exported(here.open(), NOW + 3 * SECOND))
    assert sorted(id for _, id in found) == ["p002", "p003", "p004"]


def test_short_waits_are_waited_and_long_ones_come_back_later(
    server: FhirServer, here: Clinicside, clock: SimulatedClock
) -> None:
    add(server, clock, 3)
    server.exporting.polls, server.exporting.retry_after = 3, "4"
    assert len(newest(exported(here.open()))) == 3
    assert here.waits == [4, 4, 4]
    server.exporting.retry_after = "120"
    for _ in range(3):
        with pytest.raises(StillPreparing) as error:
            exported(here.open())
        assert error.value.context["wait"] == 120
    assert here.waits == [4, 4, 4]
    assert len(newest(exported(here.open()))) == 3
    assert server.exports.kicked_off == 2


def test_server_that_does_not_say_how_long_is_asked_less_and_less(server: FhirServer, here: Clinicside) -> None:
    server.exporting.polls, server.exporting.retry_after = 100, ""
    with pytest.raises(StillPreparing):
        exported(here.open())
    assert here.waits == [1, 2, 4, 8]


def test_killed_process_takes_the_export_up_again(server: FhirServer, here: Clinicside, clock: SimulatedClock) -> None:
    add(server, clock, 30)
    server.exporting.per_file = 10
    pages = here.open().changed("", BEGINNING, NOW)
    next(pages)  # and then nothing of this process any more
    clock.advance(60)
    server.store.put(patient(50))
    again = exported(here.open())
    assert server.exports.kicked_off == 1
    assert len(newest(again)) == 30
    assert again[-1].upto == Position(NOW + 30 * SECOND)
    assert len(newest(exported(here.open()))) == 31
    assert server.exports.kicked_off == 2


def test_export_from_another_place_makes_the_server_drop_the_first(server: FhirServer, here: Clinicside) -> None:
    server.exporting.retry_after = "600"
    with pytest.raises(StillPreparing):
        exported(here.open())
    with pytest.raises(StillPreparing):
        exported(here.open(), NOW)
    with pytest.raises(StillPreparing):
        exported(here.open(types="Patient"), NOW)
    assert (server.exports.kicked_off, server.exports.kept) == (3, 1)


def test_finished_export_is_deleted_there_and_its_files_stay_until_the_end(
    server: FhirServer, here: Clinicside, clock: SimulatedClock
) -> None:
    add(server, clock, 3)
    remote = here.open()
    pages = exported(remote)
    assert server.exports.kept == 0
    assert len(newest(pages)) == 3
    remote.close()
    assert not any(isinstance(page.body, Path) and page.body.exists() for page in pages)


def test_export_that_the_server_has_lost_is_begun_again(
    server: FhirServer, here: Clinicside, clock: SimulatedClock
) -> None:
    add(server, clock, 3)
    server.exporting.retry_after = "600"
    with pytest.raises(StillPreparing):
        exported(here.open())
    server.exports.forget()
    with pytest.raises(PageExpired):
        exported(here.open())
    server.exporting.polls = 0
    assert len(newest(exported(here.open()))) == 3


@pytest.mark.parametrize("manifest_first", [True, False])
def test_files_that_have_expired_are_exported_anew(
    server: FhirServer, here: Clinicside, clock: SimulatedClock, manifest_first: bool
) -> None:
    add(server, clock, 30)
    server.exporting.expires, server.exporting.per_file, server.exporting.polls = 50, 10, 0
    pages = here.open().changed("", BEGINNING, NOW)
    next(pages)
    asked = server.http.calls["GET /bulk/files/*/*"]
    clock.advance(100)
    with pytest.raises(PageExpired):
        list(here.open().changed("", BEGINNING, NOW) if manifest_first else pages)
    # A manifest says by itself that its files are gone; one that was read before does not.
    assert server.http.calls["GET /bulk/files/*/*"] - asked == (0 if manifest_first else 1)
    assert len(newest(exported(here.open()))) == 30
    assert server.exports.kicked_off == 2


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_file_that_breaks_off_is_fetched_to_its_end(
    server: FhirServer, here: Clinicside, clock: SimulatedClock, ranges: bool, packed: bool
) -> None:
    for number in range(30):
        server.store.put({**patient(number), "text": {"div": f"<p>{'long ' * 20_000}</p>"}})
    server.exporting.ranges, server.exporting.packed = ranges, packed
    server.faults.add("truncated", times=3, path="/bulk/files/*")
    pages = exported(here.open())
    assert newest(pages) == held(server)
    asked = [request.headers.get("range") or "" for request in server.http.seen if "/files/" in request.path]
    assert (len(asked), asked[0]) == (4, "")
    if not packed:
        kept = [int(text.partition("=")[2].partition("-")[0]) for text in asked[1:]]
        assert kept[0] > 1 << 20  # of three million bytes half came
        assert (kept == sorted(set(kept))) == ranges  # each goes on where the one before it broke off


def test_file_that_always_breaks_off_is_an_error(server: FhirServer, here: Clinicside, clock: SimulatedClock) -> None:
    add(server, clock, 10)
    server.exporting.ranges = False
    server.faults.add("truncated", path="/bulk/files/*")
    with pytest.raises(RemoteUnavailable):
        exported(here.open())


def test_file_with_fewer_lines_than_its_manifest_says_is_an_error(
    server: FhirServer, here: Clinicside, clock: SimulatedClock
) -> None:
    add(server, clock, 10)
    server.exporting.miscounts = 1
    with pytest.raises(ListingIncomplete):
        exported(here.open())
    server.exporting.counts = False
    assert len(newest(exported(here.open(types="Patient")))) == 10


def test_errors_of_an_export_are_errors_unless_they_are_allowed(
    server: FhirServer, here: Clinicside, clock: SimulatedClock
) -> None:
    add(server, clock, 4)
    name = patient(7)["name"][0]["family"]
    issues = [{"severity": severity, "code": "exception", "diagnostics": name} for severity in ("error", "warning")]
    server.exporting.errors = [{"resourceType": "OperationOutcome", "issue": issues}]
    with pytest.raises(ListingIncomplete) as error:
        exported(here.open())
    assert error.value.context == {"errors": 1}
    assert server.exports.kept == 0
    assert len(newest(exported(here.open(allow_errors=True)))) == 4
    server.exporting.errors = [{"resourceType": "OperationOutcome", "issue": issues[1:]}]
    assert len(newest(exported(here.open()))) == 4


def test_manifest_in_pages_is_read_to_its_last(server: FhirServer, here: Clinicside, clock: SimulatedClock) -> None:
    add(server, clock, 30)
    server.exporting.per_file, server.exporting.per_manifest = 4, 3
    assert newest(exported(here.open())) == held(server)


def test_limit_while_waiting_keeps_the_export(server: FhirServer, here: Clinicside, clock: SimulatedClock) -> None:
    add(server, clock, 3)
    server.faults.add("limited", times=1, path="/bulk/status/*", seconds=20)
    with pytest.raises(RateLimited) as error:
        exported(here.open())
    assert error.value.context["wait"] == 20
    assert len(newest(exported(here.open()))) == 3
    assert server.exports.kicked_off == 1


def test_export_that_fails_is_given_up_after_a_while(
    server: FhirServer, here: Clinicside, clock: SimulatedClock
) -> None:
    add(server, clock, 3)
    server.exporting.fails = "exception"
    for _ in range(3):
        with pytest.raises(RemoteUnavailable):
            exported(here.open())
    assert (server.exports.kicked_off, server.exports.kept) == (1, 0)
    server.exporting.fails = ""
    assert len(newest(exported(here.open()))) == 3


def test_settings_say_what_is_exported(server: FhirServer, here: Clinicside) -> None:
    fill(server.store, 5)
    assert {kind for kind, _ in newest(exported(here.open(types="Patient,Location")))} == {"Patient", "Location"}
    kinds = {kind for kind, _ in newest(exported(here.open(export="Patient")))}
    assert "Patient" in kinds
    assert "Organization" not in kinds
    assert newest(exported(here.open(export="Group/g-1")))
    asked = [request.path for request in server.http.seen if request.path.endswith("$export")]
    assert asked == ["/fhir/$export", "/fhir/Patient/$export", "/fhir/Group/g-1/$export"]


def test_nothing_changed_is_an_empty_page_with_the_time(server: FhirServer, here: Clinicside) -> None:
    (page,) = exported(here.open(), NOW)
    assert (page.records, page.upto) == (0, Position(NOW))
    assert items([page]) == []


def test_key_goes_to_the_server_alone(server: FhirServer, here: Clinicside, clock: SimulatedClock) -> None:
    add(server, clock, 3)
    server.ways.authorization = "Bearer t0k3n"
    assert len(newest(exported(here.open("t0k3n")))) == 3
    with pytest.raises(AuthenticationFailed):
        exported(here.open("another"))

    def elsewhere(request: Request) -> Reply:
        reply = server.handle(request)
        return reply._replace(body=reply.body.replace(b"/bulk/files/", b"@files.example.org/"))

    with LocalServer(elsewhere, clock=clock.clock) as another:
        there = Clinicside(another.url + "/fhir", clock)
        server.http, kept = another, server.http
        try:
            with pytest.raises(RemoteRefused, match="another place"):
                exported(there.open("t0k3n"))
        finally:
            server.http = kept


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"export": "Patient/1"}, UsageError),
        ({"export": "Group/../1"}, UsageError),
        ({"allow_errors": "no"}, UsageError),
        ({"count": 5}, UsageError),
        ({"types": "patient"}, UsageError),
        ({"url": 5}, UsageError),
    ],
)
def test_wrong_settings_are_said_at_once(settings: Mapping[str, Any], error: type[MedmirrorError]) -> None:
    with pytest.raises(error):
        bulk.REMOTE.open("org-1", {"url": "https://fhir.example.org", **settings}, None, Around())


def test_server_that_does_not_export_is_an_error(clock: SimulatedClock) -> None:
    with (
        LocalServer(lambda request: Reply(200, b"{}"), clock=clock.clock) as server,
        pytest.raises(RemoteRefused, match="did not begin"),
    ):
        exported(Clinicside(server.url, clock).open())


@pytest.mark.parametrize("kind", ["../../x", "A" * 300, "", "Patient\0"])
def test_no_type_of_a_file_becomes_its_name_unless_it_is_a_word(kind: str) -> None:
    assert bulkfiles.name_of(File("output", kind, "https://x.example/1", None), 7) == "Resource.0007.ndjson"
