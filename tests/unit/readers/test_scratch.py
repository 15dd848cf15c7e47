"""Folders of a process's own go with it, also when it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medmirror.readers import scratch


@pytest.mark.parametrize("prefix", ["medmirror-export-", "medmirror-matching-"])
def test_folders_of_killed_processes_are_removed_and_others_stay(prefix: str, tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    left, own = tmp_path / f"{prefix}{child.pid}-a", tmp_path / f"{prefix}{os.getpid()}-b"
    other, link = tmp_path / f"{prefix}notes", tmp_path / f"{prefix}{child.pid}-c"
    for folder in (left, own, other):
        folder.mkdir()
        (folder / "Patient.ndjson").write_text("{}\n")
    link.symlink_to(other)
    assert scratch.sweep(prefix, tmp_path) == 1
    assert not left.exists()
    assert [folder.exists() for folder in (own, other, link)] == [True, True, True]


def test_a_folder_without_a_number_is_of_an_earlier_version_and_goes_when_it_is_old(tmp_path: Path) -> None:
    old, fresh, named = (tmp_path / f"medmirror-matching-{name}" for name in ("ab12_xyz", "zz12_xyz", "my-notes-of-it"))
    for folder in (old, fresh, named):
        folder.mkdir()
    for folder in (old, named):
        os.utime(folder, (0, 0))
    assert scratch.sweep("medmirror-matching-", tmp_path) == 1
    assert [folder.exists() for folder in (old, fresh, named)] == [False, True, True]
