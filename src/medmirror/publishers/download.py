"""Files from a publisher's server: whole, checked, and never half of one under its name.

A file comes under ``NAME.part`` and gets its name when it is complete, on the disk, and its checksum right. What broke
off goes on where it was, also for another process, if the server says that it is still the same file or a checksum
will tell. Beside a file stands ``NAME.meta``: of which version of it the bytes are.

Nothing that a server says becomes a path: names are plain, and hosts are those that were named.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from medmirror.clock import SYSTEM, Clock
from medmirror.errors import RemoteRefused, TruncatedFile
from medmirror.publishers import disk
from medmirror.remotes.base import Around
from medmirror.remotes.http.answer import Answer
from medmirror.remotes.http.client import Http, Params, Patience
from medmirror.remotes.http.download import Download

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", re.ASCII)
_PATIENCE = Patience(tries=6, base=1.0, cap=60.0, limit=900.0, body=math.inf)
_MOST = 64 << 20  # bytes of an answer that is held in memory
_TIMEOUT = 60.0


class Wanted(NamedTuple):
    """A file to fetch: where from (a path of the publisher's, or a whole URL), its *name* here, and the *sign* of the
    version that is wanted (``NAME.meta``)."""

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
        self._got = got
        self._http = Http(
            url,
            Around(sleep=clock.sleep),
            headers={"Accept": "*/*"},
            timeout=_TIMEOUT,
            most=_MOST,
            others=others,
            public=True,
            patience=_PATIENCE,
        )
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Downloads:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, params: Params = (), headers: Mapping[str, str] | None = None) -> Answer:
        """The answer for *path* below the publisher's address, wholly in memory."""
        with _in_its_words():
            answer = self._http.get(path, params, headers)
        self._got(len(answer.body))
        return answer

    def fetch(self, wanted: Wanted) -> Fetched:
        """The file *wanted*: the one that is here, the rest of the part that is here, or all of it."""
        if not _NAME.fullmatch(wanted.name) or wanted.name.endswith((".part", ".meta")):
            raise RemoteRefused("The publisher gave a file a name that no file here may have; it was not fetched.")
        url = self._address(wanted.url)
        target = self.folder / wanted.name
        if self._is_here(target, wanted):
            return Fetched(target, target.stat().st_size, 0, False)
        part = disk.part(target)
        for last in (False, True):
            fresh, resumed = self._fill(url, wanted)
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

    def _address(self, url: str) -> str:
        try:
            return self._http.address(url)
        except RemoteRefused:
            raise RemoteRefused("The publisher's list leads to another host; that is not followed.") from None

    def _is_here(self, target: Path, wanted: Wanted) -> bool:
        if not target.is_file() or target.is_symlink():
            return False
        return disk.md5(target) == wanted.md5 if wanted.md5 else disk.read_meta(target).get("sign") == wanted.sign

    def _fill(self, url: str, wanted: Wanted) -> tuple[int, bool]:
        """Bring the part to its end; return how many bytes came, and whether some were there before."""
        target = self.folder / wanted.name
        part, meta = disk.part(target), disk.read_meta(target)
        if meta.get("sign") != wanted.sign:
            part.unlink(missing_ok=True)
        fresh = 0

        def arrived(count: int) -> None:
            nonlocal fresh
            fresh += count
            self._got(count)

        def begin(answer: Answer) -> None:
            etag = download.validator if download.validator.startswith('"') else ""
            facts = {"sign": wanted.sign, "etag": etag, "last-modified": answer.headers.get("last-modified", "")}
            disk.write_meta(target, facts)

        with part.open("r+b" if part.exists() else "w+b") as out:
            began = disk.size(part)
            download = Download(
                out,
                meta.get("etag") or meta.get("last-modified") or "",
                checked=wanted.md5 is not None,
                packed=False,
                begin=begin,
                arrived=arrived,
                hint="name another folder with --folder",
            )
            try:
                with _in_its_words():
                    self._http.download(url, download)
            finally:
                os.fsync(out.fileno())
        return fresh, began > 0 and disk.size(part) > fresh


@contextmanager
def _in_its_words() -> Iterator[None]:
    """What a server refuses, as a publisher's."""
    try:
        yield
    except RemoteRefused as error:
        if "status" not in error.context:
            raise
        raise RemoteRefused("The publisher refused a request.", **error.context) from None
