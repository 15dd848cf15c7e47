"""A FHIR R4 server, by search: what was changed, what its history says was deleted, single resources, writes.

**Position.** ``meta.lastUpdated``. Where a server does not say it of its resources, its lists are read to their end
before anything is claimed of them (``fhirsearch``), and a copy is as new as the answer that it came in.

**Deletions.** A search never shows them. The history of a type does; where the server keeps none, ``deleted`` lists
nothing, the next time that is said by the capabilities, and only a full sync finds what is missing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from medmirror.errors import (
    AuthenticationFailed,
    PageExpired,
    RemoteRefused,
    RemoteUnavailable,
    SyncError,
    UsageError,
)
from medmirror.remotes.base import Around, Capabilities, Kind, Page, Position, Pushed, Secret
from medmirror.remotes.fhir import auth as fhirauth
from medmirror.remotes.fhir import bundles as fhirbundles
from medmirror.remotes.fhir import links as fhirlinks
from medmirror.remotes.fhir import search as fhirsearch
from medmirror.remotes.fhir import write as fhirwrite
from medmirror.remotes.fhir.bundles import Bundle
from medmirror.remotes.fhir.search import Search
from medmirror.remotes.http.client import Http

log = logging.getLogger(__name__)

TYPES = (
    "Organization", "Location", "Practitioner", "PractitionerRole", "Patient", "Coverage", "Appointment", "Encounter",
    "MedicationRequest", "DocumentReference",
)  # fmt: skip
"""The types that the mapping of FHIR knows, referenced ones first."""

_TYPE = re.compile(r"[A-Z][A-Za-z]{2,39}", re.ASCII)
_NO_HISTORY = "fhir:no history"
_UNSUPPORTED = frozenset((403, 404, 405, 501))
_NOT_OFFERED = frozenset((403, 404, 405))
_GONE = frozenset((404, 410))
_FRESH = {"Cache-Control": "no-cache"}  # some servers answer a search with what it found a minute ago
_COUNT = 200


class FhirRemote:
    """A FHIR server, opened for one organisation. Not shared between threads."""

    source = "fhir"

    def __init__(
        self, http: Http, around: Around, types: Sequence[str], *, count: int, sort: str, history: bool, totals: bool
    ) -> None:
        self._http, self._notes, self._around = http, around.notes, around
        self._lacking: set[str] = set()
        self._types, self._count, self._sort, self._totals = tuple(types), count, sort, totals
        self._history = history and self._notes.get(_NO_HISTORY) is None

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; whether it keeps a history is known when it was asked for one."""
        gone = self._types if self._history else ()
        return Capabilities(self._types, deleted=gone, push=self._types, get=True)

    def now(self) -> int:
        """The server's clock, by the Date header of a small search."""
        failure: SyncError | None = None
        for feed in self._types:
            try:
                answer = self._http.get(feed, [("_count", "1"), ("_elements", "id")])
            except (RemoteRefused, AuthenticationFailed) as error:
                if not _is_lacking(error):
                    raise
                failure = failure or error
                continue
            if answer.date is None:
                raise RemoteRefused("The server's answers have no Date; its clock cannot be known.")
            return answer.date
        assert failure is not None
        raise failure  # a key or an address with which there is nothing at all

    def changed(self, feed: str, since: Position, until: int) -> Iterator[Page]:
        """Every resource of type *feed* changed in that time; see ``fhirsearch``."""
        begun = since.time > 0
        try:
            for page in fhirsearch.changed(self._search(feed), since, until):
                begun = True
                yield page
        except (RemoteRefused, AuthenticationFailed) as error:
            if begun or not _is_lacking(error):  # what it gave before is not to end without a word
                raise
            self._lacking.add(feed)
            self._around.lacking(feed)
            log.warning("The server gives no %s (status %s): it is left out.", feed, error.context.get("status"))

    def window(self, feed: str, start: datetime, end: datetime) -> Iterator[Page]:
        """No type is listed by when its resources begin: how that is searched differs from type to type."""
        raise UsageError(f"{feed} is not listed by when its records begin.")

    def deleted(self, feed: str, since: int, until: int) -> Iterator[Page]:
        """What the history of *feed* says was deleted in that time, as a transaction that deletes it."""
        if not self._history or feed in self._lacking:
            return
        try:
            yield from fhirsearch.deleted(self._search(feed), since, until)
        except (RemoteRefused, RemoteUnavailable, AuthenticationFailed) as error:
            if error.context.get("status") not in _UNSUPPORTED:
                raise
            log.warning("The server keeps no history: deletions are found by full syncs alone.")
            self._history = False
            self._notes.set(_NO_HISTORY, "1")

    def get(self, feed: str, id: str) -> Page | None:
        """The resource as a Bundle of one."""
        try:
            answer = self._http.get(f"{feed}/{quote(id, safe='')}")
        except RemoteRefused as error:
            if error.context.get("status") not in _GONE:
                raise
            return None
        body, entry = fhirbundles.alone(answer.body, answer.date or 0)
        return Page(feed, feed, body, 1, Position(entry.time, entry.id) if entry.time else None)

    def push(
        self, feed: str, document: Mapping[str, Any], *, id: str | None, expected: str | None, idempotency_key: str
    ) -> Pushed:
        """PUT with If-Match, or POST with If-None-Exist; see ``fhirwrite``. Whatever *document* says of its own version
        is left out."""
        return fhirwrite.push(self._http, feed, document, id, expected, idempotency_key)

    def close(self) -> None:
        """End its connections."""
        self._http.close()

    def _search(self, feed: str) -> Search:
        return Search(self._ask, feed, self._count, self._sort, self._totals)

    def _ask(self, address: str, params: Sequence[tuple[str, str]]) -> Bundle:
        link = "://" in address
        try:
            answer = self._http.get(address, params, _FRESH)
            bundle = fhirbundles.read(answer.body, answer.date)
            if bundle.next is not None:
                bundle = bundle._replace(next=fhirlinks.onward(self._http, address, bundle.next))
            return bundle if self._totals else bundle._replace(total=None)
        except RemoteRefused as error:
            if not link or error.context.get("status") not in _GONE:
                raise
        raise PageExpired


def _is_lacking(error: SyncError) -> bool:
    """Whether *error* says of a type that the server has none, or that our scope does not cover it."""
    return error.context.get("status") in _NOT_OFFERED


def types_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The setting *types*, a list or names with commas between; none when there is none. UsageError."""
    types = settings.get("types") or ()
    names = tuple(name.strip() for name in types.split(",")) if isinstance(types, str) else tuple(types)
    if not all(isinstance(name, str) and _TYPE.fullmatch(name) for name in names) or len(set(names)) < len(names):
        raise UsageError("The setting types names types of resource, each once, for example Patient,Appointment.")
    return names


def connect(settings: Mapping[str, Any], secret: Secret | None, around: Around, described: Mapping[str, str]) -> Http:
    """Requests to the server that *settings* name. Raises UsageError when they hold what is not *described*."""
    if unknown := sorted(set(settings) - set(described)):
        raise UsageError(f"There is no setting {unknown[0]!r}; there are {', '.join(described)}.")
    if not isinstance(settings.get("url"), str):
        raise UsageError("The setting url, the server's base URL (like https://fhir.example.org/r4), is missing.")
    auth = fhirauth.auth(settings, secret, around)
    return Http(settings["url"], around, auth=auth, headers={"Accept": "application/fhir+json"})


SETTINGS = {
    **fhirauth.SETTINGS,
    "types": f"the types of resource to list, referenced ones first; {', '.join(TYPES)}",
    "count": f"resources a page; {_COUNT}",
    "sort": "how lists are sorted; _lastUpdated,_id (some servers take _lastUpdated alone)",
    "history": "whether deletions are looked for in the server's history; true",
    "totals": "whether the totals of the server's lists are exact, so that lists are checked against them; true",
}


def _open(organization: str, settings: Mapping[str, Any], secret: Secret | None, around: Around) -> FhirRemote:
    count, flags = settings.get("count", _COUNT), {name: settings.get(name, True) for name in ("history", "totals")}
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 10_000:
        raise UsageError("The setting count is a whole number of at most 10000.")
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise UsageError("The settings history and totals are true or false.")
    sort = str(settings.get("sort") or "_lastUpdated,_id")
    http = connect(settings, secret, around, SETTINGS)
    return FhirRemote(http, around, types_of(settings) or TYPES, count=count, sort=sort, **flags)


REMOTE = Kind("fhir", SETTINGS, _open, windows=((300, 60), (10_000, 3600)))
