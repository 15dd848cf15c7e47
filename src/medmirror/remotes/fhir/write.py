"""Writes to a FHIR server: only onto the version that was read, and once for each idempotency key.

The key goes with the resource, as a tag (``meta.tag``) that every type can have and that can be searched: a create asks
first whether there is one with the tag, and has the server ask again (``If-None-Exist``). A write onto a version
(``If-Match``) that is refused is looked for in the resource's history: it may be ours, whose answer was lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import quote

from medmirror.errors import RemoteRefused, RemoteUnavailable, StaleWrite
from medmirror.readers.json.pieces import parse
from medmirror.readers.json.values import moment, moment_number
from medmirror.remotes.base import Pushed
from medmirror.remotes.fhir import bundles as fhirbundles
from medmirror.remotes.fhir.bundles import child
from medmirror.remotes.http.answer import Answer
from medmirror.remotes.http.client import Http

TAG = "urn:medmirror:idempotency-key"
JSON = {"Content-Type": "application/fhir+json", "Prefer": "return=representation"}
_STALE = frozenset((404, 409, 410, 412))
_PLACE = re.compile(r"([A-Za-z0-9.-]{1,64})(?:/_history/([A-Za-z0-9.-]{1,64}))?/?")


class _Write(NamedTuple):
    http: Http
    feed: str
    code: str  # of the tag

    def place(self, id: str) -> str:
        return f"{self.feed}/{quote(id, safe='')}"


def push(
    http: Http, feed: str, document: Mapping[str, Any], id: str | None, expected: str | None, idempotency_key: str
) -> Pushed:
    """Write *document*, see Remote.push. With an *id* and no *expected* version it is written onto any."""
    write = _Write(http, feed, sha256(idempotency_key.encode()).hexdigest()[:40])
    body = _prepared(document, feed, id, write.code)
    if id is None:
        return _create(write, body)
    if expected is None and (done := _done_before(write, id, None)):
        return done
    headers = {**JSON, **({"If-Match": f'W/"{expected}"'} if expected is not None else {})}
    try:
        answer = http.put(write.place(id), body, headers)
    except RemoteRefused as error:
        if error.context.get("status") not in _STALE:
            raise
        status = error.context["status"]
    else:
        return _pushed(answer, feed, id)
    done = _done_before(write, id, expected)
    if done is None:
        raise StaleWrite(feed=feed, status=status)
    return done


def _prepared(document: Mapping[str, Any], feed: str, id: str | None, code: str) -> dict[str, Any]:
    """*document* as it is sent: what the server sets is left out, the tag is there."""
    meta = {
        key: value for key, value in (document.get("meta") or {}).items() if key not in ("versionId", "lastUpdated")
    }
    tags = [tag for tag in meta.get("tag") or () if tag.get("system") != TAG]
    body = {key: value for key, value in document.items() if key not in ("id", "meta")}
    own = {"id": id} if id is not None else {}
    return {**body, "resourceType": feed, **own, "meta": {**meta, "tag": [*tags, {"system": TAG, "code": code}]}}


def _create(write: _Write, body: Mapping[str, Any]) -> Pushed:
    query = f"_tag={quote(f'{TAG}|{write.code}', safe='')}"
    entries = fhirbundles.read(write.http.get(write.feed, [("_tag", f"{TAG}|{write.code}")]).body).entries
    if entries:
        return _done_before(write, entries[0].id, None) or Pushed(
            entries[0].id, entries[0].version or None, entries[0].time
        )
    return _pushed(write.http.post(write.feed, body, {**JSON, "If-None-Exist": query}), write.feed, None)


def _done_before(write: _Write, id: str, expected: str | None) -> Pushed | None:
    """What the write with the same key did to *id*: the oldest version that has its tag; None: it was not written."""
    try:
        entries = fhirbundles.read(write.http.get(f"{write.place(id)}/_history").body).entries
    except (RemoteRefused, RemoteUnavailable) as error:
        if error.context.get("status") not in (404, 405, 410, 501):
            raise
        return _current(write, id, expected)
    ours = [entry for entry in entries if _tagged(entry.raw, write.code)]
    return Pushed(id, ours[-1].version or None, ours[-1].time) if ours else None


def _current(write: _Write, id: str, expected: str | None) -> Pushed | None:
    """The same of a server that keeps no history: the newest version must be the one after *expected*."""
    try:
        body = write.http.get(write.place(id)).body
    except RemoteRefused as error:
        if error.context.get("status") not in (404, 410):
            raise
        return None
    _, entry = fhirbundles.alone(body, 0)
    follows = (
        not (entry.version.isdigit() and (expected or "").isdigit()) or int(entry.version) == int(expected or 0) + 1
    )
    return Pushed(id, entry.version or None, entry.time) if follows and _tagged(entry.raw, write.code) else None


def _tagged(raw: bytes, code: str) -> bool:
    value = parse(raw)[0]
    tags = child(child(value, "resource"), "meta").get("tag")
    listed = tags if isinstance(tags, list) else ()
    return any(tag.get("system") == TAG and tag.get("code") == code for tag in listed if isinstance(tag, dict))


def _pushed(answer: Answer, feed: str, id: str | None) -> Pushed:
    """What was written, by the resource that was answered, or by the headers where none was."""
    value = parse(answer.body)[0] if answer.body else None
    resource = value if isinstance(value, dict) and value.get("resourceType") == feed else {}
    meta = child(resource, "meta")
    place = answer.headers.get("location", "").rpartition(f"/{feed}/")[2]
    match = _PLACE.fullmatch(place)
    etag = re.fullmatch(r'(?:W/)?"([^"]+)"', answer.headers.get("etag", ""))
    name = resource.get("id") or (match[1] if match else None) or id
    version = meta.get("versionId") or (etag[1] if etag else None) or (match[2] if match else None)
    if not name:
        raise RemoteUnavailable("The server took a new record and did not say what it is called.", feed=feed)
    time = moment_number(moment(meta.get("lastUpdated"))) or answer.date or 0
    return Pushed(str(name), str(version) if version else None, time)
