"""Searches and histories of a local FHIR server: matches, order, pages.

The next page stands behind an opaque token. A server either **snapshots** what was found at the first page, or asks
anew for each one and skips so many (**offset**), so that a resource which is touched between two pages shifts another
one out of sight, as it is in many servers. A token dies after its time.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, quote

from medmirror.clock import microseconds
from medmirror.readers.json.values import moment
from medmirror_testing.samples.fhir_basics import Resource
from medmirror_testing.servers.fhirdata import FhirStore, Version, instant

Query = Sequence[tuple[str, str]]
_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
    "le": lambda a, b: a <= b,
    "lt": lambda a, b: a < b,
    "eq": lambda a, b: a == b,
}
MOST = 1000  # what _count is cut down to


class BadQuery(Exception):
    """The server does not understand the query."""


class Gone(Exception):
    """The page token does not exist, or no longer."""


@dataclass
class Habits:
    """The paging habits of this server."""

    paging: Literal["snapshot", "offset"] = "snapshot"
    totals: bool = True
    sorts: bool = True  # False: in an order of its own, whatever it is asked for
    outcomes: bool = False  # each page also says something about the search
    token_seconds: float = 600.0
    empty_pages: int = 0  # so many empty pages with a next link before the first one that holds something


class _Held(NamedTuple):
    kind: str
    query: Query
    offset: int
    matches: Sequence[Version] | None  # the snapshot
    begun: int
    empty: int
    history: bool


class Pager:
    """Answers searches and histories of *store*, and remembers where their next pages begin."""

    def __init__(self, store: FhirStore, habits: Habits) -> None:
        self._store, self._habits = store, habits
        self._held: dict[str, _Held] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def search(self, base: str, kind: str, query: Query) -> Resource:
        """The first page of a search."""
        matches = self._select(kind, query)
        return self._page(base, _Held(kind, query, 0, matches, self._store.now(), self._habits.empty_pages, False))

    def history(self, base: str, kind: str, query: Query) -> Resource:
        """The first page of the history of a type; newest versions first."""
        versions = self._versions(kind, query)
        return self._page(base, _Held(kind, query, 0, versions, self._store.now(), 0, True))

    def instance_history(self, base: str, kind: str, id: str) -> Resource:
        """Every version of one resource, newest first."""
        entry = [_history_entry(base, version) for version in self._store.history(kind, id)]
        return {"resourceType": "Bundle", "type": "history", "total": len(entry), "entry": entry}

    def next(self, base: str, token: str) -> Resource:
        """The page behind *token*. Raises Gone."""
        with self._lock:
            held = self._held.get(token)
        if held is None or self._store.now() - held.begun > self._habits.token_seconds * 1_000_000:
            raise Gone
        return self._page(base, held)

    def forget(self) -> None:
        """Have every token expire."""
        with self._lock:
            self._held.clear()

    def _page(self, base: str, held: _Held) -> Resource:
        asked = dict(held.query).get("_count", "50")
        count = min(max(int(asked), 1), MOST) if asked.isdigit() else 50
        if held.matches is not None and (self._habits.paging == "snapshot" or not held.offset):
            matches = held.matches
        else:
            matches = self._versions(held.kind, held.query) if held.history else self._select(held.kind, held.query)
        shown = matches[held.offset : held.offset + count] if not held.empty else ()
        entry = [_history_entry(base, version) if held.history else _entry(base, version) for version in shown]
        if self._habits.outcomes and not held.history:
            entry.append(_warning())
        bundle: Resource = {
            "resourceType": "Bundle",
            "type": "history" if held.history else "searchset",
            "timestamp": instant(self._store.now()),
            "link": [{"relation": "self", "url": f"{base}/{held.kind}?{_text(held.query)}"}],
            "entry": entry,
        }
        if self._habits.totals:
            bundle["total"] = len(matches)
        if held.offset + len(shown) < len(matches):
            onward = held._replace(offset=held.offset + len(shown), matches=matches, empty=max(0, held.empty - 1))
            bundle["link"].append({"relation": "next", "url": f"{base}?_page={self._token(onward)}"})
        return bundle

    def _token(self, held: _Held) -> str:
        with self._lock:
            token = f"t{next(self._numbers):08x}"
            self._held[token] = held
        return token

    def _select(self, kind: str, query: Query) -> list[Version]:
        matches = [version for version in self._store.living(kind) if all(_matches(version, *asked) for asked in query)]
        order = dict(query).get("_sort", "")
        if not self._habits.sorts or not order:
            return sorted(matches, key=lambda version: version.id)
        for name in reversed(order.split(",")):
            key = _SORTS.get(name.lstrip("-"))
            if key is None:
                raise BadQuery(name)
            matches.sort(key=key, reverse=name.startswith("-"))
        return matches

    def _versions(self, kind: str, query: Query) -> list[Version]:
        since = dict(query).get("_since")
        least = _time(since) if since else 0
        return [version for version in self._store.history(kind) if version.time >= least]


_SORTS: Mapping[str, Callable[[Version], Any]] = {
    "_lastUpdated": lambda version: version.time,
    "_id": lambda version: version.id,
}


def _matches(version: Version, name: str, value: str) -> bool:
    if name in ("_count", "_sort", "_total", "_format", "_elements"):
        return True
    if name == "_lastUpdated":
        how, bound = (value[:2], value[2:]) if value[:2] in _COMPARE else ("eq", value)
        return _COMPARE[how](version.time, _time(bound))
    if name == "_id":
        return version.id in value.split(",")
    body = version.body or {}
    if name in ("_tag", "identifier"):
        system, _, code = value.rpartition("|")
        codings = (body.get("meta") or {}).get("tag") if name == "_tag" else body.get("identifier")
        field = "code" if name == "_tag" else "value"
        return any(each.get("system", "") == system and each.get(field) == code for each in codings or ())
    raise BadQuery(name)


def matching(store: FhirStore, kind: str, query: str) -> list[Version]:
    """The living resources that match the text of a query (of If-None-Exist)."""
    asked = parse_qsl(query)
    return [version for version in store.living(kind) if all(_matches(version, *each) for each in asked)]


def _time(text: str) -> int:
    time = moment(text.replace(" ", "+"))
    if time is None:
        raise BadQuery("a time")
    return microseconds(time)


def _text(query: Query) -> str:
    return "&".join(f"{quote(name)}={quote(value)}" for name, value in query)


def _entry(base: str, version: Version) -> Resource:
    return {"fullUrl": f"{base}/{version.kind}/{version.id}", "resource": version.body, "search": {"mode": "match"}}


def _warning() -> Resource:
    issue = {"severity": "warning", "code": "processing", "diagnostics": "Something about the search."}
    return {"resource": {"resourceType": "OperationOutcome", "issue": [issue]}, "search": {"mode": "outcome"}}


def _history_entry(base: str, version: Version) -> Resource:
    """An entry of a history: a deletion has no resource."""
    url = f"{version.kind}/{version.id}"
    answer = {"etag": f'W/"{version.number}"', "lastModified": instant(version.time)}
    if version.body is None:
        request = {"method": "DELETE", "url": url}
        return {"fullUrl": f"{base}/{url}", "request": request, "response": {"status": "204", **answer}}
    request = {"method": "PUT" if version.number > 1 else "POST", "url": url if version.number > 1 else version.kind}
    return {
        "fullUrl": f"{base}/{url}",
        "resource": version.body,
        "request": request,
        "response": {"status": "200" if version.number > 1 else "201", **answer},
    }
