"""What a FHIR server answers, and the pages that are made of it.

A page is a Bundle of its own: the entries that are records, each with the very bytes that the server wrote (a decimal
keeps its zeros), and nothing of what surrounds them: links hold tokens, and what a search says of itself is no record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from medmirror.clock import at
from medmirror.errors import AuthenticationFailed, RemoteRefused, RemoteUnavailable, SyncError
from medmirror.readers.json.pieces import parse, pieces
from medmirror.readers.json.values import moment, moment_number
from medmirror.sources.fhir.members import member

_SEVERE = frozenset(("error", "fatal"))
_PASSING = frozenset(("transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled"))
_LOGIN = frozenset(("login", "expired", "security", "unknown-user"))
_CODES = frozenset((
    "invalid", "structure", "required", "value", "invariant", "security", "login", "unknown", "expired", "forbidden",
    "suppressed", "processing", "not-supported", "duplicate", "multiple-matches", "not-found", "deleted", "too-long",
    "code-invalid", "extension", "too-costly", "business-rule", "conflict", "transient", "lock-error", "no-store",
    "exception", "timeout", "incomplete", "throttled", "informational",
))  # fmt: skip
"""What an issue can be, by the standard: of a server's own words none is repeated."""


class Entry(NamedTuple):
    """An entry of a Bundle. *time* is when its resource was last changed (microseconds since 1970; 0: nobody says);
    *raw* its bytes. *method* is that of a history's request."""

    kind: str
    id: str
    version: str
    time: int
    raw: bytes
    method: str = ""


class Bundle(NamedTuple):
    """A page as the server gave it: the entries that are records, in its order. *total*: what it says the whole search
    found; *next*: the link to the next page; *time*: as of when it says what it says, 0 when it does not say."""

    entries: tuple[Entry, ...]
    total: int | None
    next: str | None
    time: int


def read(body: bytes, date: int | None = None) -> Bundle:
    """The Bundle that *body* is, answered at *date*, which is its time where it says none. RemoteUnavailable when it is
    none; an OperationOutcome of an error, alone or among the entries, is that error and not an end."""
    value, reason = parse(body)
    if reason or not isinstance(value, dict):
        raise RemoteUnavailable("The answer is no JSON object; it was cut short, or is not of a FHIR server.")
    if value.get("resourceType") == "OperationOutcome":
        raise failure(value)
    if value.get("resourceType") != "Bundle":
        raise RemoteUnavailable("The answer is no Bundle; check that the setting url is the base of a FHIR server.")
    begin, end = member(body, body.index(b"{"), "entry")
    cut = list(pieces(body[begin : max(begin, end - 1)]))
    if [piece.value for piece in cut] != (value.get("entry") or []):  # "entry" stands twice, or is no list
        raise RemoteUnavailable("The answer's Bundle has more than one list of entries, or none that can be read.")
    entries = [_entry(body[begin:end], piece.start, piece.end, piece.value) for piece in cut]
    total, links = value.get("total"), value.get("link")
    listed = links if isinstance(links, list) else ()
    onward = [piece.get("url") for piece in listed if isinstance(piece, dict) and piece.get("relation") == "next"]
    stamp = value.get("timestamp") or child(value, "meta").get("lastUpdated")
    return Bundle(
        tuple(piece for piece in entries if piece is not None),
        total if isinstance(total, int) else None,
        str(onward[0]) if onward and onward[0] else None,
        moment_number(moment(stamp)) or date or 0,
    )


def _entry(data: bytes, start: int, end: int, value: Any) -> Entry | None:
    """The entry as a record; None when it is what the search says of itself."""
    if not isinstance(value, dict):
        raise RemoteUnavailable("The answer's Bundle has an entry that is no object.")
    resource, answer, request = (child(value, name) for name in ("resource", "response", "request"))
    kind = str(resource.get("resourceType", ""))
    if kind == "OperationOutcome" or child(value, "search").get("mode") == "outcome":
        if _severity(resource):
            raise failure(resource)
        return None
    meta = child(resource, "meta")
    url = str(request.get("url") or value.get("fullUrl") or "").partition("/_history")[0]
    kind = kind or url.rpartition("/")[0].rpartition("/")[2]
    id = str(resource.get("id") or url.rpartition("/")[2])
    time = moment_number(moment(meta.get("lastUpdated") or answer.get("lastModified")))
    method = str(request.get("method", ""))
    return Entry(kind, id, str(meta.get("versionId", "")), time, data[start:end], method)


def child(value: Any, name: str) -> Mapping[str, Any]:
    """The object called *name* in *value*; an empty one where either is something else."""
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _severity(outcome: Mapping[str, Any]) -> list[str]:
    """The codes of an outcome's issues that are errors."""
    issues = outcome.get("issue")
    objects = [issue for issue in issues if isinstance(issue, dict)] if isinstance(issues, list) else []
    return [str(issue.get("code", "")) for issue in objects if issue.get("severity") in _SEVERE]


def failure(outcome: Mapping[str, Any]) -> SyncError:
    """The error that an OperationOutcome tells of. Only codes of the standard are repeated: its texts may quote."""
    codes = _severity(outcome)
    named = ", ".join(sorted(set(codes) & _CODES)) or "none of the standard"
    if codes and set(codes) <= _PASSING:
        return RemoteUnavailable("The server answered that something went wrong for now.", codes=named)
    if set(codes) & _LOGIN:
        return AuthenticationFailed(codes=named)
    return RemoteRefused("The server answered that it cannot do what was asked.", codes=named)


def page(entries: Iterable[bytes], *, kind: str = "searchset", time: int = 0) -> bytes:
    """A Bundle of *entries* as they stand. *time* is when they were true, for those that do not say so themselves."""
    begin: dict[str, Any] = {"resourceType": "Bundle", "type": kind}
    if time:
        begin["timestamp"] = text(time)
    return orjson.dumps(begin)[:-1] + b',"entry":[' + b",".join(entries) + b"]}"


def deletion(entry: Entry, time: int) -> bytes:
    """An entry that says that the resource of *entry* was deleted, at *time* when *entry* does not say when."""
    tombstone = {"request": {"method": "DELETE", "url": f"{entry.kind}/{entry.id}"}}
    return orjson.dumps({**tombstone, "response": {"status": "204", "lastModified": text(entry.time or time)}})


def alone(body: bytes, time: int) -> tuple[bytes, Entry]:
    """The resource *body* as a page of one, true at *time*; and what it is."""
    value, reason = parse(body)
    if reason or not isinstance(value, dict) or "resourceType" not in value:
        raise RemoteUnavailable("The answer is no resource; it was cut short, or is not of a FHIR server.")
    raw = b'{"resource":' + body + b"}"
    entry = _entry(raw, 0, len(raw), {"resource": value})
    if entry is None:
        raise failure(value)
    return page([raw], kind="collection", time=time), entry


def text(time: int) -> str:
    """*time* (microseconds since 1970) as FHIR writes an instant: to the millisecond, finer where it must be."""
    moment = at(time)
    exact = "microseconds" if time % 1000 else "milliseconds"
    return moment.isoformat(timespec=exact).replace("+00:00", "Z")
