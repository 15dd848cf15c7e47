"""A folder as a remote: a clinic's system drops its exports there, and each file is a page.

**Which files.** Those at rest: not changed for a while (the setting ``rest``), by name no file under way (``*.part``,
``*.tmp`` ...), and with its marker beside it where the setting ``done`` asks for one (``export.csv.done``). A checksum
beside a file (``.sha256``, ``.md5``) must be right: until then the file is taken to be under way. Hidden files, links
and what lies outside of the folder are passed over.

**What is new.** A file is told by its size, the time it was changed, and the digest of its bytes; the remote notes when
it first saw it so, by the clock that the upper bounds of lists are taken from. It is given when that was at or after
the beginning of the list. So nothing is lost when a list broke off, and a copy that keeps an old time is new all the
same. What is given a second time costs a look into the ledger.

**Names** of files may be names of patients: a page is called by a digest of the file's place, never by the name. The
ledger shows the path, as it does for `medmirror load`, behind the organisation's wall.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from medmirror import sources
from medmirror.errors import RemoteUnavailable, UnreadableFile, UsageError
from medmirror.readers import files, folders
from medmirror.remotes.base import MICROSECOND, Around, Capabilities, Kind, Page, Position, Pushed, Secret

_log = logging.getLogger(__name__)

FEED = "file"
_SETTINGS = {
    "path": "the folder, as an absolute path",
    "source": "whose files they are: csv, cliniko, fhir",
    "rest": "seconds that a file must not have changed; 60 when nothing is said",
    "done": "true: only files with a marker beside them, name.done",
    "match": "which files, by name, as *.csv; all when nothing is said",
}
_REST = 60
_UNDER_WAY = re.compile(r"\.(part|partial|tmp|temp|crdownload|filepart|swp|lock|filling)$|~$|^~\$", re.IGNORECASE)
_BESIDE = (".done", ".md5", ".sha256")
_NOTE = "folder"
_HEX = re.compile(r"\b[0-9a-fA-F]{64}\b", re.ASCII)


class Print(NamedTuple):
    """What a file was told by when it was last looked at: the first four are of the file, *seen* is when it was first
    seen so and *rested* whether it was at rest then."""

    size: int
    changed: int  # ns
    inode: int
    digest: str
    seen: int
    rested: bool


class FolderRemote:
    """A folder, opened for one organisation."""

    capabilities = Capabilities((FEED,), ordered=False)

    def __init__(self, settings: Mapping[str, Any], around: Around, clock: Callable[[], float] = time.time) -> None:
        self._path = _folder(settings)
        self._rest = _number(settings.get("rest", _REST))
        self._done = bool(settings.get("done", False))
        self._match = str(settings.get("match") or "*")
        self._around = around
        self._clock = clock
        self.source = _source(settings)

    def now(self) -> int:
        """The time by this machine's clock: a folder has none of its own."""
        return int(self._clock() * MICROSECOND)

    def changed(self, feed: str, since: Position, until: int) -> Iterator[Page]:
        """The files at rest that were first seen as they are at or after *since*, oldest first, one a page."""
        if feed != FEED:
            raise UsageError(f"A folder has one list, {FEED}.")
        self._around.permit()
        before = self._known()
        now = min(self.now(), until)
        prints: dict[str, Print] = {}
        given: list[tuple[int, str, Path]] = []
        for path in self._files():
            name = _name(path.relative_to(self._path))
            if (look := self._look(path, before.get(name), now)) is not None:
                prints[name] = look
                if look.rested and (since.time <= 0 or look.seen >= since.time):
                    given.append((look.changed, name, path))
        # Before they are given: a file that was seen is given again until a later list's beginning says that it is
        # read.
        self._around.notes.set(_NOTE, orjson.dumps({name: list(look) for name, look in prints.items()}).decode())
        self._around.called(200)
        for _, name, path in sorted(given):
            yield Page(FEED, f"file/{name}", path, 0, beneath=self._path)

    def window(self, feed: str, start: datetime, end: datetime) -> Iterator[Page]:
        """Nothing: files are listed by when they came alone."""
        raise UsageError("A folder cannot be listed by when its records begin.")

    def deleted(self, feed: str, since: int, until: int) -> Iterator[Page]:
        """Nothing: a file that is gone says nothing of its records."""
        raise UsageError("A folder has no list of what was deleted.")

    def get(self, feed: str, id: str) -> Page | None:
        """Nothing: a file is no record."""
        raise UsageError("A folder cannot be asked for one record.")

    def push(
        self, feed: str, document: Mapping[str, Any], *, id: str | None, expected: str | None, idempotency_key: str
    ) -> Pushed:
        """Nothing: a folder is only read."""
        raise UsageError("A folder is not written to.")

    def close(self) -> None:
        """Nothing is open."""

    def _known(self) -> dict[str, Print]:
        try:
            kept = orjson.loads(self._around.notes.get(_NOTE) or "{}")
            return {name: Print(*print_) for name, print_ in kept.items()}
        except (ValueError, TypeError, AttributeError):
            return {}  # a note of another version: every file is new

    def _files(self) -> Iterator[Path]:
        """Every regular file below the folder that may be an export, in the order of names."""
        try:
            next(self._path.iterdir(), None)  # os.walk would pass over a share that is not mounted
        except OSError as error:
            self._around.called(0)
            raise RemoteUnavailable("The folder cannot be read.", reason=error.strerror) from None
        for parts, kind in folders.walk(self._path, lambda parts: not parts[-1].startswith(".")):
            name = parts[-1] if parts else ""
            hidden = name.startswith(".") or name.lower().endswith(_BESIDE) or _UNDER_WAY.search(name)
            if hidden:
                continue
            if kind != folders.FILE:
                if kind != folders.PASSED:
                    self._around.unread()
                _log.warning("passed over in a folder, never followed or opened (%s): %s", kind, _name(Path(*parts)))
            elif fnmatch(name, self._match):
                yield self._path.joinpath(*parts)

    def _look(self, path: Path, before: Print | None, now: int) -> Print | None:
        """What *path* is told by now; None when it is no file to be given, or is gone."""
        try:
            facts = folders.facts(path, self._path)
            if not facts.st_size:
                return None
            same = before is not None and before[:3] == (facts.st_size, facts.st_mtime_ns, facts.st_ino)
            if same and before is not None and before.rested:
                return before
            # A file of the future is at rest when it has been seen so for long enough.
            since = before.seen if same and before is not None else now
            still = now - min(facts.st_mtime_ns // 1_000, since) >= self._rest * MICROSECOND
            rested = still and self._complete(path)
            digest = files.digest(path, beneath=self._path).sha256.hex() if rested else ""
            seen = now if rested else since
            after = folders.facts(path, self._path)
            if (after.st_size, after.st_mtime_ns) != (facts.st_size, facts.st_mtime_ns):
                rested = False
            if rested and before is not None and before.rested and before.digest == digest:
                seen = before.seen  # only touched
            return Print(facts.st_size, facts.st_mtime_ns, facts.st_ino, digest, seen, rested)
        except (FileNotFoundError, UnreadableFile):
            return None  # it has gone, or is no regular file any more

    def _complete(self, path: Path) -> bool:
        """Whether what stands beside *path* says that it is whole."""
        if self._done and folders.beside(path, ".done", self._path) is None:
            return False
        checksum = folders.beside(path, ".sha256", self._path)
        md5 = files.sidecar_md5(path, self._path)
        if checksum is None and md5 is None:
            return True
        digests = files.digest(path, md5=md5 is not None, beneath=self._path)
        if md5 is not None and md5 != digests.md5:
            return False
        if checksum is None:
            return True
        stated = _HEX.search(checksum.decode("ascii", errors="replace"))
        return stated is not None and stated[0].lower() == digests.sha256.hex()


def _name(relative: Path) -> str:
    """What a file is called where names may be read: a digest of its place, and its ending."""
    digest = hashlib.sha256(os.fsencode(relative.as_posix())).hexdigest()[:16]
    ending = relative.suffix.lower()
    return f"{digest}{ending}" if re.fullmatch(r"\.[a-z]{1,8}", ending, re.ASCII) else digest


def _folder(settings: Mapping[str, Any]) -> Path:
    if unknown := sorted(set(settings) - set(_SETTINGS)):
        raise UsageError(f"A folder has no setting {unknown[0]!r}; there are {', '.join(_SETTINGS)}.")
    path = settings.get("path")
    if not isinstance(path, str) or not Path(path).is_absolute():
        raise UsageError("Say which folder: the setting path, an absolute path.")
    return Path(path).resolve()


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86_400:
        raise UsageError("The setting rest is a number of seconds, 0 to 86400.")
    return float(value)


def _source(settings: Mapping[str, Any]) -> str:
    name = settings.get("source")
    able = [name for name in sources.names() if sources.get(name).tenant and sources.get(name).origins is None]
    if name not in able:
        raise UsageError(f"Say whose files they are: the setting source, one of {', '.join(able)}.")
    return str(name)


def _open(organization: str, settings: Mapping[str, Any], secret: Secret | None, around: Around) -> FolderRemote:
    return FolderRemote(settings, around)


REMOTE = Kind("folder", _SETTINGS, _open)
