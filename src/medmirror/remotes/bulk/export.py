"""A Bulk Data export on a server: kick it off, ask how far it is, read its manifest, clean up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import urljoin

import orjson

from medmirror.errors import ListingIncomplete, PageExpired, RemoteRefused, RemoteUnavailable, StillPreparing, SyncError
from medmirror.readers.json.values import moment, moment_number
from medmirror.remotes.base import Notes
from medmirror.remotes.fhir import bundles as fhirbundles
from medmirror.remotes.http.answer import Answer, date_in, wait_of
from medmirror.remotes.http.client import Http

_NOTE = "bulk:export"
_SHORT = 10.0  # seconds that are waited for here; whoever is to wait for longer does something else meanwhile
_PATIENCE = 60.0  # seconds in all
_FAILURES = 3  # polls that failed, one job each, after which the export is given up
_MILLISECOND = 1000
_GONE = frozenset((404, 410))
_LISTS = ("output", "deleted", "error")

Where = Literal["output", "deleted", "error"]


class File(NamedTuple):
    """A file that a manifest names. *lines* is None where it does not say how many there are."""

    where: Where
    kind: str
    url: str
    lines: int | None


class Manifest(NamedTuple):
    """What an export is of: everything as of *time* (microseconds), in *files*. *request*: what it was asked for, as
    the server repeats it; *token*: whether the files want our key, too."""

    time: int
    request: str
    token: bool
    files: tuple[File, ...]


class Job(NamedTuple):
    """An export under way: where to ask for it, and what it was asked for. *failed*: polls that failed."""

    url: str
    since: int
    asked: str
    failed: int = 0


class Exports:
    """The one export of an organisation, kept as a note, so that a process that was killed takes it up again."""

    def __init__(
        self, http: Http, notes: Notes, sleep: Callable[[float], None], level: str, types: Sequence[str]
    ) -> None:
        self._http, self._notes, self._sleep = http, notes, sleep
        self._level, self._types = level, tuple(types)

    def job(self, since: int) -> Job:
        """The export of what was changed at or after *since* (0: of everything): the one under way, or a new one."""
        asked = f"{self._level}?{','.join(self._types)}"
        noted = self._notes.get(_NOTE)
        if noted is not None:
            job = Job(**orjson.loads(noted))
            if (job.since, job.asked) == (since, asked):
                return job
            self.forget(job)
        job = Job(self._kick_off(since), since, asked)
        self._note(job)
        return job

    def _kick_off(self, since: int) -> str:
        params = [("_type", ",".join(self._types))] if self._types else []
        if since > 0:  # a server gives what was changed AFTER that
            params.append(("_since", fhirbundles.text((since // _MILLISECOND - 1) * _MILLISECOND)))
        path = f"{self._level}/$export" if self._level else "$export"
        answer = self._http.get(path, params, {"Prefer": "respond-async"})
        place = answer.headers.get("content-location", "")
        if answer.status != 202 or not place:
            raise RemoteRefused("The server did not begin an export.", status=answer.status, path=answer.path)
        return self._link(place)

    def manifest(self, job: Job) -> Manifest:
        """What *job* has made. StillPreparing while it is not done, after a short while of waiting."""
        waited, own = 0.0, 1.0
        while True:
            answer = self._ask(job, job.url)
            if answer.status != 202:
                return self._read(job, answer)
            has_wait = "retry-after" in answer.headers
            wait = wait_of(answer.headers) if has_wait else own
            if wait > _SHORT or waited + wait > _PATIENCE:
                raise StillPreparing(wait=wait if has_wait else _PATIENCE)
            self._sleep(wait)
            waited, own = waited + wait, own * 2

    def _ask(self, job: Job, url: str) -> Answer:
        try:
            return self._http.get(url)
        except RemoteRefused as error:
            if error.context.get("status") not in _GONE:
                raise
        except RemoteUnavailable:
            if job.failed + 1 >= _FAILURES:
                self.forget(job)
            else:
                self._note(job._replace(failed=job.failed + 1))
            raise
        raise self.expired(job)

    def _read(self, job: Job, answer: Answer) -> Manifest:
        files: list[File] = []
        links: set[str] = set()
        value = self._page(job, answer)
        first = value
        while True:
            files += [file for where in _LISTS for file in self._files(value, where)]
            links_on = value.get("link")
            onward = [
                link.get("url") for link in links_on or () if isinstance(link, dict) and link.get("relation") == "next"
            ]
            if not onward:
                break
            link = self._link(str(onward[0]))
            if link in links:
                raise ListingIncomplete("The pages of the export's manifest lead in a circle.")
            links.add(link)
            value = self._page(job, self._ask(job, link))
        time = moment_number(moment(first.get("transactionTime")))
        if not time:
            raise RemoteRefused("The export's manifest has no transactionTime: nothing says up to when it is complete.")
        return Manifest(time, str(first.get("request", "")), bool(first.get("requiresAccessToken", True)), tuple(files))

    def _page(self, job: Job, answer: Answer) -> Mapping[str, Any]:
        value = answer.json()
        if isinstance(value, dict) and value.get("resourceType") == "OperationOutcome":
            self.forget(job)
            raise fhirbundles.failure(value)
        if not isinstance(value, dict) or not isinstance(value.get("output"), list):
            raise RemoteUnavailable("The answer is no manifest of an export.", path=answer.path)
        ends = date_in(answer.headers.get("expires", ""))
        if ends is not None and answer.date is not None and ends < answer.date:
            raise self.expired(job)
        return value

    def _files(self, value: Mapping[str, Any], where: str) -> list[File]:
        files = []
        entries = value.get(where)
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
                raise RemoteUnavailable("The export's manifest names a file without an address.")
            kind, link, count = str(entry.get("type", "")), self._link(entry["url"]), entry.get("count")
            files.append(File(where, kind, link, count if isinstance(count, int) else None))  # type: ignore[arg-type]
        return files

    def expired(self, job: Job) -> PageExpired:
        """The error that says that the server has the export of *job* no more; next time another one is begun."""
        self.forget(job)
        return PageExpired("The server keeps the export no longer; another one is begun.")

    def forget(self, job: Job) -> None:
        """Have the server delete the export of *job*, and know of it no more. That may fail: servers tidy up, too."""
        self._notes.set(_NOTE, None)
        try:
            self._http.delete(job.url)
        except SyncError:
            return

    def _note(self, job: Job) -> None:
        self._notes.set(_NOTE, orjson.dumps(job._asdict()).decode())

    def _link(self, place: str) -> str:
        return urljoin(self._http.address(""), place)
