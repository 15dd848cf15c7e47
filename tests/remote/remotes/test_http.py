"""Requests to a remote: retries, limits, half answers, links that lead elsewhere, and what is said of them."""

from __future__ import annotations

import gzip
import logging
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest

from medmirror.errors import (
    AuthenticationFailed,
    RateLimited,
    RemoteRefused,
    RemoteUnavailable,
    SyncError,
    UsageError,
)
from medmirror.remotes.base import Around, Secret
from medmirror.remotes.http import download as httpdownload
from medmirror.remotes.http import gzip as httpunpack
from medmirror.remotes.http import send as httpsend
from medmirror.remotes.http.answer import shown, wait_of
from medmirror.remotes.http.client import TRIES, Http, basic, bearer
from medmirror.remotes.http.download import Download
from medmirror_testing.servers.clock import SimulatedClock
from medmirror_testing.servers.server import LocalServer, Reply, Request, json_reply

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
KEY = "mzqsecretkey-au1"


class Shop:
    """A server that answers what it is told to, and a client of it."""

    def __init__(self, server: LocalServer, clock: SimulatedClock) -> None:
        self.server = server
        self.clock = clock
        self.limits: list[float] = []
        self.called: list[int] = []
        self.waits: list[float] = []
        self.answer: Callable[[Request], Reply] = lambda request: json_reply({"path": request.path})

    def handle(self, request: Request) -> Reply:
        return self.answer(request)

    def around(self) -> Around:
        return Around(limited=self.limits.append, called=self.called.append, sleep=self.waits.append)

    def http(self, path: str = "/v1", **options: object) -> Http:
        options = {"auth": basic(Secret(KEY)), "timeout": 5.0, **options}
        return Http(self.server.url + path, self.around(), **options)  # type: ignore[arg-type]


@pytest.fixture
def shop() -> Iterator[Shop]:
    clock = SimulatedClock(START)
    made: list[Shop] = []
    with LocalServer(lambda request: made[0].handle(request), clock=clock.clock) as server:
        made.append(Shop(server, clock))
        yield made[0]


def test_get_sends_key_agent_and_query_and_reads_the_remote_clock(shop: Shop) -> None:
    answer = shop.http(user_agent="App (it@example.org)").get("patients", [("q[]", "updated_at:>=x"), ("page", "2")])
    asked = shop.server.seen[-1]
    assert asked.path == "/v1/patients"
    assert asked.query == (("q[]", "updated_at:>=x"), ("page", "2"))
    assert asked.headers["authorization"].startswith("Basic ")
    assert asked.headers["user-agent"] == "App (it@example.org)"
    assert answer.date == int(START.timestamp()) * 1_000_000
    assert answer.json() == {"path": "/v1/patients"}


@pytest.mark.parametrize("what", ["unavailable", "truncated", "closed", "lost"])
def test_what_breaks_off_is_tried_again_with_jitter(shop: Shop, what: str) -> None:
    shop.server.faults.add(what, times=TRIES - 1)  # type: ignore[arg-type]
    assert shop.http().get("patients").json() == {"path": "/v1/patients"}
    assert len(shop.waits) == TRIES - 1
    assert all(0 <= wait <= 4 for wait in shop.waits)
    assert shop.called[-1] == 200


@pytest.mark.parametrize("what", ["unavailable", "truncated", "closed"])
def test_what_stays_broken_is_unavailable_and_never_an_empty_answer(shop: Shop, what: str) -> None:
    shop.server.faults.add(what)  # type: ignore[arg-type]
    with pytest.raises(RemoteUnavailable) as caught:
        shop.http().get("patients/123456", [("q", "name")])
    assert shop.server.total == TRIES
    assert caught.value.context["path"] == "/v1/patients/*"
    assert shop.called == [503 if what == "unavailable" else 0] * TRIES


def test_a_write_is_not_sent_twice(shop: Shop) -> None:
    shop.server.faults.add("lost")
    with pytest.raises(RemoteUnavailable):
        shop.http().post("patients", {"a": 1})
    assert shop.server.calls == {"POST /v1/patients": 1}


def test_a_write_that_never_left_is_tried_again(shop: Shop) -> None:
    shop.server.stop()
    with pytest.raises(RemoteUnavailable):
        shop.http().post("patients", {"a": 1})
    assert len(shop.waits) == TRIES - 1


@pytest.mark.parametrize(("how", "wait"), [("seconds", 42), ("date", 42), ("reset", 42), ("silent", 60)])
def test_a_limit_is_told_and_raised_with_its_wait(shop: Shop, how: str, wait: int) -> None:
    shop.server.faults.skew = 3600.0  # by the remote's own clock, not by ours
    shop.server.faults.add("limited", seconds=42.0, how=how)  # type: ignore[arg-type]
    with pytest.raises(RateLimited) as caught:
        shop.http().get("patients")
    assert caught.value.context["wait"] == wait
    assert shop.limits == [wait]
    assert shop.server.total == 1


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "0"}, 1.0),
        ({"retry-after": "-5"}, 60.0),
        ({"retry-after": "soon"}, 60.0),
        ({"retry-after": "1e9"}, 60.0),
        ({"retry-after": "99999999"}, 86_400.0),
        ({"x-ratelimit-reset": "1"}, 60.0),
        ({"x-ratelimit-reset": "1", "date": "Mon, 02 Mar 2026 09:00:00 GMT"}, 1.0),
        ({"retry-after": "Mon, 02 Mar 2026 09:01:30 GMT", "date": "Mon, 02 Mar 2026 09:00:00 GMT"}, 90.0),
    ],
)
def test_odd_limits_are_bounded(headers: dict[str, str], wait: float) -> None:
    assert wait_of(headers) == wait


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, RemoteRefused), (404, RemoteRefused), (401, AuthenticationFailed), (403, AuthenticationFailed)],
)
def test_what_is_refused_is_not_tried_again(shop: Shop, status: int, error: type[SyncError]) -> None:
    shop.answer = lambda request: json_reply({"message": "no"}, status)
    with pytest.raises(error) as caught:
        shop.http().get("patients")
    assert caught.value.context == {"status": status, "path": "/v1/patients"}
    assert shop.server.total == 1


@pytest.mark.parametrize(
    "link", ["https://api.example.com/v1/patients", "http://127.0.0.1:1/v1", "http://u:p@{host}/v1"]
)
def test_links_that_lead_elsewhere_are_not_followed(shop: Shop, link: str) -> None:
    host = shop.server.url.removeprefix("http://")
    with pytest.raises(RemoteRefused):
        shop.http().get(link.format(host=host))
    assert shop.server.total == 0


def test_links_of_the_remote_itself_are_followed(shop: Shop) -> None:
    assert shop.http().get(shop.server.url + "/v1/patients?page=2").status == 200
    assert shop.server.seen[-1].query == (("page", "2"),)


def test_redirects_are_refused(shop: Shop) -> None:
    aliases = {"/v1/old": "/v1/new", "/v1/away": "https://api.example.com/v1/new"}
    shop.answer = lambda request: (
        Reply(301, headers={"Location": aliases[request.path]}) if request.path in aliases else json_reply({})
    )
    with pytest.raises(RemoteRefused):
        shop.http().get("old")
    with pytest.raises(RemoteRefused):
        shop.http().get("away")


def test_a_body_larger_than_expected_is_refused(shop: Shop) -> None:
    shop.answer = lambda request: Reply(200, b"x" * 5000)
    with pytest.raises(RemoteRefused):
        shop.http(most=4999).get("patients")
    assert len(shop.http(most=5000).get("patients").body) == 5000


def test_a_download_that_broke_off_is_whole_in_the_end(shop: Shop) -> None:
    body = bytes(range(256)) * 4000
    shop.answer = lambda request: Reply(200, body)
    shop.server.faults.add("truncated", times=1)
    out = BytesIO(b"before")
    out.seek(6)
    shop.http().download("file", Download(out))
    assert out.getvalue() == b"before" + body


def test_a_download_goes_on_where_it_broke_off(shop: Shop) -> None:
    body = bytes(range(256)) * 4000

    def answer(request: Request) -> Reply:
        start = int(request.headers.get("range", "bytes=0-")[6:-1])
        place = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        return Reply(206 if start else 200, body[start:], {"ETag": '"7"', **place})

    shop.answer = answer
    shop.server.faults.add("truncated", times=2)
    out = BytesIO()
    shop.http().download("file", Download(out))
    assert out.getvalue() == body
    half = len(body) // 2
    asked = [(request.headers.get("range"), request.headers.get("if-range")) for request in shop.server.seen]
    assert asked == [(None, None), (f"bytes={half}-", '"7"'), (f"bytes={half + half // 2}-", '"7"')]


def test_another_part_than_was_asked_for_is_not_kept(shop: Shop) -> None:
    shop.answer = lambda request: (
        Reply(206, b"cd", {"Content-Range": "bytes 2-3/4"}) if "range" in request.headers else Reply(200, b"abcd")
    )
    out = BytesIO(b"a")
    shop.http().download("file", Download(out, checked=True))
    assert out.getvalue() == b"abcd"
    assert [request.headers.get("range") for request in shop.server.seen] == ["bytes=1-", None]


def test_a_download_that_comes_no_further_is_given_up(shop: Shop) -> None:
    shop.answer = lambda request: Reply(200, b"x" * 1000)
    shop.server.faults.add("truncated")
    with pytest.raises(RemoteUnavailable):
        shop.http().download("file", Download(BytesIO(), checked=True))
    assert shop.server.total == 6


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_holds_no_file_is_no_download(shop: Shop, status: int) -> None:
    shop.answer = lambda request: Reply(status)
    with pytest.raises(RemoteRefused, match="no file"):
        shop.http().download("file", Download(BytesIO()))


def test_a_download_leaves_room_on_the_disk(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpdownload, "SPARE", 1 << 62)
    shop.answer = lambda request: Reply(200, b"x" * 100_000)
    with (tmp_path / "file").open("wb") as out, pytest.raises(SyncError, match="no room"):
        shop.http().download("file", Download(out))
    assert (tmp_path / "file").stat().st_size == 0


def test_what_is_no_json_is_no_answer(shop: Shop) -> None:
    shop.answer = lambda request: Reply(200, b"<html>maintenance</html>")
    with pytest.raises(RemoteUnavailable):
        shop.http().get("patients").json()


def test_a_slow_remote_is_given_up(shop: Shop) -> None:
    shop.server.faults.add("slow", seconds=1.0)
    with pytest.raises(RemoteUnavailable):
        shop.http(timeout=0.05).get("patients")
    assert shop.called == [0] * TRIES


def test_a_body_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpsend, "_LONGEST", 0.3)
    bytes_ = 250  # at 20 ms each: it would end by itself, much later
    ended: list[bool] = []

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % bytes_)
            for _ in range(bytes_):
                connection.sendall(b"1")
                time.sleep(0.02)
            ended.append(True)

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as threads:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threads.submit(drip, listening.accept()[0])

        threads.submit(accept)
        http = Http(f"http://127.0.0.1:{listening.getsockname()[1]}", Around(sleep=lambda wait: None), timeout=5.0)
        try:
            with pytest.raises(RemoteUnavailable):
                http.get("patients")
        finally:
            http.close()
            listening.shutdown(socket.SHUT_RDWR)
    assert not ended


def test_a_body_is_unpacked_as_it_was_asked_for(shop: Shop) -> None:
    body = gzip.compress(b'{"a":') + gzip.compress(b"1}") + bytes(8)  # members, and padding
    shop.answer = lambda request: Reply(200, body, {"Content-Encoding": "gzip"})
    assert shop.http().get("patients").json() == {"a": 1}
    assert shop.server.seen[-1].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(64 << 20)))),  # few bytes that would fill the memory
        ("deflate", zlib.compress(b"{}")),  # nobody asked for it
        ("gzip", gzip.compress(b'{"a": 1}')[:-9]),  # ends too early
        ("gzip", b"{}"),
    ],
    ids=["a bomb", "not asked for", "cut off", "no gzip"],  # a name of its own bytes holds the time it was packed at
)
def test_a_body_in_another_encoding_is_no_answer(shop: Shop, encoding: str, body: bytes) -> None:
    shop.answer = lambda request: Reply(200, body, {"Content-Encoding": encoding})
    with pytest.raises(RemoteUnavailable):
        shop.http().get("patients")


def test_what_is_unpacked_comes_in_pieces_however_much_it_is() -> None:
    packed = gzip.compress(bytes(20 << 20))
    sizes = [len(piece) for piece in httpunpack.unpacked(iter([packed]), "gzip")]
    assert (sum(sizes), max(sizes)) == (20 << 20, 1 << 20)


def test_a_permit_that_is_refused_sends_nothing(shop: Shop) -> None:
    def permit() -> None:
        raise RateLimited(wait=9)

    http = Http(shop.server.url, Around(permit=permit))
    with pytest.raises(RateLimited):
        http.get("patients")
    assert shop.server.total == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1",
        "ftp://127.0.0.1/",
        "https://u:p@api.example.com",
        "https:///x",
        "api",
        "https://a/?q=1",
    ],
)
def test_addresses_that_would_give_the_key_away_are_refused(url: str) -> None:
    with pytest.raises(UsageError):
        Http(url, Around())


def test_no_key_query_id_or_body_is_ever_said(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    http = shop.http(auth=bearer(Secret(KEY)))
    said = [repr(http), repr(http.get("patients/77123", [("q[]", "last_name:=Bergzqson")]))]
    for status in (400, 401, 404, 429, 500):
        shop.answer = lambda request, status=status: json_reply({"message": "Bergzqson"}, status)  # type: ignore[misc]
        with pytest.raises(SyncError) as caught:
            http.get("patients/77123", [("q[]", "last_name:=Bergzqson")])
        said += [str(caught.value), repr(caught.value), repr(caught.value.__context__)]
    said += [record.getMessage() for record in caplog.records]
    for secret in (KEY, "Bergzqson", "77123", "last_name"):
        assert not any(secret in text for text in said)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/patients/12/appointments", "/v1/patients/*/appointments"),
        ("/v1/patients/deleted", "/v1/patients/deleted"),
        ("/fhir/Patient/alice", "/fhir/Patient/*"),
        ("/fhir/Patient/$export", "/fhir/Patient/$export"),
        ("/fhir/Group/everybody/$export", "/fhir/Group/*/$export"),
        ("/files/9f1c-22", "/files/*"),
    ],
)
def test_ids_in_a_path_are_not_shown(path: str, told: str) -> None:
    assert shown(path) == told
