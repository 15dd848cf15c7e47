"""A FHIR server's Bulk Data export: everything that it holds, or what changed since a time, as files.

There is one list, of everything, in no order. **Its upper bound is the server's, not ours**: the ``transactionTime`` of
the manifest. It comes with the last page, an empty one, as ``upto``; what we asked for as *until* is not in question,
since an export has no such bound. All other pages have none. Deletions come within the list.

**Pages are files on disk**, in a folder that is there until ``close``: with 2 GB to export, 2 GB must be free.

The export's address is kept as a note. A list that is begun again from the same place takes the same export up, however
long the server prepares it; one from another place has the server drop it. Where the server has lost the export or one
of its files, PageExpired is raised and the next list kicks off another one.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from medmirror.errors import ListingIncomplete, RemoteRefused, UsageError
from medmirror.remotes import fhir
from medmirror.remotes.base import Around, Capabilities, Kind, Page, Position, Pushed, Secret
from medmirror.remotes.bulk import files as bulkfiles
from medmirror.remotes.bulk.export import Exports, File, Job, Manifest
from medmirror.remotes.fhir import auth as fhirauth
from medmirror.remotes.http.client import Http

log = logging.getLogger(__name__)

FEED = ""
_LEVEL = re.compile(r"|Patient|Group/[A-Za-z0-9.-]{1,64}", re.ASCII)
_GONE = frozenset((404, 410))
_FORBIDDEN = 403
_EMPTY = b'{"resourceType":"Bundle","type":"collection"}'
_NOT_HERE = "A Bulk export is read only, and as a whole."


class BulkRemote:
    """A server that exports, opened for one organisation. Not shared between threads."""

    source = "fhir"
    capabilities = Capabilities((FEED,), ordered=False, extra={"list": "one export of everything, deletions in it"})

    def __init__(self, http: Http, around: Around, level: str, types: Sequence[str], *, allow_errors: bool) -> None:
        self._http, self._allow_errors = http, allow_errors
        self._rank = {kind: number for number, kind in enumerate((*types, *fhir.TYPES))}
        self._exports = Exports(http, around.notes, around.sleep, level, types)
        self._folders: list[tempfile.TemporaryDirectory[str]] = []

    def now(self) -> int:
        """The server's clock, by the Date header of what it says of itself. No more than the time of the request: what
        an export is complete up to, its manifest says."""
        answer = self._http.get("metadata", [("_summary", "true")])
        if answer.date is None:
            raise RemoteRefused("The server's answers have no Date; its clock cannot be known.")
        return answer.date

    def changed(self, feed: str, since: Position, until: int) -> Iterator[Page]:
        """The files of an export of what was changed at or after *since* and up to its own time, which the last page
        has as ``upto``. Deletions come last. Raises StillPreparing while the server is at it."""
        job = self._exports.job(since.time)
        manifest = self._exports.manifest(job)
        manifest = manifest._replace(files=tuple(sorted(manifest.files, key=self._order)))
        folder = self._folder()
        bulkfiles.describe(manifest, folder)
        self._look_for_errors(job, manifest, folder)
        for number, file in enumerate(manifest.files):
            if file.where == "error":
                continue
            path, records = self._fetch(job, manifest, number, folder)
            if file.where == "deleted":
                records = bulkfiles.deletions(path)
            if records:
                yield Page(FEED, path.name, path, records)
        self._exports.forget(job)
        yield Page(FEED, "manifest", _EMPTY, 0, Position(manifest.time))

    def _order(self, file: File) -> tuple[str, int]:
        where = {"error": "0", "output": "1", "deleted": "2"}[file.where]
        return where, self._rank.get(file.kind, len(self._rank))

    def _look_for_errors(self, job: Job, manifest: Manifest, folder: Path) -> None:
        numbers = [number for number, file in enumerate(manifest.files) if file.where == "error"]
        count = bulkfiles.errors([self._fetch(job, manifest, number, folder)[0] for number in numbers])
        if count:
            log.warning("The export tells of %d errors; what they are of is missing from it.", count)
        if count and not self._allow_errors:
            self._exports.forget(job)
            text = (
                "The export tells of errors; see to their cause in the server, or set allow_errors to take it as it is."
            )
            raise ListingIncomplete(text, errors=count)

    def _fetch(self, job: Job, manifest: Manifest, number: int, folder: Path) -> tuple[Path, int]:
        """Where the file with this *number* now lies, and how many lines it has."""
        file = manifest.files[number]
        path = folder / bulkfiles.name_of(file, number)
        try:
            return path, bulkfiles.fetch(self._http, file, path, token=manifest.token)
        except RemoteRefused as error:
            status = error.context.get("status")
            if status not in _GONE and (manifest.token or status != _FORBIDDEN):
                raise  # a link that is its own key is forbidden when it has expired
        raise self._exports.expired(job)

    def _folder(self) -> Path:
        self._folders.append(bulkfiles.new_folder())
        return Path(self._folders[-1].name)

    def window(self, feed: str, start: datetime, end: datetime) -> Iterator[Page]:
        """There is none."""
        raise UsageError(_NOT_HERE)

    def deleted(self, feed: str, since: int, until: int) -> Iterator[Page]:
        """There is none: deletions come with what was changed."""
        raise UsageError(_NOT_HERE)

    def get(self, feed: str, id: str) -> Page | None:
        """There is none."""
        raise UsageError(_NOT_HERE)

    def push(
        self, feed: str, document: Mapping[str, Any], *, id: str | None, expected: str | None, idempotency_key: str
    ) -> Pushed:
        """There is none."""
        raise UsageError(_NOT_HERE)

    def close(self) -> None:
        """End its connections, and throw the files away."""
        self._http.close()
        for folder in self._folders:
            folder.cleanup()
        self._folders.clear()


SETTINGS = {
    **fhirauth.SETTINGS,
    "export": "what to export: nothing for all of the server, Patient for all patients, Group/ID for a group",
    "types": "the types of resource to export; all, where it is not set",
    "allow_errors": "whether an export that tells of errors is taken as it is; false",
}


def _open(organization: str, settings: Mapping[str, Any], secret: Secret | None, around: Around) -> BulkRemote:
    level, allow_errors = settings.get("export", ""), settings.get("allow_errors", False)
    if not isinstance(level, str) or not _LEVEL.fullmatch(level):
        raise UsageError("The setting export is left out, Patient or Group/ID.")
    if not isinstance(allow_errors, bool):
        raise UsageError("The setting allow_errors is true or false.")
    http = fhir.connect(settings, secret, around, SETTINGS)
    return BulkRemote(http, around, level, fhir.types_of(settings), allow_errors=allow_errors)


REMOTE = Kind("bulk", SETTINGS, _open, windows=((60, 60),))
