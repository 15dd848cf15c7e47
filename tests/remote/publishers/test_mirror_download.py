"""Files from a publisher's server: resumed, checked, whole or not there, and never outside of their folder."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from medmirror.errors import RateLimited, RemoteRefused, RemoteUnavailable, SyncError, TruncatedFile, UsageError
from medmirror.publishers.download import Downloads, Wanted
from medmirror.remotes.http import download as httpdownload
from medmirror_testing.servers.clock import SimulatedClock
from medmirror_testing.servers.publishers import FileServer

BODY = bytes(range(256)) * 4_000  # 1 MB
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
START = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as made:
        made.put("/x.gz", BODY)
        yield made


class Place:
    """A folder that files are fetched into, with a time of its own."""

    def __init__(self, server: FileServer, folder: Path) -> None:
        self.server, self.folder, self.time = server, folder, SimulatedClock(START)

    def fetch(self, **more: Any) -> Any:
        wanted = {"url": f"{self.server.url}/x.gz", "name": "x.gz", "sign": "v1", **more}
        with Downloads(self.folder, self.server.url, clock=self.time.clock) as downloads:
            return downloads.fetch(Wanted(**wanted))

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def place(server: FileServer, tmp_path: Path) -> Place:
    return Place(server, tmp_path / "here")


def ranges(server: FileServer) -> list[str | None]:
    return [one.headers.get("range") for one in server.asked("/x.gz")]


def test_a_file_comes_whole_and_is_not_fetched_twice(server: FileServer, place: Place) -> None:
    assert place.fetch().path.read_bytes() == BODY
    assert place.names() == ["x.gz", "x.gz.meta"]
    assert place.fetch().fresh == 0
    assert place.fetch(md5=MD5).fresh == 0
    assert len(server.asked("/x.gz")) == 1
    assert place.fetch(sign="v2").fresh == len(BODY)  # another version


@pytest.mark.parametrize("what", ["truncated", "closed", "unavailable", "limited"])
def test_what_breaks_off_is_taken_up_again(server: FileServer, place: Place, what: Any) -> None:
    server.faults.add(what, times=3, seconds=7)
    assert place.fetch(md5=MD5).path.read_bytes() == BODY
    if what == "truncated":
        assert ranges(server)[0] is None
        assert all(str(one).startswith("bytes=") for one in ranges(server)[1:])
        assert {one.headers["if-range"] for one in server.asked("/x.gz")[1:]} == {server.files["/x.gz"].etag}
    if what == "limited":
        assert place.time.slept == 21  # as Retry-After says


def test_a_part_of_another_version_is_not_gone_on_with(server: FileServer, place: Place) -> None:
    server.faults.add("truncated", times=1)
    other = bytes(reversed(BODY))

    def change(path: str) -> None:
        if len(server.asked("/x.gz")) == 2:
            server.put("/x.gz", other, datetime(2026, 2, 1, tzinfo=UTC))

    server.before = change
    assert place.fetch().path.read_bytes() == other
    assert str(ranges(server)[1]).startswith("bytes=")


def test_without_a_validator_only_a_checksum_lets_it_go_on(server: FileServer, place: Place) -> None:
    server.validators = False
    server.faults.add("truncated", times=1)
    assert place.fetch().path.read_bytes() == BODY
    assert ranges(server) == [None, None]
    server.faults.add("truncated", times=1)
    assert place.fetch(name="y.gz", md5=MD5).path.read_bytes() == BODY
    assert str(ranges(server)[-1]).startswith("bytes=")


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(server: FileServer, place: Place) -> None:
    server.ranges = False
    server.faults.add("truncated", times=2)
    assert place.fetch().path.read_bytes() == BODY


def test_a_part_longer_than_the_file_is_thrown_away(server: FileServer, place: Place) -> None:
    place.folder.mkdir()
    (place.folder / "x.gz.part").write_bytes(BODY + b"more")
    (place.folder / "x.gz.meta").write_text('{"sign": "v1", "last-modified": "Mon, 05 Jan 2026 12:00:00 GMT"}')
    assert place.fetch().path.read_bytes() == BODY
    assert ranges(server) == [f"bytes={len(BODY) + 4}-", None]


def test_a_wrong_checksum_is_fetched_once_more_and_then_refused(server: FileServer, place: Place) -> None:
    with pytest.raises(TruncatedFile, match="MD5"):
        place.fetch(md5="0" * 32)
    assert len(server.asked("/x.gz")) == 2
    assert place.names() == ["x.gz.meta"]  # nothing that anybody could take for the file


def test_it_gives_up_after_some_tries_that_brought_nothing(server: FileServer, place: Place) -> None:
    server.faults.add("unavailable")
    with pytest.raises(RemoteUnavailable):
        place.fetch()
    assert len(server.asked("/x.gz")) == 6


def test_a_long_limit_is_not_waited_out(server: FileServer, place: Place) -> None:
    server.faults.add("limited", seconds=7_200)
    with pytest.raises(RateLimited) as caught:
        place.fetch()
    assert caught.value.context["wait"] == 7_200
    assert place.time.slept == 0


@pytest.mark.parametrize("name", ["../x.gz", "a/b.gz", ".hidden", "", "x.part", "a\\b", "x\0", "x.meta"])
def test_no_name_leads_out_of_the_folder(place: Place, name: str) -> None:
    with pytest.raises(RemoteRefused):
        place.fetch(name=name)


def test_a_link_in_the_place_of_a_file_is_not_written_through(place: Place, tmp_path: Path) -> None:
    place.folder.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (place.folder / "x.gz").symlink_to(victim)
    place.fetch()
    assert victim.read_text() == "mine"
    assert not (place.folder / "x.gz").is_symlink()


def test_other_hosts_and_plain_http_are_not_asked(server: FileServer, place: Place) -> None:
    for url in ("http://127.0.0.1:1/x.gz", "https://example.org/x.gz", server.url.replace("//", "//me:pw@") + "/x.gz"):
        with pytest.raises(RemoteRefused, match="another host"):
            place.fetch(url=url)
    with pytest.raises(UsageError):
        Downloads(place.folder, "http://example.org")


def test_a_full_disk_is_seen_before_it_is_full(
    server: FileServer, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpdownload, "_free", lambda out: httpdownload.SPARE + len(BODY) - 1)
    with pytest.raises(SyncError, match="no room"):
        place.fetch()


def test_a_disk_that_fills_meanwhile_is_seen(server: FileServer, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [1 << 40]
    monkeypatch.setattr(httpdownload, "_EVERY", 100_000)
    monkeypatch.setattr(httpdownload, "_free", lambda out: free.pop() if free else 1000)
    with pytest.raises(SyncError, match="no room"):
        place.fetch()
    assert not (place.folder / "x.gz").exists()


KILLED = """
import sys
from pathlib import Path
from medmirror.publishers.download import Downloads, Wanted
url, folder = sys.argv[1:]
with Downloads(Path(folder), url, got=lambda count: print(count, flush=True)) as downloads:
    downloads.fetch(Wanted(url + "/x.gz", "x.gz", "v1"))
"""


def test_a_download_that_was_killed_goes_on_where_it_was(server: FileServer, place: Place) -> None:
    server.faults.add("truncated", times=1)
    calls = []

    def hold(path: str) -> None:
        calls.append(path)
        if len(calls) == 2:  # half of it is there: the second request waits until the process is gone
            process.send_signal(signal.SIGKILL)
            process.wait()

    server.before = hold
    program = [sys.executable, "-c", KILLED, server.url, str(place.folder)]
    process = Popen(program, env=os.environ, stdout=-3, stderr=-3)
    process.wait(120)
    assert process.returncode == -signal.SIGKILL
    assert place.names() == ["x.gz.meta", "x.gz.part"]
    half = (place.folder / "x.gz.part").stat().st_size
    assert half == len(BODY) // 2
    server.before = lambda path: None
    made = place.fetch()
    assert (made.fresh, made.resumed) == (len(BODY) - half, True)
    assert made.path.read_bytes() == BODY
