"""Folders for exports on their way, which hold patients' data: none outlives its process for long.

A folder's name has the number of the process that made it. Who is killed leaves it behind; whoever makes the next one
on that machine removes those whose process is gone.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "medmirror-export-"
_OURS = re.compile(rf"{_PREFIX}(\d+)-")


def make() -> tempfile.TemporaryDirectory[str]:
    """A new folder, for this user alone; removed with the object. Those of dead processes are removed first."""
    sweep(Path(tempfile.gettempdir()))
    return tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-")


def sweep(place: Path) -> int:
    """Remove the folders in *place* whose process is gone and that this user owns; return how many."""
    removed = 0
    for folder in place.glob(f"{_PREFIX}*"):
        match = _OURS.match(folder.name)
        if match is not None and not _runs(int(match[1])) and _is_ours(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += not folder.exists()
    return removed


def _is_ours(folder: Path) -> bool:
    with suppress(FileNotFoundError):  # somebody else was quicker
        return not folder.is_symlink() and folder.lstat().st_uid == os.geteuid()
    return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
