"""The body of an answer on its way to the disk: gone on with where it broke off, and with room left for others.

What a remote sends may have no end, and the database may live on the same disk.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from medmirror.errors import RemoteUnavailable, SyncError
from medmirror.remotes.http.answer import Answer

FILE = frozenset((200, 206))  #: the statuses of an answer that holds a file, or a part of it
SPARE = 256 << 20  #: bytes that stay free
_EVERY = 16 << 20  # bytes after which is looked again
_PLACE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)", re.ASCII)


@dataclass(slots=True)
class Download:
    """A body into *out*, from where *out* stands. What stands behind that came earlier, and only the rest is asked for.

    *validator* is of the version that the bytes in *out* are of (``If-Range``). Without one they are gone on with only
    if *checked*: whoever takes the whole checks it. *packed*: the body may come compressed, and is unpacked. *begin*
    is told of an answer before its first byte is written, *arrived* the size of each piece; *hint* says how a person
    makes room.
    """

    out: BinaryIO
    validator: str = ""
    checked: bool = False
    packed: bool = True
    begin: Callable[[Answer], None] = lambda answer: None
    arrived: Callable[[int], None] = lambda size: None
    hint: str = "name another folder with TMPDIR"
    _start: int = field(init=False)
    _furthest: int = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.out.tell()
        self._furthest = self.out.seek(0, os.SEEK_END)

    def headers(self) -> Mapping[str, str]:
        """The headers of a request for what is missing."""
        held = self.out.seek(0, os.SEEK_END) - self._start
        if not held or not (self.validator or self.checked):
            return {} if self.packed else {"Accept-Encoding": "identity"}
        condition = {"If-Range": self.validator} if self.validator else {}
        return {"Accept-Encoding": "identity", "Range": f"bytes={held}-", **condition}

    def take(self, answer: Answer, pieces: Iterator[bytes]) -> None:
        """Write *pieces*, the body of *answer*.

        Raises RemoteUnavailable when it is another part than was asked for, or not as long as the server says;
        SyncError when less than ``SPARE`` would stay free where *out* lies.
        """
        total = self._place(answer)
        etag = answer.headers.get("etag", "")  # a weak one says little of bytes
        self.validator = etag if etag and not etag.startswith("W/") else answer.headers.get("last-modified", "")
        self.begin(answer)
        try:
            self._look(int(answer.headers.get("content-length") or 0))
            since = 0
            for piece in pieces:
                since += len(piece)
                if since >= _EVERY:  # not every server says how much is to come
                    self._look(0)
                    since = 0
                self.out.write(piece)
                self.arrived(len(piece))
        finally:
            self.out.flush()
        if total is not None and self.out.tell() != self._start + total:
            raise RemoteUnavailable(path=answer.path, reason="it is not as long as its server said")

    def _place(self, answer: Answer) -> int | None:
        """Stand where the body belongs; return how long the whole is, if a part says so."""
        if answer.status != 206:
            self.drop()
            return None
        place = _PLACE.fullmatch(answer.headers.get("content-range", ""))
        if place is None or self._start + int(place[1]) != self.out.seek(0, os.SEEK_END):
            self.drop()
            raise RemoteUnavailable(path=answer.path, reason="the server sent another part than it was asked for")
        return int(place[2]) if place[2] != "*" else None

    def drop(self) -> bool:
        """Throw away what has come; return whether that was anything."""
        held = self.out.seek(0, os.SEEK_END) > self._start
        self.out.seek(self._start)
        self.out.truncate()
        return held

    def is_further(self) -> bool:
        """Whether bytes have come since the last call that never came before."""
        end = self.out.seek(0, os.SEEK_END)
        further, self._furthest = end > self._furthest, max(end, self._furthest)
        return further

    def _look(self, coming: int) -> None:
        free = _free(self.out)
        if free is not None and free < coming + SPARE:
            raise SyncError(
                f"There is no room for what the remote sends; make some, or {self.hint}.",
                needed_mb=(coming + SPARE) >> 20,
                free_mb=free >> 20,
            )


def _free(out: BinaryIO) -> int | None:
    """The bytes that are free where *out* lies; None when that is not on a disk."""
    try:
        facts = os.fstatvfs(out.fileno())
    except (io.UnsupportedOperation, OSError):
        return None
    return facts.f_bavail * facts.f_frsize
