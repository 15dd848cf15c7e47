"""A local FHIR R4 server: search, history, read, write with If-Match and If-None-Exist, Bulk export, SMART tokens.

Its clock is the one it is given (resources are stamped by it, and the Date header). Beside the faults of every local
server it forgets page tokens (``expired``), lists nothing (``empty``), touches its oldest resource after a page
(``touched``) and writes late or equal times (``late``, ``equal``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from medmirror.clock import SYSTEM, Clock
from medmirror_testing.samples.fhir_basics import Resource
from medmirror_testing.servers.bulkserver import Exporting, Exports
from medmirror_testing.servers.fhirdata import FhirStore, Version, touch
from medmirror_testing.servers.fhirpaging import BadQuery, Gone, Habits, Pager, matching
from medmirror_testing.servers.fhirreplies import fhir, outcome, validators
from medmirror_testing.servers.hostile import Faults
from medmirror_testing.servers.server import LocalServer, Reply, Request

ROOT = "/fhir"


@dataclass
class Ways:
    """The abilities of this server, and the authorization that it wants."""

    history: bool = True
    conditional: bool = True  # If-None-Exist
    authorization: str = ""  # the header that it wants; "": none
    token: Callable[[Request], Reply] | None = None  # its token endpoint
    body_on_write: bool = True  # answers a write with the resource


class FhirServer:
    """A FHIR server on 127.0.0.1; a context manager. A client is given ``base``; ``store`` may be written to at any
    time. ``habits``, ``ways`` and ``exporting`` may be changed while it runs."""

    def __init__(self, clock: Clock = SYSTEM, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.store = FhirStore(clock.now, self.faults)
        self.habits = Habits()
        self.ways = Ways()
        self.exporting = Exporting()
        self.pager = Pager(self.store, self.habits)
        self.exports = Exports(self.store, self.exporting)
        self.http = LocalServer(self.handle, self.faults, clock)

    @property
    def base(self) -> str:
        """The base of its resources."""
        return self.http.url + ROOT

    def __enter__(self) -> Self:
        self.http.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.stop()

    def handle(self, request: Request) -> Reply:
        """The answer to *request*."""
        if request.path == "/token" and self.ways.token is not None:
            return self.ways.token(request)
        bulk = request.path.startswith("/bulk/")
        open_file = bulk and request.path.startswith("/bulk/files/") and not self.exporting.token_for_files
        if (
            self.ways.authorization
            and not open_file
            and request.headers.get("authorization") != self.ways.authorization
        ):
            return outcome(401, "login")
        if bulk:
            return self.exports.answer(request, self.http.url)
        if not request.path.startswith(ROOT):
            return outcome(404, "not-found")
        try:
            return self._handle_resources(request, [part for part in request.path[len(ROOT) :].split("/") if part])
        except BadQuery:
            return outcome(400, "invalid")
        except Gone:
            return outcome(410, "expired")

    def _handle_resources(self, request: Request, parts: list[str]) -> Reply:
        if parts and parts[-1] == "$export":
            return self.exports.kick_off(request, self.http.url, "/".join(parts[:-1]))
        if not parts:
            if self.faults.strikes("expired", request.path):
                self.pager.forget()
            return fhir(self.pager.next(self.base, request.value("_page")))
        if parts == ["metadata"]:
            return fhir(_metadata())
        if len(parts) == 1:
            return self._create(request, parts[0]) if request.method == "POST" else self._search(request, parts[0])
        if parts[-1] == "_history":
            return self._history(request, parts)
        return self._handle_instance(request, parts[0], parts[1])

    def _search(self, request: Request, kind: str) -> Reply:
        if self.faults.strikes("empty", request.path):
            return fhir({"resourceType": "Bundle", "type": "searchset", "total": 0})
        reply = fhir(self.pager.search(self.base, kind, request.query))
        if self.faults.strikes("touched", request.path):
            touch(self.store, kind)
        return reply

    def _history(self, request: Request, parts: list[str]) -> Reply:
        if not self.ways.history:
            return outcome(405, "not-supported")
        if len(parts) == 2:
            return fhir(self.pager.history(self.base, parts[0], request.query))
        return fhir(self.pager.instance_history(self.base, parts[0], parts[1]))

    def _handle_instance(self, request: Request, kind: str, id: str) -> Reply:
        now = self.store.read(kind, id)
        if request.method == "PUT":
            return self._update(request, kind, id, now)
        if request.method == "DELETE":
            self.store.delete(kind, id)
            return Reply(204)
        if now is None:
            return outcome(404, "not-found")
        if now.body is None:
            return outcome(410, "deleted")
        if request.headers.get("if-none-match") == f'W/"{now.number}"':
            return Reply(304, b"", validators(now))
        return fhir(now.body, 200, validators(now))

    def _create(self, request: Request, kind: str) -> Reply:
        asked = request.headers.get("if-none-exist")
        if asked and self.ways.conditional:
            matches = matching(self.store, kind, asked)
            if len(matches) > 1:
                return outcome(412, "multiple-matches")
            if matches:
                return self._written(200, matches[0])
        value = self._resource(request, kind)
        if isinstance(value, Reply):
            return value
        value.pop("id", None)
        return self._written(201, self.store.put(value))

    def _update(self, request: Request, kind: str, id: str, now: Version | None) -> Reply:
        wanted = request.headers.get("if-match")
        if wanted is not None and (now is None or now.body is None or wanted != f'W/"{now.number}"'):
            return outcome(412, "conflict")
        value = self._resource(request, kind)
        if isinstance(value, Reply):
            return value
        if value.get("id") != id:
            return outcome(400, "invalid")
        return self._written(200 if now is not None else 201, self.store.put(value))

    def _resource(self, request: Request, kind: str) -> Resource | Reply:
        try:
            value = request.json()
        except ValueError:
            return outcome(400, "structure")
        if not isinstance(value, dict) or value.get("resourceType") != kind:
            return outcome(400, "invalid")
        return value if kind != "Patient" or value.get("name") else outcome(422, "required")

    def _written(self, status: int, version: Version) -> Reply:
        place = {
            "Location": f"{self.base}/{version.kind}/{version.id}/_history/{version.number}",
            **validators(version),
        }
        return fhir(version.body, status, place) if self.ways.body_on_write else Reply(status, b"", place)


def _metadata() -> Resource:
    return {"resourceType": "CapabilityStatement", "status": "active", "fhirVersion": "4.0.1", "format": ["json"]}
