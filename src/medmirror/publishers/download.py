"""Files from a publisher's server: whole, checked, and never half of one under its name.

A file comes under ``NAME.part`` and gets its name when it is complete, on the disk, and its checksum right. What broke
off goes on where it was (``Range``), if the server says that it is still the same file (``If-Range``) or a checksum
will tell. Beside a file stands ``NAME.meta``: of which version of it the bytes are.

Nothing that a server says becomes a path: names are plain, and hosts are those that were named.
"""

from __future__ import annotations

import logging
import os
import random
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from medmirror.clock import SYSTEM, Clock
from medmirror.errors import RateLimited, RemoteRefused, RemoteUnavailable, SyncError, TruncatedFile
from medmirror.publishers import disk
from medmirror.remotes.http import send as httpsend
from medmirror.remotes.http.answer import Answer, base, loopback, origin
from medmirror.remotes.http.limits import wait_of

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", re.ASCII)
_TRIES = 6  # without a single new byte between them
_LONGEST_WAIT = 900.0  # seconds that a publisher's limit is waited out here
_BASE, _CAP = 1.0, 60.0
_SPARE = 256 << 20  # bytes that must stay free on the disk
_LOOK = 64 << 20  # bytes after which is looked again
_MOST = 64 << 20  # bytes of an answer that is held in memory
_TIMEOUT = 60.0


class Wanted(NamedTuple):
    """A file to fetch: where from, its *name* here, and the *sign* of the version that is wanted (``NAME.meta``)."""

    url: str
    name: str
    sign: str
    md5: str | None = None


class Fetched(NamedTuple):
    """A whole file. *fresh*: bytes that came over the network for it now; 0: it was here already."""

    path: Path
    size: int
    fresh: int
    resumed: bool


class Downloads:
    """A folder that files are fetched into, from the hosts of *url* and *others*; a context manager.

    Errors: RemoteRefused, RemoteUnavailable, RateLimited, TruncatedFile, SyncError (the disk is full).
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        others: tuple[str, ...] = (),
        clock: Clock = SYSTEM,
        got: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.folder = folder
        self._base = base(url.rstrip("/"))
        self._origins = {origin(self._base), *(origin(base(other)) for other in others)}
        self._clock = clock
        self._got = got
        self._random = random.Random()
        self._client = httpsend.client(_TIMEOUT, proxies=not loopback(self._base.hostname or ""))
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Downloads:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def address(self, path: str) -> str:
        """The URL of *path* below the publisher's address."""
        return f"{self._base.geturl()}/{path.lstrip('/')}"

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, accept: tuple[int, ...] = ()) -> Answer:
        """A small answer, wholly in memory. A status of *accept* is an answer too, other than an error."""
        self._check(url)
        failures = 0
        while True:
            sent = {"User-Agent": "medmirror", **(headers or {})}
            outcome, _ = httpsend.once(self._client, "GET", url, sent, None, _MOST)
            if isinstance(outcome, Answer):
                if outcome.status == 200 or outcome.status in accept:
                    self._got(len(outcome.body))
                    return outcome
                outcome = self._refusal(outcome.status, outcome.headers, url)
            failures = self._wait(outcome, failures)

    def fetch(self, wanted: Wanted) -> Fetched:
        """The file *wanted*: the one that is here, the rest of the part that is here, or all of it."""
        if not _NAME.fullmatch(wanted.name) or wanted.name.endswith((".part", ".meta")):
            raise RemoteRefused("The publisher gave a file a name that no file here may have; it was not fetched.")
        self._check(wanted.url)
        target = self.folder / wanted.name
        if self._is_here(target, wanted):
            return Fetched(target, target.stat().st_size, 0, False)
        for last in (False, True):
            fresh, resumed = self._fill(wanted)
            part = disk.part(target)
            digest = disk.md5(part) if wanted.md5 else None
            if digest == wanted.md5:
                break
            part.unlink()
            if last:
                raise TruncatedFile(
                    "The file has not the MD5 that its publisher gives, though it was fetched twice; try again later.",
                    file=wanted.name,
                )
            _log.warning("%s has not the MD5 that its publisher gives; fetching it again", wanted.name)
        part.replace(target)
        disk.flush(self.folder)
        return Fetched(target, target.stat().st_size, fresh, resumed)

    def remove(self, path: Path) -> None:
        """Delete a file that was fetched, with what stands beside it."""
        for file in (path, disk.meta(path), path.with_name(path.name + ".md5")):
            file.unlink(missing_ok=True)

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            fits = origin(parts) in self._origins and not parts.username
        except ValueError:
            fits = False
        if not fits:
            raise RemoteRefused("The publisher's list leads to another host; that is not followed.")

    def _is_here(self, target: Path, wanted: Wanted) -> bool:
        if not target.is_file() or target.is_symlink():
            return False
        return disk.md5(target) == wanted.md5 if wanted.md5 else disk.read_meta(target).get("sign") == wanted.sign

    def _fill(self, wanted: Wanted) -> tuple[int, bool]:
        """Bring the part to its end; return how many bytes came, and whether some were there before."""
        part = disk.part(self.folder / wanted.name)
        if disk.read_meta(self.folder / wanted.name).get("sign") != wanted.sign:
            part.unlink(missing_ok=True)
        began = disk.size(part)
        came: list[int] = []

        def count(more: int) -> None:
            came.append(more)
            self._got(more)

        failures = 0
        while True:
            before = len(came)
            try:
                self._stream(wanted, part, count)
                return sum(came), began > 0 and disk.size(part) > sum(came)
            except (RemoteUnavailable, RateLimited) as error:
                failures = self._wait(error, 0 if len(came) > before else failures)

    def _stream(self, wanted: Wanted, part: Path, count: Callable[[int], None]) -> None:
        """One request for what is missing of *part*. RemoteUnavailable when it breaks off; what came is kept."""
        import httpx

        start = disk.size(part)
        headers = {"User-Agent": "medmirror", "Accept-Encoding": "identity"}
        meta = disk.read_meta(self.folder / wanted.name)
        validator = meta.get("etag") or meta.get("last-modified")
        if start and (validator or wanted.md5):
            headers["Range"] = f"bytes={start}-"
            headers |= {"If-Range": validator} if validator else {}
        try:
            with self._client.stream("GET", wanted.url, headers=headers) as response:
                begin, total = self._begin(response, wanted, start)
                with part.open("r+b" if begin else "wb") as out:
                    out.seek(begin)
                    out.truncate()
                    self._room(total - begin if total else 0)
                    since = 0
                    try:
                        # As it comes: a piece that waits for its end would be lost with it.
                        for piece in response.iter_raw():
                            out.write(piece)
                            count(len(piece))
                            since += len(piece)
                            if since >= _LOOK:  # not every server says how much is to come
                                self._room(0)
                                since = 0
                    finally:
                        out.flush()
                        os.fsync(out.fileno())
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise RemoteUnavailable(file=wanted.name, reason=type(error).__name__) from None
        if total and disk.size(part) != total:
            raise RemoteUnavailable(file=wanted.name, reason="it is not as long as its server said")

    def _begin(self, response: httpx.Response, wanted: Wanted, start: int) -> tuple[int, int]:
        """(where in the part the body belongs, how long the whole file is; 0: not said). Notes which version it is."""
        status, headers = response.status_code, {name.lower(): value for name, value in response.headers.items()}
        part = disk.part(self.folder / wanted.name)
        if status == 416:  # the part is longer than the file: it is of another version
            part.unlink(missing_ok=True)
            raise RemoteUnavailable(file=wanted.name, reason="the part that was here was of another version")
        if status not in (200, 206):
            raise self._refusal(status, headers, wanted.url)
        total, begin = int(headers.get("content-length") or 0), 0
        if status == 206:
            place = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("content-range", ""), re.ASCII)
            if place is None or int(place[1]) != start:
                part.unlink(missing_ok=True)
                raise RemoteUnavailable(file=wanted.name, reason="the server sent another part than it was asked for")
            begin, total = start, int(place[3])
        etag = headers.get("etag", "")
        facts = {"sign": wanted.sign, "etag": "" if etag.startswith("W/") else etag}  # a weak one says little of bytes
        disk.write_meta(self.folder / wanted.name, {**facts, "last-modified": headers.get("last-modified", "")})
        return begin, total

    def _room(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < needed + _SPARE:
            raise SyncError(
                "There is no room for the next file; make some, or name another folder with --folder.",
                needed_mb=(needed + _SPARE) >> 20,
                free_mb=free >> 20,
            )

    def _refusal(self, status: int, headers: Mapping[str, str], url: str) -> SyncError:
        path = urlsplit(url).path  # public, as the whole server is
        if status == 429 or (status == 503 and "retry-after" in headers):
            return RateLimited(wait=wait_of(headers), path=path)
        if status >= 500 or status == 408:
            return RemoteUnavailable(status=status, path=path)
        return RemoteRefused("The publisher refused a request.", status=status, path=path)

    def _wait(self, error: SyncError, failures: int) -> int:
        """Wait as long as *error* asks for; return how many failures there were now. Raises it when it is hopeless."""
        if not error.transient or failures + 1 >= _TRIES:
            raise error
        wait = self._random.uniform(0.0, min(_CAP, _BASE * 2**failures))
        if isinstance(error, RateLimited):
            wait = float(error.context["wait"])
            if wait > _LONGEST_WAIT:
                raise error
        _log.warning("%s: trying again in %.1f s", type(error).__name__, wait)
        self._clock.sleep(wait)
        return failures + 1
