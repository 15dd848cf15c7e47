"""Bulk Data exports of a local FHIR server: kick-off, polling, manifest, files, clean-up.

What an export holds is fixed at its kick-off. Files may be gzipped on their way, be fetched in ranges, and be gone
after a while; a manifest may come in pages.
"""

from __future__ import annotations

import gzip
import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import format_datetime
from itertools import groupby
from typing import Any

import orjson

from medmirror.clock import at as moment_of
from medmirror.clock import microseconds
from medmirror.readers.json.values import moment
from medmirror_testing.samples.fhir_basics import Resource
from medmirror_testing.servers.fhirdata import FhirStore, Version, instant
from medmirror_testing.servers.fhirreplies import fhir, outcome
from medmirror_testing.servers.server import Reply, Request

_TOGETHER = 3  # deletions in one Bundle
_OF_NOBODY = frozenset(("Organization", "Location", "Practitioner", "PractitionerRole", "Schedule", "Slot"))


@dataclass
class Exporting:
    """The habits of this server's exports."""

    polls: int = 1  # so many times it says that it is still preparing
    retry_after: str = "1"  # what it then says of the time; "": nothing
    per_file: int = 500
    packed: bool = False  # files are gzipped on their way
    ranges: bool = True
    counts: bool = True
    token_for_files: bool = True
    expires: float | None = 3600.0  # seconds that files are kept
    per_manifest: int = 1000  # files named in one page of the manifest
    errors: list[Resource] = field(default_factory=list)  # OperationOutcomes
    miscounts: int = 0  # by how many the manifest's counts are too high
    fails: str = ""  # the issue code that a job ends with, instead of a manifest


@dataclass
class _Job:
    number: int
    time: int
    request: str
    files: dict[str, bytes]
    lists: dict[str, list[dict[str, Any]]]
    polls: int


class Exports:
    """The exports of *store* that are under way or kept. ``kicked_off`` counts all that were asked for."""

    def __init__(self, store: FhirStore, exporting: Exporting) -> None:
        self._store, self._habits = store, exporting
        self._jobs: dict[int, _Job] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.kicked_off = 0

    @property
    def kept(self) -> int:
        """The number of exports that have not been cleaned up."""
        return len(self._jobs)

    def forget(self) -> None:
        """Lose every export, as a server that is set up anew."""
        with self._lock:
            self._jobs.clear()

    def kick_off(self, request: Request, url: str, level: str) -> Reply:
        """Begin the export that *request* asks for, of the system or of *level* (Patient, Group/ID)."""
        if request.headers.get("prefer") != "respond-async" or "json" not in request.headers.get("accept", ""):
            return outcome(400, "invalid")
        with self._lock:
            self.kicked_off += 1
            job = self._job(next(self._numbers), request, url, level)
            self._jobs[job.number] = job
        return Reply(202, b"", {"Content-Location": f"{url}/bulk/status/{job.number}"})

    def _job(self, number: int, request: Request, url: str, level: str) -> _Job:
        types = [name for value in request.values("_type") for name in value.split(",")]
        since_time = moment(request.value("_since"))
        since = microseconds(since_time) if since_time else -1
        job = _Job(number, self._store.now(), url + request.target, {}, {"output": [], "deleted": [], "error": []}, 0)
        versions = [
            version
            for version in self._store.current()
            if version.time > since and (not types or version.kind in types)
        ]
        versions = [version for version in versions if not level or version.kind not in _OF_NOBODY]
        living = sorted((version for version in versions if version.body is not None), key=lambda version: version.kind)
        for kind, group in groupby(living, key=lambda version: version.kind):
            self._write(job, url, "output", kind, [version.body for version in group if version.body is not None])
        if since >= 0:
            gone = list(_deletions(job.time, [version for version in versions if version.body is None]))
            self._write(job, url, "deleted", "Bundle", gone)
        self._write(job, url, "error", "OperationOutcome", self._habits.errors)
        return job

    def _write(self, job: _Job, url: str, where: str, kind: str, resources: Sequence[Resource]) -> None:
        for start in range(0, len(resources), self._habits.per_file):
            part = resources[start : start + self._habits.per_file]
            name = f"{kind}.{where}.{start // self._habits.per_file:03d}.ndjson"
            job.files[name] = b"".join(orjson.dumps(resource) + b"\n" for resource in part)
            count = {"count": len(part) + self._habits.miscounts} if self._habits.counts else {}
            job.lists[where].append({"type": kind, "url": f"{url}/bulk/files/{job.number}/{name}", **count})

    def answer(self, request: Request, url: str) -> Reply:
        """The answer to a request for a job's status or one of its files."""
        _, _, what, number, *rest = request.path.split("/")
        with self._lock:
            job = self._jobs.get(int(number)) if number.isdigit() else None
            if job is None:
                return outcome(404, "not-found")
            if what == "status" and request.method == "DELETE":
                del self._jobs[job.number]
                return Reply(202)
        if what == "files":
            return self._file(request, job, rest[0] if rest else "")
        return self._status(job, url, int(rest[0]) if rest else 0)

    def _status(self, job: _Job, url: str, page: int) -> Reply:
        if self._habits.fails:
            return outcome(500, self._habits.fails)
        if job.polls < self._habits.polls:
            job.polls += 1
            wait = {"Retry-After": self._habits.retry_after} if self._habits.retry_after else {}
            return Reply(202, b"", {"X-Progress": f"{job.polls} of {self._habits.polls}", **wait})
        every = [(name, listing) for name, listings in job.lists.items() for listing in listings]
        size = self._habits.per_manifest
        here = every[page * size : (page + 1) * size]
        manifest: dict[str, Any] = {
            "transactionTime": instant(job.time),
            "request": job.request,
            "requiresAccessToken": self._habits.token_for_files,
            **{where: [listing for name, listing in here if name == where] for where in job.lists},
        }
        if (page + 1) * size < len(every):
            manifest["link"] = [{"relation": "next", "url": f"{url}/bulk/status/{job.number}/{page + 1}"}]
        expires = self._habits.expires
        then = {} if expires is None else {"Expires": _http_date(job.time + int(expires * 1_000_000))}
        return fhir(manifest, 200, then)

    def _file(self, request: Request, job: _Job, name: str) -> Reply:
        expires = self._habits.expires
        if name not in job.files or (expires is not None and self._store.now() > job.time + expires * 1_000_000):
            return outcome(404, "not-found")
        body = job.files[name]
        headers = {"Content-Type": "application/fhir+ndjson", "ETag": f'"{job.number}-{name}"'}
        if self._habits.packed and "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, mtime=0)
            headers["Content-Encoding"] = "gzip"
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not asked or not self._habits.ranges:
            return Reply(200, body, headers)
        start = int(asked[1])
        if start >= len(body):
            return Reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        last = min(int(asked[2] or len(body)), len(body) - 1)
        place = {"Content-Range": f"bytes {start}-{last}/{len(body)}"}
        return Reply(206, body[start : last + 1], {**headers, **place})


def _deletions(time: int, versions: Sequence[Version]) -> Iterator[Resource]:
    """Transactions that delete *versions*."""
    for start in range(0, len(versions), _TOGETHER):
        entry = [
            {"request": {"method": "DELETE", "url": f"{version.kind}/{version.id}"}}
            for version in versions[start : start + _TOGETHER]
        ]
        meta = {"lastUpdated": instant(time)}
        yield {"resourceType": "Bundle", "id": f"gone-{start}", "meta": meta, "type": "transaction", "entry": entry}


def _http_date(time: int) -> str:
    return format_datetime(moment_of(time), usegmt=True)
