"""PubMed mirrored from a local server: what is new, in order, whole, and only then remembered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from medmirror.cli import cli
from medmirror.errors import LayoutChanged, ListingIncomplete, SyncRunning, UsageError
from medmirror.publishers import base
from medmirror_testing.servers.clock import SimulatedClock
from medmirror_testing.servers.pubmedserver import PubmedServer
from publishing import Mirror

FIRST = 30_000_000


@pytest.fixture
def nlm() -> Iterator[PubmedServer]:
    """A baseline of two files and an update file."""
    with PubmedServer() as made:
        made.add(1, 5, first_pmid=FIRST)
        made.add(2, 5, first_pmid=FIRST + 5)
        made.add(3, 2, first_pmid=FIRST + 10, folder="updatefiles", revisions=[FIRST + 1], deletes=[FIRST + 2])
        yield made


@pytest.fixture
def mirror(nlm: PubmedServer, dsn: str, tmp_path: Path) -> Iterator[Mirror]:
    mirrored = Mirror("pubmed", nlm.url, dsn, tmp_path / "here", SimulatedClock(datetime(2026, 1, 5, tzinfo=UTC)))
    yield mirrored
    assert mirrored.books_are_right()


def living(mirror: Mirror) -> list[int]:
    return [row[0] - FIRST for row in mirror.ask("SELECT pmid FROM pubmed.citation WHERE NOT deleted ORDER BY pmid")]


def test_everything_comes_at_first_and_then_what_is_new(nlm: PubmedServer, mirror: Mirror) -> None:
    made = mirror.run()
    assert (made.status, made.files, made.inserted) == ("done", 3, 11)
    assert living(mirror) == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert mirror.files() == []
    assert made.marks["files"] == "pubmed26n0003.xml.gz"
    before = nlm.server.total
    assert mirror.run().status == "nothing new"
    assert nlm.server.total == before + 2  # the two lists
    nlm.add(4, 1, first_pmid=FIRST + 20, folder="updatefiles")
    made = mirror.run()
    assert made.new == ["pubmed26n0004.xml.gz"]
    assert living(mirror)[-1] == 20
    assert mirror.books_are_right()


def test_a_dry_run_says_what_would_come_and_changes_nothing(mirror: Mirror) -> None:
    made = mirror.run(dry_run=True)
    assert made.new == [f"pubmed26n000{n}.xml.gz" for n in (1, 2, 3)]
    assert (made.status, living(mirror), mirror.files()) == ("dry run", [], [])


@pytest.mark.parametrize("gone", [("baseline", "pubmed26n0001"), ("baseline", "pubmed26n0002")])
def test_a_gap_in_the_numbers_is_named_and_nothing_is_loaded(
    nlm: PubmedServer, mirror: Mirror, gone: tuple[str, str]
) -> None:
    nlm.withdraw(gone[0], [f"{gone[1]}.xml.gz"])
    with pytest.raises(ListingIncomplete, match=gone[1]):
        mirror.run()
    assert living(mirror) == []


def test_a_newest_file_whose_checksum_is_not_there_yet_comes_next_time(nlm: PubmedServer, mirror: Mirror) -> None:
    md5 = nlm.files.pop("/updatefiles/pubmed26n0003.xml.gz.md5")
    assert mirror.run().files == 2
    nlm.files["/updatefiles/pubmed26n0003.xml.gz.md5"] = md5
    assert mirror.run().new == ["pubmed26n0003.xml.gz"]


def test_a_list_that_names_nothing_is_not_believed(nlm: PubmedServer, mirror: Mirror) -> None:
    nlm.files.clear()
    with pytest.raises(ListingIncomplete, match="no baseline"):
        mirror.run()


@pytest.mark.parametrize("dated", [True, False])
def test_a_file_that_was_published_again_is_fetched_again(nlm: PubmedServer, mirror: Mirror, dated: bool) -> None:
    nlm.dated = dated
    mirror.run()
    assert mirror.run().status == "nothing new"
    nlm.add(2, 5, first_pmid=FIRST + 5, change=1.0)
    made = mirror.run()
    assert made.new == ["pubmed26n0002.xml.gz"]
    assert made.updated + made.unchanged == 5
    assert made.updated > 0


def test_the_same_file_under_a_newer_date_is_not_fetched_again(nlm: PubmedServer, mirror: Mirror) -> None:
    mirror.run()
    nlm.add(2, 5, first_pmid=FIRST + 5)
    made = mirror.run()
    assert (made.status, made.new) == ("nothing new", [])
    before = nlm.server.total
    mirror.run()
    assert nlm.server.total == before + 2  # the new date is remembered


def test_a_file_with_a_wrong_checksum_is_not_loaded(nlm: PubmedServer, mirror: Mirror) -> None:
    body = nlm.files["/baseline/pubmed26n0002.xml.gz"].body
    nlm.publish("baseline", "pubmed26n0002.xml.gz", body, md5="0" * 32)
    with pytest.raises(Exception, match="MD5"):
        mirror.run()
    assert not any(name.startswith("pubmed26n0002") and name.endswith(".gz") for name in mirror.files())


def test_a_file_that_is_no_pubmed_file_is_refused_by_name_and_the_others_stay(
    nlm: PubmedServer, mirror: Mirror
) -> None:
    nlm.publish("baseline", "pubmed26n0002.xml.gz", b"<html>Maintenance</html>")
    with pytest.raises(LayoutChanged, match="pubmed26n0002"):
        mirror.run()
    assert living(mirror)
    nlm.add(2, 5, first_pmid=FIRST + 5)
    assert mirror.run().new == ["pubmed26n0002.xml.gz"]
    assert living(mirror) == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_a_storm_is_ridden_out(nlm: PubmedServer, mirror: Mirror) -> None:
    nlm.faults.add("unavailable", chance=0.3)
    nlm.faults.add("truncated", chance=0.3)
    nlm.faults.add("limited", times=2)
    assert mirror.run().files == 3
    assert len(living(mirror)) == 11


@pytest.mark.parametrize("step", ["fetched", "loaded"])
def test_a_mirror_that_was_killed_goes_on_and_loads_nothing_twice(nlm: PubmedServer, mirror: Mirror, step: str) -> None:
    mirror.killed_at(step)
    fetched = [path for path in nlm.server.calls if path]
    assert fetched
    before = len(nlm.asked("/baseline/pubmed26n0001.xml.gz"))
    made = mirror.run()
    assert len(nlm.asked("/baseline/pubmed26n0001.xml.gz")) == before == 1  # it is here, or it is remembered
    assert made.inserted == (11 if step == "fetched" else 0)
    assert living(mirror) == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert mirror.run().status == "nothing new"
    assert mirror.books_are_right()


def test_a_new_years_baseline_replaces_and_what_is_not_in_it_is_counted(nlm: PubmedServer, mirror: Mirror) -> None:
    mirror.run()
    nlm.withdraw("baseline", ["pubmed26n0001.xml.gz", "pubmed26n0002.xml.gz"])
    nlm.add(1, 5, first_pmid=FIRST + 1, year=27)  # without the first, and the three last of update files
    nlm.add(2, 3, first_pmid=FIRST + 6, year=27)
    nlm.add(3, 0, year=27, folder="updatefiles")
    made = mirror.run()
    assert any("new baseline, that of 27" in note for note in made.notes)
    assert made.vanished == {"citation": 4}
    assert living(mirror) == [0, *range(1, 12)]  # 2 is back; nothing is buried unasked
    made = mirror.run(tombstones=True)
    assert (made.vanished, made.tombstoned) == ({"citation": 4}, 4)
    assert living(mirror) == list(range(1, 9))
    assert mirror.books_are_right()
    nlm.add(4, 1, first_pmid=FIRST, year=27, folder="updatefiles")  # it comes back
    mirror.run()
    assert 0 in living(mirror)


def test_a_baseline_that_is_still_being_posted_buries_nothing(nlm: PubmedServer, mirror: Mirror) -> None:
    mirror.run()
    nlm.withdraw("baseline", ["pubmed26n0001.xml.gz", "pubmed26n0002.xml.gz"])
    nlm.withdraw("updatefiles", ["pubmed26n0003.xml.gz"])
    nlm.add(1, 10, first_pmid=FIRST, year=27)  # all but the last two, which come an hour later
    made = mirror.run(tombstones=True)
    assert (made.vanished, made.tombstoned) == ({}, 0)
    assert "year" not in made.marks
    assert any("no update file of the year" in note for note in made.notes)
    nlm.add(2, 0, year=27, folder="updatefiles")  # it cannot be: last year's baseline had two files
    made = mirror.run(tombstones=True)
    assert (made.vanished, made.tombstoned) == ({}, 0)
    assert any("the one before ended with pubmed26n0002" in note for note in made.notes)
    nlm.withdraw("updatefiles", ["pubmed27n0002.xml.gz"])
    nlm.add(2, 1, first_pmid=FIRST + 10, year=27)
    nlm.add(3, 0, year=27, folder="updatefiles")
    made = mirror.run(tombstones=True)
    assert (made.vanished, made.tombstoned) == ({"citation": 1}, 1)
    assert made.marks["year"] == "27"
    assert set(living(mirror)) == set(range(11))


def test_a_named_gap_is_accepted_once_and_for_good(nlm: PubmedServer, mirror: Mirror) -> None:
    nlm.add(5, 1, first_pmid=FIRST + 20, folder="updatefiles")
    with pytest.raises(ListingIncomplete, match="--accept-gap pubmed26n0004"):
        mirror.run()
    with pytest.raises(UsageError, match="--accept-gap"):
        mirror.run(accepted=("all",))
    assert mirror.run(accepted=("pubmed26n0004",)).files == 4
    nlm.add(6, 1, first_pmid=FIRST + 21, folder="updatefiles")
    assert mirror.run().new == ["pubmed26n0006.xml.gz"]
    nlm.add(8, 1, first_pmid=FIRST + 22, folder="updatefiles")
    with pytest.raises(ListingIncomplete, match="pubmed26n0007"):
        mirror.run()
    assert mirror.run(since="pubmed26n0008").new == ["pubmed26n0008.xml.gz"]
    nlm.add(4, 1, first_pmid=FIRST + 20, folder="updatefiles", revisions=[FIRST + 22])  # it came after all
    nlm.add(7, 1, first_pmid=FIRST + 30, folder="updatefiles")
    assert mirror.run().new == ["pubmed26n0004.xml.gz", "pubmed26n0007.xml.gz"]


def test_a_baseline_with_an_accepted_gap_buries_nothing(nlm: PubmedServer, mirror: Mirror) -> None:
    mirror.run()
    nlm.withdraw("baseline", ["pubmed26n0001.xml.gz", "pubmed26n0002.xml.gz"])
    nlm.add(2, 9, first_pmid=FIRST + 1, year=27)
    nlm.add(3, 0, year=27, folder="updatefiles")
    made = mirror.run(accepted=("pubmed27n0001",), tombstones=True)
    assert (made.vanished, made.tombstoned) == ({}, 0)
    assert any("files of it are missing" in note for note in made.notes)


def test_rows_are_written_again_as_this_version_reads_them(nlm: PubmedServer, mirror: Mirror) -> None:
    mirror.run()
    with psycopg.connect(mirror.dsn, autocommit=True) as connection:
        connection.execute("UPDATE pubmed.citation SET title = 'as 0.1 read it' WHERE NOT deleted")
    mirror.run(since="all")
    assert mirror.ask("SELECT count(*) FROM pubmed.citation WHERE title = 'as 0.1 read it'") == [(11,)]
    made = mirror.run(since="all", renew=True)
    assert (made.inserted, made.updated) == (0, 0)
    assert mirror.ask("SELECT count(*) FROM pubmed.citation WHERE title = 'as 0.1 read it'") == [(0,)]
    assert mirror.books_are_right()


def test_update_files_ahead_of_their_baseline_wait(nlm: PubmedServer, mirror: Mirror) -> None:
    nlm.add(9, 1, year=27, folder="updatefiles")
    with pytest.raises(ListingIncomplete, match="not there yet"):
        mirror.run()


def test_a_file_to_begin_with_can_be_named(mirror: Mirror) -> None:
    assert mirror.run(since="pubmed26n0003").new == ["pubmed26n0003.xml.gz"]
    with pytest.raises(UsageError, match="file to begin with"):
        mirror.run(since="2026-01-01")


def test_the_disk_holds_one_batch_at_a_time(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BATCH_FILES", 1)
    assert (len(mirror.run().runs), mirror.files()) == (3, [])


def test_files_stay_when_they_are_to_be_kept(mirror: Mirror) -> None:
    mirror.run(keep=True)
    assert [name for name in mirror.files() if name.endswith(".gz")] == [f"pubmed26n000{n}.xml.gz" for n in (1, 2, 3)]


def test_two_mirrors_do_not_share_a_folder(mirror: Mirror) -> None:
    own = base.tool("pubmed", mirror.url, base.Options(), settings=mirror.settings, folder=mirror.folder)
    with own, pytest.raises(SyncRunning):
        mirror.run()


def test_the_command_says_what_it_did(mirror: Mirror) -> None:
    common = [
        "mirror",
        "pubmed",
        "--url",
        mirror.url,
        "--folder",
        str(mirror.folder),
        "--dsn",
        mirror.dsn,
        "--workers",
        "1",
    ]
    runner = CliRunner()
    first = runner.invoke(cli, [*common, "--dry-run"])
    assert "3 to fetch" in first.output
    second = runner.invoke(cli, common)
    assert second.exit_code == 0, second.output
    assert "3 files loaded" in second.output
    assert "There is nothing new." in runner.invoke(cli, common).output
    wrong = runner.invoke(
        cli, ["mirror", "openfda", "--only", "drug/nothing", "--url", mirror.url, "--dsn", mirror.dsn]
    )
    assert wrong.exit_code == 2
