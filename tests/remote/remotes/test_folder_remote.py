"""A folder of exports as a remote: which files are given, which not yet, and what of them reaches the mirror."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from medmirror.db import retry, runs
from medmirror.errors import RemoteUnavailable, UsageError
from medmirror.ingest import worker
from medmirror.remotes import kind
from medmirror.remotes.base import BEGINNING, Around, NoNotes, Page, Position
from medmirror.remotes.folder import FolderRemote
from medmirror.settings import Settings
from medmirror.sync.organizations import Organization
from medmirror.sync.store import Store
from medmirror_testing.samples.people import person

SECOND = 1_000_000
START = 1_772_000_000  # seconds
MAPPING = '[file]\nkind = "patient"\nmatch = "*.csv"\nkey = ["Id"]\n'


class Clinic:
    """A folder, and a time that goes when it is told."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, float(START)
        self.notes = NoNotes()
        path.mkdir()

    def drop(self, name: str, body: str = "Id,Name\n1,x\n", age: float = 100.0) -> Path:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(body)
        os.utime(path, (self.now - age, self.now - age))
        return path

    def remote(self, **settings: Any) -> FolderRemote:
        given = {"path": str(self.path), "source": "csv", **settings}
        return FolderRemote(given, Around(notes=self.notes), lambda: self.now)

    def pages(self, since: float | None = None, **settings: Any) -> list[Page]:
        remote = self.remote(**settings)
        begin = BEGINNING if since is None else Position(int(since * SECOND))
        return list(remote.changed("file", begin, remote.now()))

    def names(self, since: float | None = None, **settings: Any) -> list[str]:
        return [Path(page.body).name for page in self.pages(since, **settings)]  # type: ignore[arg-type]


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path / "drop")


def test_files_come_oldest_first_and_are_named_by_no_name(clinic: Clinic) -> None:
    who = person(3)
    clinic.drop("b.csv", age=300)
    clinic.drop(f"sub/{who.family}.csv", age=200)
    pages = clinic.pages()
    assert [Path(page.body).name for page in pages] == ["b.csv", f"{who.family}.csv"]  # type: ignore[arg-type]
    assert all(page.name.startswith("file/") and page.name.endswith(".csv") for page in pages)
    assert who.family.lower() not in "".join(page.name.lower() for page in pages)
    assert {page.upto for page in pages} == {None}


@pytest.mark.parametrize(
    "name", ["x.csv.part", "x.tmp", ".x.csv", "x.csv.filepart", "~$x.csv", "x.csv.done", "x.csv.md5"]
)
def test_what_is_under_way_or_no_export_is_passed_over(clinic: Clinic, name: str) -> None:
    clinic.drop(name)
    assert clinic.names() == []


def test_a_file_is_given_once_it_is_at_rest(clinic: Clinic) -> None:
    clinic.drop("x.csv", age=10)
    assert clinic.names() == []
    clinic.now += 55
    assert clinic.names(START) == ["x.csv"]


def test_a_file_of_the_future_is_at_rest_once_it_was_seen_so_for_long_enough(clinic: Clinic) -> None:
    clinic.drop("x.csv", age=-86_400)
    assert clinic.names() == []
    clinic.now += 30
    assert clinic.names(START) == []
    clinic.now += 31
    assert clinic.names(START) == ["x.csv"]


def test_a_file_is_given_until_a_list_begins_after_it_was_seen(clinic: Clinic) -> None:
    clinic.drop("x.csv")
    assert clinic.names(START - 1000) == ["x.csv"]
    assert clinic.names(START - 1000) == ["x.csv"]  # the first list broke off: the mark did not move
    clinic.now += 3600
    assert clinic.names(START - 300) == ["x.csv"]  # the overlap
    assert clinic.names(START + 1) == []
    assert clinic.names() == ["x.csv"]  # a full sync


def test_a_copy_that_keeps_an_old_time_is_new(clinic: Clinic) -> None:
    clinic.drop("x.csv")
    clinic.names()
    clinic.now += 86_400
    clinic.drop("old.csv", age=400 * 86_400)
    assert clinic.names(START + 3600) == ["old.csv"]


def test_a_file_that_was_changed_is_new_and_one_that_was_touched_is_not(clinic: Clinic) -> None:
    path = clinic.drop("x.csv")
    clinic.drop("y.csv")
    clinic.names()
    clinic.now += 3600
    os.utime(path, (clinic.now - 100, clinic.now - 100))
    clinic.drop("y.csv", "Id,Name\n1,y\n")
    assert clinic.names(START + 60) == ["y.csv"]


def test_a_marker_or_a_checksum_says_that_a_file_is_whole(clinic: Clinic) -> None:
    path = clinic.drop("x.csv")
    assert clinic.names(done=True) == []
    clinic.drop("x.csv.done", "")
    assert clinic.names(done=True) == ["x.csv"]
    clinic.drop("y.csv", "Id,Name\n2,x\n")
    clinic.drop("y.csv.sha256", f"{hashlib.sha256(b'half').hexdigest()}  y.csv\n")
    assert clinic.names() == ["x.csv"]
    clinic.drop("y.csv.sha256", f"{hashlib.sha256(path.read_bytes().replace(b'1', b'2')).hexdigest()}  y.csv\n")
    assert sorted(clinic.names()) == ["x.csv", "y.csv"]
    clinic.drop("z.csv", "Id,Name\n3,x\n")
    clinic.drop("z.csv.md5", "MD5(z.csv)= 00000000000000000000000000000000\n")
    assert sorted(clinic.names()) == ["x.csv", "y.csv"]


def test_links_are_not_followed(clinic: Clinic, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "secret.csv").write_text("Id,Name\n1,x\n")
    (clinic.path / "x.csv").symlink_to(tmp_path / "secret.csv")
    (clinic.path / "more").symlink_to(tmp_path)
    (clinic.path / "y.csv").symlink_to(tmp_path / "nowhere")
    os.mkfifo(clinic.path / "z.csv")
    with caplog.at_level(logging.WARNING):
        assert clinic.names() == []
    assert [record.args[0] for record in caplog.records if record.args] == ["link", "link", "link", "special"]
    assert "secret" not in caplog.text


def test_a_marker_and_a_checksum_are_not_read_through_links(clinic: Clinic, tmp_path: Path) -> None:
    path = clinic.drop("x.csv")
    (tmp_path / "marker").touch()
    (clinic.path / "x.csv.done").symlink_to(tmp_path / "marker")
    assert clinic.names(done=True) == []
    (tmp_path / "checksum").write_text(hashlib.sha256(b"half").hexdigest())
    (clinic.path / "x.csv.sha256").symlink_to(tmp_path / "checksum")
    assert clinic.names() == ["x.csv"]
    (clinic.path / "x.csv.sha256").unlink()
    (clinic.path / "x.csv.sha256").write_text(hashlib.sha256(path.read_bytes() + b"more").hexdigest())
    os.utime(path, (clinic.now - 200, clinic.now - 200))
    assert clinic.names() == []


def test_the_folder_goes_with_each_file_so_that_no_link_is_followed_later(clinic: Clinic) -> None:
    clinic.drop("x.csv")
    (page,) = clinic.pages()
    assert page.beneath == clinic.path.resolve()


def test_a_share_that_is_not_there_is_no_empty_folder(clinic: Clinic) -> None:
    clinic.drop("x.csv").unlink()
    clinic.path.rmdir()
    with pytest.raises(RemoteUnavailable):
        clinic.pages()


def test_a_file_that_goes_while_it_is_looked_at_stops_nothing(clinic: Clinic) -> None:
    clinic.drop("x.csv")
    clinic.drop("y.csv")
    remote = clinic.remote()
    pages = remote.changed("file", BEGINNING, remote.now())
    next(pages)
    (clinic.path / "y.csv").unlink(missing_ok=True)
    assert len(list(pages)) == 1  # whoever opens it will say so


def test_settings_are_checked(clinic: Clinic) -> None:
    for wrong, said in (
        ({"path": "relative"}, "absolute"),
        ({"source": "pubmed"}, "source"),
        ({"source": "sql"}, "source"),
        ({"rest": "soon"}, "rest"),
        ({"pth": 1}, "no setting"),
    ):
        with pytest.raises(UsageError, match=said):
            kind("folder").open("o", {"path": str(clinic.path), "source": "csv", **wrong}, None, Around())


@pytest.fixture
def settings(dsn: str) -> Iterator[Settings]:
    """Settings on this test's database."""
    yield replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)
    worker.own_engine.cache_clear()


def test_dropped_files_reach_the_mirror_once(clinic: Clinic, engine: Engine, settings: Settings) -> None:
    clinic.drop("patients.csv", f"Id,Name\n1,{person(1).family}\n2,{person(2).family}\n")
    one = Organization("org_f", "csv", "folder", mappings=(MAPPING,))
    store = Store(
        engine, settings, one, retry.in_transaction(engine, lambda conn: runs.open_run(conn, "sync", "csv", {}))
    )
    assert store.put(clinic.pages(), {}).counts.inserted == 2
    assert store.put(clinic.pages(), {}).counts.inserted == 0
    clinic.now += 3600
    clinic.drop("patients2.csv", f"Id,Name\n2,{person(3).family}\n")
    assert store.put(clinic.pages(START + 60), {}).counts.updated == 1
    with engine.connect() as connection:
        connection.execute(text("SELECT set_config('medmirror.organization', 'org_f', false)"))
        assert connection.execute(text("SELECT count(*) FROM csv.record")).scalar_one() == 2


def test_a_file_whose_name_is_no_text_reaches_the_mirror_beside_the_others(
    clinic: Clinic, engine: Engine, settings: Settings
) -> None:
    clinic.drop(os.fsdecode(b"patients\xe9.csv"))
    clinic.drop("patients.csv", "Id,Name\n2,y\n")
    organization = Organization("org_f", "csv", "folder", mappings=(MAPPING,))
    run = retry.in_transaction(engine, lambda conn: runs.open_run(conn, "sync", "csv", {}))
    assert Store(engine, settings, organization, run).put(clinic.pages(), {}).counts.inserted == 2
