"""Room on the disk for what a remote sends, which may have no end: the database may live on the same disk."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import BinaryIO

from medmirror.errors import SyncError

SPARE = 256 << 20  #: bytes that stay free
_EVERY = 16 << 20  # bytes after which is looked again


def write(pieces: Iterator[bytes], out: BinaryIO) -> None:
    """Write *pieces* to *out*. SyncError while less than ``SPARE`` is free where it lies."""
    came = _EVERY
    for piece in pieces:
        came += len(piece)
        if came >= _EVERY:
            _look(out)
            came = 0
        out.write(piece)


def _look(out: BinaryIO) -> None:
    try:
        facts = os.fstatvfs(out.fileno())
    except (io.UnsupportedOperation, OSError):  # not on a disk
        return
    free = facts.f_bavail * facts.f_frsize
    if free < SPARE:
        raise SyncError(
            "There is no room for what the remote sends; make some, or name another folder with TMPDIR.",
            needed_mb=SPARE >> 20,
            free_mb=free >> 20,
        )
