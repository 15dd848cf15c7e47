"""Loads of folders that hold more than exports: links, pipes, documents, and exports that look like documents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

import medmirror
from medmirror.errors import UsageError
from medmirror.ingest.candidates import DOCUMENT, LINK, SPECIAL
from medmirror.settings import Settings

WHOLE = '[file]\nkind = "visit"\nkey = ["Id"]\nwhole = true\n'
NAMED = WHOLE + 'match = ["visits*.csv", "visits*.txt", "visits*.dat"]\n'
VISITS = "Id,Name\n1,a\n2,b\n"


@pytest.fixture
def settings(dsn: str) -> Settings:
    """Settings on this test's database."""
    return replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clinic's folder with one export; beside it another clinic's."""
    for name in ("in", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "in" / "visits.csv").write_text(VISITS)
    (tmp_path / "other" / "visits-2.csv").write_text("Id,Name\n77,stolen\n")
    return tmp_path / "in"


def load(settings: Settings, path: Path, mapping: str = WHOLE) -> medmirror.Result:
    file = path.parent / "mapping.toml"
    file.write_text(mapping)
    return medmirror.load("csv", path, organization="org_1", mapping=file, settings=settings)


def ids(settings: Settings) -> list[str]:
    with psycopg.connect(str(settings.dsn)) as connection:
        connection.execute("SELECT set_config('medmirror.organization', '*', false)")
        return [row[0] for row in connection.execute("SELECT id FROM csv.record ORDER BY id")]


def ignored(result: medmirror.Result) -> dict[str, str | None]:
    return {Path(file.path).name: file.reason for file in result.files if file.status == "ignored"}


@pytest.mark.parametrize("kind", ["folder", "file", "broken"])
def test_a_link_is_not_followed_and_the_pass_is_not_whole(kind: str, settings: Settings, folder: Path) -> None:
    target = {"folder": "", "file": "visits-2.csv", "broken": "nowhere"}[kind]
    (folder / "linked").symlink_to(folder.parent / "other" / target)
    result = load(settings, folder)
    assert (result.exit_code, ignored(result)) == (0, {"linked": LINK})
    (certificate,) = result.certificates["csv"]
    assert (certificate.whole, certificate.reasons) == (False, ("a link was not followed: linked",))
    assert ids(settings) == ["1", "2"]
    (folder / "linked").unlink()
    (certificate,) = load(settings, folder).certificates["csv"]
    assert (certificate.whole, certificate.reasons) == (True, ())


def test_a_pipe_is_not_opened_and_the_pass_is_not_whole(settings: Settings, folder: Path) -> None:
    os.mkfifo(folder / "visits-9.csv")
    os.mkfifo(folder / "visits.csv.md5")
    result = load(settings, folder)
    assert ignored(result) == {"visits-9.csv": SPECIAL, "visits.csv.md5": SPECIAL}
    (certificate,) = result.certificates["csv"]
    assert certificate.reasons == ("what is no regular file was not opened: visits-9.csv, visits.csv.md5",)


def test_a_hard_link_is_a_file(settings: Settings, folder: Path) -> None:
    os.link(folder.parent / "other" / "visits-2.csv", folder / "visits-2.csv")
    result = load(settings, folder)
    assert result.certificates["csv"][0].whole
    assert ids(settings) == ["1", "2", "77"]


def test_what_the_user_names_may_be_a_link(settings: Settings, folder: Path) -> None:
    (folder.parent / "named").symlink_to(folder)
    (folder.parent / "named.csv").symlink_to(folder.parent / "other" / "visits-2.csv")
    assert load(settings, folder.parent / "named").certificates["csv"][0].whole
    assert load(settings, folder.parent / "named.csv").certificates["csv"][0].whole
    assert ids(settings) == ["1", "2", "77"]


def test_a_folder_of_links_alone_holds_nothing_to_load(settings: Settings, folder: Path) -> None:
    (folder / "visits.csv").unlink()
    (folder / "more").symlink_to(folder.parent / "other")
    with pytest.raises(
        UsageError, match=r"holds no file to load; left out: 1 x a link, which is never followed \(more"
    ):
        load(settings, folder)


@pytest.mark.parametrize("ending", [".txt", ".dat", ".TXT"])
def test_an_export_that_is_called_like_a_document_is_loaded(ending: str, settings: Settings, folder: Path) -> None:
    (folder / "visits.csv").rename(folder / f"visits{ending}")
    (folder / "README.txt").write_text("no export")
    result = load(settings, folder, NAMED)
    assert (result.exit_code, ids(settings), ignored(result)) == (0, ["1", "2"], {"README.txt": DOCUMENT})
    assert result.certificates["csv"][0].whole


@pytest.mark.parametrize("ending", [".txt", ".dat"])
@pytest.mark.parametrize("first", ["README.txt", "visits"])
def test_so_it_is_in_an_archive(first: str, ending: str, settings: Settings, folder: Path) -> None:
    (folder / "visits.csv").unlink()
    members = {"README.txt": "no export", f"a/visits{ending}": VISITS, "manual.pdf": "%PDF-1.4"}
    names = sorted(members, key=lambda name: not name.removeprefix("a/").startswith(first))
    with zipfile.ZipFile(folder / "export.zip", "w") as archive:
        for name in names:
            archive.writestr(name, members[name])
    for _ in range(2):  # also when it was loaded before
        result = load(settings, folder, NAMED)
        assert (result.exit_code, result.rejected, ids(settings)) == (0, 0, ["1", "2"])
        (certificate,) = result.certificates["csv"]
        assert (certificate.whole, certificate.reasons, certificate.seen) == (True, (), 2)
        if result.read:
            assert ignored(result) == {"README.txt": DOCUMENT, "manual.pdf": DOCUMENT}


def test_without_match_a_text_in_an_archive_may_be_an_export(settings: Settings, folder: Path) -> None:
    with zipfile.ZipFile(folder / "export.zip", "w") as archive:
        archive.writestr("visits.txt", "Id,Name\n5,a\n")
    load(settings, folder / "export.zip")
    assert ids(settings) == ["5"]


def test_an_archive_with_a_link_is_refused_and_the_pass_is_not_whole(settings: Settings, folder: Path) -> None:
    link = zipfile.ZipInfo("visits-2.csv")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(folder / "export.zip", "w") as archive:
        archive.writestr(link, "../other/visits-2.csv")
    result = load(settings, folder)
    assert {(Path(file.path).name, file.status, file.error) for file in result.files} == {
        ("export.zip", "refused", "UnsafeFile"),
        ("visits.csv", "done", None),
    }
    assert result.certificates["csv"][0].reasons == ("a file was refused before its kind was known",)


def command(dsn: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MEDMIRROR_DSN": dsn, "MEDMIRROR_WORKERS": "1"}
    arguments = [sys.executable, "-m", "medmirror", "load", *words]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)


def test_the_command_names_and_counts_what_it_left_out(dsn: str, folder: Path) -> None:
    mapping = folder.parent / "m.toml"
    mapping.write_text(WHOLE)
    (folder / "more").symlink_to(folder.parent / "other")
    (folder / "README.txt").touch()
    words = ("csv", str(folder), "--org", "org_1", "--mapping", str(mapping))
    made = command(dsn, *words)
    assert made.returncode == 0, made.stderr
    assert "1 file loaded, 1 file ignored as documents, 1 file left out unread" in made.stdout
    assert f"left out: {folder / 'more'}: a link, which is never followed" in made.stdout
    assert "visit: not whole, 2 records: a link was not followed: more" in made.stdout
    answer: dict[str, Any] = json.loads(command(dsn, *words, "--json").stdout)
    assert {(Path(file["path"]).name, file["status"], file["reason"]) for file in answer["files"]} == {
        ("README.txt", "ignored", DOCUMENT),
        ("more", "ignored", LINK),
        ("visits.csv", "skipped", None),
    }
    (folder / "visits.csv").unlink()
    empty = command(dsn, *words)
    assert empty.returncode == 2
    assert "holds no file to load; left out: 1 x a document" in empty.stderr
