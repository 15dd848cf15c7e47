"""Folders that hold exports go with their processes, also with those that were killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from medmirror.remotes.bulk import files as bulkfiles


def test_folders_of_killed_processes_are_removed_and_others_stay(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    left, own = tmp_path / f"medmirror-export-{child.pid}-a", tmp_path / f"medmirror-export-{os.getpid()}-b"
    other, link = tmp_path / "medmirror-export-notes", tmp_path / f"medmirror-export-{child.pid}-c"
    for folder in (left, own, other):
        folder.mkdir()
        (folder / "Patient.ndjson").write_text("{}\n")
    link.symlink_to(other)
    assert bulkfiles.sweep(tmp_path) == 1
    assert not left.exists()
    assert [folder.exists() for folder in (own, other, link)] == [True, True, True]
