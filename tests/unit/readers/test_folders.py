"""Below a folder that was named, no link is followed and nothing but regular files is opened."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from medmirror.errors import UnreadableFile
from medmirror.readers import files, folders


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Another clinic's folder, with a file and a checksum in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "x.csv").write_bytes(b"OUTSIDE")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A clinic's folder: a file, and one in a folder below."""
    folder = tmp_path / "base"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.csv").write_bytes(b"inside")
    (folder / "sub" / "x.csv").write_bytes(b"inside")
    return folder


def kinds(folder: Path) -> dict[str, str]:
    return {"/".join(parts): kind for parts, kind in folders.walk(folder)}


def test_links_and_special_files_are_told_apart_and_never_entered(base: Path, outside: Path) -> None:
    (base / "folder").symlink_to(outside)
    (base / "file").symlink_to(outside / "x.csv")
    (base / "broken").symlink_to("nowhere")
    (base / "loop").symlink_to(base)
    os.link(base / "a.csv", base / "hard.csv")
    os.mkfifo(base / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(base)  # a socket's name must be short
        listener.bind("socket")
        os.chdir(here)
    links = dict.fromkeys(("folder", "file", "broken", "loop"), folders.LINK)
    special = dict.fromkeys(("pipe", "socket"), folders.SPECIAL)
    plain = dict.fromkeys(("a.csv", "hard.csv", "sub/x.csv"), folders.FILE)
    assert kinds(base) == links | special | plain


def test_a_folder_comes_in_the_order_of_its_names_its_files_first(base: Path) -> None:
    (base / "Z.csv").touch()
    assert list(kinds(base)) == ["Z.csv", "a.csv", "sub/x.csv"]


def test_the_folder_that_was_named_may_be_a_link(base: Path, tmp_path: Path) -> None:
    (tmp_path / "named").symlink_to(base)
    named = tmp_path / "named"
    assert kinds(named) == kinds(base)
    with folders.open_file(named / "sub" / "x.csv", named) as file:
        assert file.read() == b"inside"
    (tmp_path / "file").symlink_to(base / "a.csv")
    with folders.open_file(tmp_path / "file") as file:
        assert file.read() == b"inside"


def test_depth_is_bounded(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * (folders.DEPTH + 1))
    deep.mkdir(parents=True)
    (deep / "x").touch()
    (deep.parent / "y").touch()
    found = [(len(parts), kind) for parts, kind in folders.walk(tmp_path)]
    assert found == [(folders.DEPTH + 1, folders.FILE), (folders.DEPTH + 1, folders.DEEP)]


def test_a_folder_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile):
        list(folders.walk(tmp_path / "missing"))


def test_a_folder_that_this_user_may_not_search_is_told(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.open

    def refuse(path: str | Path, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if path == "sub":  # root may search every folder
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return really(path, flags, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    assert kinds(base) == {"a.csv": folders.FILE, "sub": folders.CLOSED}
    monkeypatch.undo()
    with pytest.raises(UnreadableFile, match="could not be searched"):
        folders.open_file(base / "sub", base)


def folder_becomes_a_link(base: Path, outside: Path) -> None:
    (base / "sub").rename(base / "old")
    (base / "sub").symlink_to(outside)


def file_becomes_a_link(base: Path, outside: Path) -> None:
    (base / "sub" / "x.csv").unlink()
    (base / "sub" / "x.csv").symlink_to(outside / "x.csv")


def file_becomes_a_pipe(base: Path, outside: Path) -> None:
    (base / "sub" / "x.csv").unlink()
    os.mkfifo(base / "sub" / "x.csv")


def file_becomes_a_folder(base: Path, outside: Path) -> None:
    (base / "sub" / "x.csv").unlink()
    (base / "sub" / "x.csv").mkdir()


@pytest.mark.parametrize(
    ("swap", "words"),
    [
        (folder_becomes_a_link, "not followed"),
        (file_becomes_a_link, "not followed"),
        (file_becomes_a_pipe, "not a regular file"),
        (file_becomes_a_folder, "folder"),
    ],
)
def test_what_is_swapped_after_it_was_found_is_not_opened(
    swap: Callable[[Path, Path], None], words: str, base: Path, outside: Path
) -> None:
    path = base / "sub" / "x.csv"
    assert path in [base.joinpath(*parts) for parts, _ in folders.walk(base)]
    swap(base, outside)
    for read in (
        lambda: folders.open_file(path, base),
        lambda: list(files.streams(path, 200, base)),
        lambda: files.digest(path, beneath=base),
    ):
        with pytest.raises(UnreadableFile, match=words):
            read()


def test_a_folder_that_is_swapped_while_it_is_searched_leads_nowhere(base: Path, outside: Path) -> None:
    entries = folders.walk(base)
    assert next(entries) == (("a.csv",), folders.FILE)  # the names of the folder are read
    folder_becomes_a_link(base, outside)
    assert list(entries) == [(("sub",), folders.LINK)]


def test_a_path_that_leads_out_is_not_opened(base: Path, outside: Path) -> None:
    with pytest.raises(UnreadableFile):
        folders.open_file(base / "sub" / ".." / ".." / "outside" / "x.csv", base)


def test_a_named_pipe_does_not_hold_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFile, match="not a regular file"):
        folders.open_file(tmp_path / "pipe")


@pytest.mark.parametrize("beneath", [True, False])
def test_a_checksum_is_not_read_through_a_link_and_not_without_end(beneath: bool, base: Path, outside: Path) -> None:
    digest = "0" * 32
    path, side = base / "a.csv", base / "a.csv.md5"
    side.write_text(f"{digest}  a.csv\n")
    assert files.sidecar_md5(path, base if beneath else None) == digest
    side.rename(outside / "a.csv.md5")
    side.symlink_to(outside / "a.csv.md5")
    assert files.sidecar_md5(path, base if beneath else None) is None
    side.unlink()
    os.mkfifo(side)
    assert files.sidecar_md5(path, base if beneath else None) is None
    side.unlink()
    side.write_bytes(b" " * (2 << 20) + digest.encode())
    assert files.sidecar_md5(path, base if beneath else None) is None
