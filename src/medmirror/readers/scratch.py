"""Folders for what does not fit in memory: of one process, for this user alone, and none outlives its process for long.

They hold patients' data, so a folder's name has the number of the process that made it. A process that is killed leaves
its folder behind; whoever makes the next one of that kind on the machine removes those whose process is gone.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from medmirror.settings.machine import is_alive

_OLD = 86_400  # seconds; a folder of an earlier version, which has no number, is nobody's any more


def new_folder(prefix: str) -> tempfile.TemporaryDirectory[str]:
    """A new folder, removed with the object. Those of *prefix* and of dead processes are removed first."""
    sweep(prefix, Path(tempfile.gettempdir()))
    return tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-")


def sweep(prefix: str, place: Path | None = None) -> int:
    """Remove the folders of *prefix* in *place* whose process is gone and that this user owns; return their number."""
    removed = 0
    for candidate in (place or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        if _is_ours(candidate) and _is_left(candidate, candidate.name.removeprefix(prefix)):
            shutil.rmtree(candidate, ignore_errors=True)
            removed += not candidate.exists()
    return removed


def _is_left(folder: Path, name: str) -> bool:
    """Whether the process of *folder* is gone; *name* is what stands behind the prefix."""
    if match := re.match(r"(\d+)-", name):
        return not is_alive(int(match[1]))
    with suppress(FileNotFoundError):
        return re.fullmatch(r"\w{8}", name) is not None and folder.lstat().st_mtime < time.time() - _OLD
    return False


def _is_ours(path: Path) -> bool:
    with suppress(FileNotFoundError):  # somebody else was quicker
        return not path.is_symlink() and path.is_dir() and path.lstat().st_uid == os.geteuid()
    return False
