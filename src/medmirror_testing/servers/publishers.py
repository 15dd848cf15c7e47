"""Publishers' servers on this machine: files with checksum, ETag, Range and If-Range, as the real ones have them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import NamedTuple

from medmirror_testing.servers.hostile import Faults
from medmirror_testing.servers.server import LocalServer, Reply, Request

_RANGE = re.compile(r"bytes=(\d+)-")


class Stored(NamedTuple):
    """A file of a server: its bytes, and the time of its last change."""

    body: bytes
    changed: datetime

    @property
    def etag(self) -> str:
        """The tag of this version of the file."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:16]}"'


class FileServer:
    """Files by path behind a LocalServer; *answer* is asked first and may return None. A context manager.

    ``files`` may be changed while it runs. ``validators`` False: no ETag, no Last-Modified; ``ranges`` False: always
    the whole file; *before* is told each path before it is answered.
    """

    def __init__(self, answer: Callable[[Request], Reply | None] = lambda request: None) -> None:
        self.files: dict[str, Stored] = {}
        self.validators = self.ranges = True
        self.before: Callable[[str], None] = lambda path: None
        self.faults = Faults()
        self._answer = answer
        self.server = LocalServer(self._handle, self.faults)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.server.url

    def __enter__(self) -> FileServer:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def put(self, path: str, body: bytes, changed: datetime | None = None) -> None:
        """Store *body* at *path*."""
        self.files[path] = Stored(body, changed or datetime(2026, 1, 5, 12, 0, tzinfo=UTC))

    def asked(self, path: str) -> list[Request]:
        """The requests for *path*."""
        return [request for request in self.server.seen if request.path == path]

    def _handle(self, request: Request) -> Reply:
        self.before(request.path)
        answer = self._answer(request)
        if answer is not None:
            return answer
        stored = self.files.get(request.path)
        return Reply(404, b"<html>Not Found</html>") if stored is None else self._file(request, stored)

    def _file(self, request: Request, stored: Stored) -> Reply:
        changed = format_datetime(stored.changed, usegmt=True)
        headers = {"ETag": stored.etag, "Last-Modified": changed} if self.validators else {}
        if self.ranges:
            headers["Accept-Ranges"] = "bytes"
        if self.validators and request.headers.get("if-none-match") == stored.etag:
            return Reply(304, b"", headers)
        wanted = _RANGE.fullmatch(request.headers.get("range", ""))
        same = request.headers.get("if-range") in (None, stored.etag, changed)
        if wanted is None or not same or not self.ranges:
            return Reply(200, stored.body, headers)
        start, size = int(wanted[1]), len(stored.body)
        if start >= size:
            return Reply(416, b"", {**headers, "Content-Range": f"bytes */{size}"})
        place = f"bytes {start}-{size - 1}/{size}"
        return Reply(206, stored.body[start:], {**headers, "Content-Range": place})
