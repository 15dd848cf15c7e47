"""openFDA mirrored from a local server: the manifest, partitions of one export, records that vanish."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from medmirror.errors import LayoutChanged, ListingIncomplete, RemoteRefused, UsageError
from medmirror_testing.servers.clock import SimulatedClock
from medmirror_testing.servers.fdaserver import FdaServer
from publishing import Mirror


@pytest.fixture
def fda() -> Iterator[FdaServer]:
    """Products in two partitions, labels in one."""
    with FdaServer() as made:
        made.export("drug/ndc", "2026-01-10", [4, 3])
        made.export("drug/label", "2026-01-10", [3])
        yield made


@pytest.fixture
def mirror(fda: FdaServer, dsn: str, tmp_path: Path) -> Iterator[Mirror]:
    mirrored = Mirror("openfda", fda.url, dsn, tmp_path / "here", SimulatedClock(datetime(2026, 1, 20, tzinfo=UTC)))
    yield mirrored
    assert mirrored.books_are_right()


def count(mirror: Mirror, feed: str) -> int:
    return int(mirror.ask(f"SELECT count(*) FROM openfda.{feed} WHERE NOT deleted")[0][0])  # noqa: S608


def test_what_was_exported_anew_is_fetched_and_nothing_else(fda: FdaServer, mirror: Mirror) -> None:
    made = mirror.run()
    assert (made.status, made.files, made.inserted) == ("done", 3, 10)
    assert mirror.files() == []
    before = fda.server.total
    assert mirror.run().status == "nothing new"
    assert fda.server.total == before + 1
    assert "if-none-match" in fda.asked("/download.json")[-1].headers
    fda.export("drug/label", "2026-01-17", [3], change=1.0)
    made = mirror.run()
    assert made.new == ["drug/label of 2026-01-17"]
    assert (made.updated, made.vanished) == (3, {"label": 0})
    assert mirror.books_are_right()


def test_endpoints_can_be_chosen(mirror: Mirror) -> None:
    assert mirror.run(only=("drug/label",)).new == ["drug/label of 2026-01-10"]
    assert mirror.run().new == ["drug/ndc of 2026-01-10"]  # the others are still to come
    assert mirror.run(since="2026-01-11").new == []
    with pytest.raises(UsageError, match="no endpoint"):
        mirror.run(only=("drug/nothing",))
    with pytest.raises(LayoutChanged, match="no endpoint"):
        mirror.run(only=("drug/event",), since="all")


def test_records_that_vanish_are_counted_and_buried_on_request(fda: FdaServer, mirror: Mirror) -> None:
    mirror.run()
    fda.export("drug/ndc", "2026-01-17", [3, 3], first=1)
    made = mirror.run()
    assert (made.vanished, count(mirror, "ndc")) == ({"ndc": 1}, 7)
    fda.export("drug/ndc", "2026-01-18", [5], first=2)
    made = mirror.run(tombstones=True)
    assert (made.vanished, made.tombstoned, count(mirror, "ndc")) == ({"ndc": 2, "label": 0}, 2, 5)
    assert mirror.books_are_right()
    fda.export("drug/ndc", "2026-01-19", [7])
    mirror.run()
    assert count(mirror, "ndc") == 7  # they are back


def test_what_has_vanished_is_buried_after_the_fact_and_nothing_is_fetched_for_it(
    fda: FdaServer, mirror: Mirror
) -> None:
    mirror.run()
    fda.export("drug/ndc", "2026-01-17", [3, 3], first=1)
    mirror.run()
    made = mirror.run(tombstones=True)
    assert (made.vanished["ndc"], made.tombstoned, made.files) == (1, 1, 0)
    assert count(mirror, "ndc") == 6
    made = mirror.run(tombstones=True)
    assert (made.status, made.tombstoned, made.files) == ("nothing new", 0, 0)
    assert mirror.books_are_right()


def test_a_record_whose_newer_version_was_taken_back_has_not_vanished(fda: FdaServer, mirror: Mirror) -> None:
    fda.export("drug/label", "2026-01-11", [3], change=1.0)  # later versions of all
    mirror.run(only=("drug/label",))
    fda.export("drug/label", "2026-01-17", [3])  # the earlier ones again
    made = mirror.run(only=("drug/label",), tombstones=True)
    assert (made.duplicate, made.vanished, count(mirror, "label")) == (3, {"label": 0}, 3)


def test_nothing_is_buried_when_a_record_could_not_be_loaded(fda: FdaServer, mirror: Mirror) -> None:
    mirror.run()
    (path,) = fda.export("drug/ndc", "2026-01-17", [6])
    body = fda.files[path].body
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        name = archive.namelist()[0]
        text = orjson.loads(archive.read(name))
    text["results"][2]["product_id"] = None
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, orjson.dumps(text))
    fda.put(path, out.getvalue())
    made = mirror.run(tombstones=True)
    assert (made.exit_code, made.tombstoned, count(mirror, "ndc")) == (3, 0, 7)
    assert any("Nothing of drug/ndc was buried" in note for note in made.notes)


def test_partitions_that_do_not_hold_what_the_manifest_says_are_not_believed(fda: FdaServer, mirror: Mirror) -> None:
    fda.exports["drug/ndc"]["partitions"][0]["records"] = 5
    fda.publish()
    with pytest.raises(ListingIncomplete, match="add up"):
        mirror.run()
    fda.exports["drug/ndc"]["total_records"] = 8
    fda.publish()
    with pytest.raises(ListingIncomplete, match="holds 4 records, not 5"):
        mirror.run()
    assert mirror.ask("SELECT list FROM medmirror.mirror_mark") in ([], [("drug/label",)])


def test_an_export_that_changes_between_manifest_and_download_is_begun_again(fda: FdaServer, mirror: Mirror) -> None:
    done: list[str] = []

    def change(path: str) -> None:
        if path.endswith("drug-ndc-0002-of-0002.json.zip") and not done:
            done.append(path)
            fda.export("drug/ndc", "2026-01-17", [4, 4], change=1.0)

    fda.before = change
    made = mirror.run(only=("drug/ndc",))
    assert made.marks == {"drug/ndc": "2026-01-17"}
    assert any("exported anew while" in note for note in made.notes)
    assert count(mirror, "ndc") == 8
    assert made.vanished == {"ndc": 0}


def test_a_mirror_that_was_killed_goes_on_behind_what_it_had(fda: FdaServer, mirror: Mirror) -> None:
    mirror.killed_at("loaded")
    before = len(fda.server.seen)
    made = mirror.run(tombstones=True)
    fetched = [one.path for one in list(fda.server.seen)[before:] if one.path.startswith("/drug/label")]
    assert fetched == []  # it came first, and is here
    assert (count(mirror, "ndc"), count(mirror, "label"), made.tombstoned) == (7, 3, 0)
    assert mirror.run().status == "nothing new"


def test_partitions_elsewhere_or_with_evil_names_are_not_fetched(fda: FdaServer, mirror: Mirror) -> None:
    facts = fda.exports["drug/label"]["partitions"][0]
    for wrong, error in (
        ("https://example.org/drug/label/x.json.zip", RemoteRefused),
        (f"{fda.url}/drug/..%2f..%2fx.json.zip", LayoutChanged),
        (f"{fda.url}/drug/../x/.json.zip", LayoutChanged),
        (7, LayoutChanged),
    ):
        facts["file"] = wrong
        fda.publish()
        with pytest.raises(error):
            mirror.run(only=("drug/label",))


def test_broken_downloads_are_resumed_and_broken_archives_refused(fda: FdaServer, mirror: Mirror) -> None:
    fda.faults.add("truncated", times=3, path="/drug/*")
    assert mirror.run(only=("drug/ndc",)).inserted == 7
    assert any("range" in one.headers for one in fda.server.seen)
    (path,) = fda.export("drug/label", "2026-01-18", [3])
    body = bytearray(fda.files[path].body)
    body[len(body) // 2] ^= 0xFF
    fda.put(path, bytes(body))
    with pytest.raises(ListingIncomplete, match="drug-label-0001"):
        mirror.run(only=("drug/label",))
    assert not any("label" in name for name in mirror.files())  # the next one fetches it anew
    assert "drug/label" not in dict(mirror.ask("SELECT list, mark FROM medmirror.mirror_mark"))
