"""FHIR servers with habits of their own: links, parameters, types and tokens as real ones have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from medmirror.errors import AuthenticationFailed, RemoteRefused
from medmirror.remotes import fhir
from medmirror.remotes.base import BEGINNING, Around, Position, Remote, Secret
from medmirror_testing.servers.server import LocalServer, Reply, Request, json_reply

PATIENTS = 12
LATE = 2_000_000_000_000_000
MOMENT = "2026-05-01T00:00:00.000Z"


class Habits:
    """A server of patients that were all changed at one moment, so that links are needed, three a page."""

    def __init__(self) -> None:
        self.link = "BASE/Patient?"  # what a link begins with
        self.strict = False  # refuses _total
        self.lacks: dict[str, int] = {}  # type -> status
        self.tokens: list[str] = []  # given out
        self.uses = 0  # how often each may be used; 0: no token is wanted
        self.life: Any = 3600
        self.asked: list[str] = []
        self.base = ""

    def handle(self, request: Request) -> Reply:
        path = request.path
        if path == "/token":
            self.tokens.append(f"t{len(self.tokens)}")
            self.left = self.uses
            return json_reply({"access_token": self.tokens[-1], "expires_in": self.life})
        self.asked.append(path)
        if self.uses:
            good = self.tokens and request.headers.get("authorization") == f"Bearer {self.tokens[-1]}"
            self.left -= 1
            if not good or self.left < 0:
                return json_reply({"resourceType": "OperationOutcome", "issue": []}, 401)
        kind = path.removeprefix("/fhir").strip("/").split("/")[0] or "Patient"
        if kind in self.lacks:
            return json_reply({"resourceType": "OperationOutcome", "issue": []}, self.lacks[kind])
        if self.strict and request.value("_total"):
            return json_reply({"resourceType": "OperationOutcome", "issue": []}, 400)
        if kind != "Patient" or path.endswith("_history"):
            return json_reply({"resourceType": "Bundle", "type": "searchset", "total": 0})
        start = int(request.value("_off", "0"))
        meta = {"versionId": "1", "lastUpdated": MOMENT}
        shown = range(start, min(start + 3, PATIENTS))
        entries = [{"resource": {"resourceType": "Patient", "id": f"p{n}", "meta": meta}} for n in shown]
        links = [{"relation": "next", "url": f"{self.link.replace('BASE', self.base)}_off={start + 3}"}]
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": PATIENTS, "entry": entries}
        return json_reply({**bundle, "link": links if start + 3 < PATIENTS else []})


@pytest.fixture
def habits() -> Iterator[Habits]:
    made = Habits()
    with LocalServer(made.handle) as server:
        made.base = f"{server.url}/fhir"
        yield made


def opened(habits: Habits, secret: str | None = None, around: Around | None = None, **settings: Any) -> Remote:
    given = {"url": habits.base, "count": 3, "types": "Patient", **settings}
    return fhir.REMOTE.open("org-1", given, Secret(secret) if secret else None, around or Around())


def listed(remote: Remote, feed: str = "Patient") -> int:
    return sum(page.records for page in remote.changed(feed, BEGINNING, LATE))


@pytest.mark.parametrize("link", [
    "BASE/Patient?", "/fhir/Patient?", "Patient?", "?", "http://hapi.internal:8080/fhir/Patient?",
    "https://other.example.org/base/r4/Patient?", "//inner/fhir/Patient?", "http://hapi.internal:8080/fhir?_getpages=x&",
    "BASE?_getpages=x&", "http://user@127.0.0.1/fhir/Patient?",
])  # fmt: skip
def test_a_link_is_followed_however_it_is_written_and_never_elsewhere(habits: Habits, link: str) -> None:
    habits.link = link
    assert listed(opened(habits)) == PATIENTS
    assert set(habits.asked) <= {"/fhir/Patient", "/fhir"}


def test_a_link_to_another_host_that_is_no_search_says_what_to_set(habits: Habits) -> None:
    habits.link = "http://hapi.internal:8080/pages/2#"
    with pytest.raises(RemoteRefused, match="setting url") as caught:
        listed(opened(habits))
    assert caught.value.context["host"] == "hapi.internal:8080"


def test_a_server_that_refuses_what_it_does_not_know_is_not_asked_for_totals(habits: Habits) -> None:
    habits.strict = True
    assert listed(opened(habits, totals=False)) == PATIENTS
    with pytest.raises(RemoteRefused):
        listed(opened(habits))


@pytest.mark.parametrize("status", [403, 404, 405])
def test_types_that_the_server_does_not_give_are_left_out_and_named(habits: Habits, status: int) -> None:
    habits.lacks = {"Organization": status, "Coverage": status}
    lacking: list[str] = []
    remote = opened(habits, around=Around(lacking=lacking.append), types="Organization,Patient,Coverage")
    assert remote.now()
    assert [listed(remote, feed) for feed in ("Organization", "Patient", "Coverage")] == [0, PATIENTS, 0]
    assert list(remote.deleted("Coverage", 0, LATE)) == []
    assert lacking == ["Organization", "Coverage"]


@pytest.mark.parametrize(("status", "error"), [(403, AuthenticationFailed), (404, RemoteRefused)])
def test_a_type_that_was_given_before_does_not_end_without_a_word(
    habits: Habits, status: int, error: type[Exception]
) -> None:
    habits.lacks = {"Patient": status}
    with pytest.raises(error):
        list(opened(habits).changed("Patient", Position(1), LATE))
    with pytest.raises(error):  # nor is a server that gives nothing at all an empty one
        opened(habits).now()


@pytest.fixture(scope="module")
def key() -> str:
    made = rsa.generate_private_key(65537, 2048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(("uses", "life"), [(2, 3600), (100, "2"), (100, 2), (100, None), (100, "soon"), (3, "3600")])
def test_a_token_that_ends_early_is_changed_once_for_a_new_one(habits: Habits, key: str, uses: int, life: Any) -> None:
    habits.uses, habits.life = uses, life
    smart = {"auth": "smart", "token_url": habits.base.replace("/fhir", "/token"), "client_id": "mirror"}
    assert listed(opened(habits, key, **smart)) == PATIENTS
    assert (len(habits.tokens) == 1) == (uses == 100)


def test_a_key_that_is_refused_again_with_a_new_token_is_refused(habits: Habits, key: str) -> None:
    habits.uses = 1
    habits.lacks = {"Patient": 401}
    smart = {"auth": "smart", "token_url": habits.base.replace("/fhir", "/token"), "client_id": "mirror"}
    with pytest.raises(AuthenticationFailed):
        listed(opened(habits, key, **smart))
    assert len(habits.tokens) == 2
