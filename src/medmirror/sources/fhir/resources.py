"""Resources, alone or as entries of Bundles: items with key and version, COPY tuples, values for a user's functions."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from medmirror.copyformat import NULL, RawJson, encoder
from medmirror.errors import InvalidRecord, ParseError, RecordError
from medmirror.model import DELETION, Column, Flaw, Item
from medmirror.readers.json.native import Columns
from medmirror.readers.json.pieces import parse
from medmirror.readers.json.values import exactly, moment, moment_number
from medmirror.sources.base import Context, Feed
from medmirror.sources.fhir.members import member, members
from medmirror.sources.fhir.places import has_absolute, localised
from medmirror.sources.fhir.reading import WHOLE, Facts, Read, columns_of, read

KEY = (Column("organization_id", "text"), Column("resource_type", "text"), Column("id", "text"))
FEED = Feed(
    "resource",
    KEY,
    (
        Column("resource", "jsonb"),
        Column("version", "text"),
        Column("last_updated", "timestamptz"),
        Column("full_url", "text"),
    ),
    document="resource",
    place="full_url",
)
_NESTED = 8  # Bundles within Bundles
_NO_TIME = (
    "The deletion has no time, and no manifest.json that names this file lies beside it: nothing says what it deletes."
)


_TYPE = re.compile(r"[A-Z][A-Za-z0-9]*", re.ASCII)
_ETAG = re.compile(r'(?:W/)?"([0-9]{1,18})"', re.ASCII)
_VERSION = re.compile(r".*/_history/([0-9]{1,18})", re.ASCII)
_REFERENCE = re.compile(r"(?:.*/)?([A-Z][A-Za-z0-9]*)/([^/?#]+)(?:/_history(?:/[^/?#]*)?)?", re.ASCII)

_encode = encoder(FEED.all_columns)
_encode_key = encoder((*KEY, Column("deleted", "bool")))
_WIDTH = struct.pack(">h", len(FEED.all_columns))
_length = struct.Struct(">i").pack


class Parsed(NamedTuple):
    """The place of the resource within its item, and the values of its other columns: Python values, or the bytes of a
    COPY tuple. *full_url* is where it stands."""

    start: int
    end: int
    columns: bytes | tuple[Any, ...]
    full_url: str | None = None


def items(data: bytes, ordinal: int, context: Context) -> Iterator[Item | Flaw]:
    """The resources of a block, each with its key and version; one without them is a flaw.

    Entries of a Bundle that is one line or one element share its ordinal.
    """
    time, server = int(context.get("time", 0)), str(context.get("server", ""))
    return _items(data, str(context["layout"]), str(context["organization"]), time, server, _NESTED)


def _items(data: bytes, layout: str, organization: str, time: int, server: str, nested: int) -> Iterator[Item | Flaw]:
    for number, reading in enumerate(read(data, layout)):
        try:
            if reading.error:
                raise reading.error
            first, last = member(data, reading.start, "resource") if reading.entry else (reading.start, reading.end)
            if reading.facts.method == "DELETE":
                version = reading.facts.modified or time
                if not version:
                    raise InvalidRecord(_NO_TIME)
                key = (organization, *_deleted(reading.facts))
                tie = _number(_version_of(reading.facts)) or DELETION
                yield Item(FEED.name, key, version, number, reading.start, reading.end, True, tie=tie)
            elif reading.facts.resource_type == "Bundle" and (inner := _inner(data, first)):
                if not nested:
                    raise InvalidRecord("Bundles within Bundles, too deep.")
                begin, stop, own = inner
                for item in _items(data[begin:stop], "key", organization, time or own, server, nested - 1):
                    yield item._replace(ordinal=number, start=item.start + begin, end=item.end + begin)
            else:
                kind, name = _name(reading, data[first:last])
                own, moment = _number(_version_of(reading.facts)), reading.facts.updated or reading.facts.modified
                full_url = reading.facts.full_url
                if server and not reading.entry:
                    full_url = f"{server}/{kind}/{name}"
                parsed = Parsed(first - reading.start, last - reading.start, reading.columns, full_url)
                yield Item(
                    FEED.name,
                    (organization, kind, name),
                    moment or time or own,
                    number,
                    reading.start,
                    reading.end,
                    parsed=parsed,
                    arrival=not moment and not own,
                    tie=own,
                )
        except RecordError as error:
            yield Flaw(FEED.name, number, reading.start, reading.end, type(error).__name__, error.message)


def _name(reading: Read, raw: bytes) -> tuple[str, str]:
    """Type and id of a resource, whose text is *raw*."""
    kind = reading.facts.resource_type
    if kind is None:
        raise InvalidRecord("The entry has no resource, or one without resourceType.")
    if not _TYPE.fullmatch(kind):
        raise InvalidRecord("The resource's resourceType is no name of a type.")
    name = reading.facts.id or _id_of_url(reading.facts)
    if not name and kind == "OperationOutcome":
        name = sha256(raw).hexdigest()[:32]
    if not name:
        raise InvalidRecord(
            "The resource has no id" + (", and its entry no fullUrl that tells it." if reading.entry else ".")
        )
    return kind, name


def _inner(data: bytes, start: int) -> tuple[int, int, int] | None:
    """(begin and end of the entries of the Bundle at *start*, without the closing bracket; its time).

    None when the Bundle is a resource of its own.
    """
    places = {key: (begin, end) for key, begin, end in members(data, start)}
    values: dict[str, Any] = {
        key: parse(data[slice(*places[key])])[0] for key in ("type", "timestamp", "meta") if key in places
    }
    if values.get("type") in WHOLE:
        return None
    begin, end = places.get("entry", (start, start))
    return (begin, end - 1, bundle_time(values)) if data[begin : begin + 1] == b"[" else (start, start, 0)


def bundle_time(bundle: Mapping[str, Any]) -> int:
    """The time for which the content of a Bundle holds, in microseconds since 1970; 0 when it gives none."""
    meta = bundle.get("meta")
    text = bundle.get("timestamp") or (meta.get("lastUpdated") if isinstance(meta, dict) else None)
    return moment_number(moment(text))


def _deleted(facts: Facts) -> tuple[str, str]:
    """Type and id of the resource that an entry deletes. Raises InvalidRecord when it names none."""
    for url in (facts.url, facts.full_url):
        if url and "?" not in url and (match := _REFERENCE.fullmatch(url)):
            return match[1], match[2]
    raise InvalidRecord("The deletion names no resource by its type and id.")


def _id_of_url(facts: Facts) -> str | None:
    """The id that an entry's fullUrl gives its resource."""
    url = facts.full_url or ""
    if url.startswith("urn:"):
        return url.rpartition(":")[2] or None
    match = _REFERENCE.fullmatch(url)
    return match[2] if match and match[1] == facts.resource_type else None


def _version_of(facts: Facts) -> str | None:
    """The number of the version that an item states: of the resource, else of its entry's answer or URL."""
    if facts.version:
        return facts.version
    match = (facts.etag and _ETAG.fullmatch(facts.etag)) or (facts.url and _VERSION.fullmatch(facts.url))
    return match[1] if match else None


def _number(version: str | None) -> int:
    return int(version) if version and len(version) < 19 and version.isascii() and version.isdigit() else 0


def rows(feed: Feed, data: bytes, items: Sequence[Item]) -> list[bytes | RecordError]:
    """The COPY tuple of each resource, or its error, in order."""
    view = memoryview(data)
    return [_row(view, item) for item in items]


def _row(view: memoryview, item: Item) -> bytes | RecordError:
    start, end, columns, full_url = item.parsed
    raw = view[item.start + start : item.start + end]
    try:
        if not isinstance(columns, Columns):
            return _encode((*item.key, False, RawJson(raw), *columns[:-1], full_url))
        key = _encode_key((*item.key, False))[2:]
        place = b""  # an entry has it among its columns
        if not start:
            url = full_url.encode() if full_url else None
            place = NULL if url is None else _length(len(url)) + url
        return b"".join((_WIDTH, key, _length(len(raw) + 1), b"\x01", raw, columns, place))
    except RecordError as error:
        return error


def document(feed: Feed, data: bytes, item: Item) -> dict[str, Any]:
    """The resource, as JSON gives it, but that references to its own server are relative."""
    start, end, _, full_url = item.parsed
    raw = data[item.start + start : item.start + end]
    value, reason = parse(raw)
    if reason:
        raise ParseError(reason)
    resource: dict[str, Any] = exactly(raw, value)
    return localised(resource, full_url) if full_url and has_absolute(raw) else resource


def record(feed: Feed, data: bytes, item: Item) -> dict[str, Any]:
    """The resource's values by column."""
    raw = data[item.start : item.end]
    value, reason = parse(raw)
    if reason:
        raise ParseError(reason)
    value = exactly(raw, value)
    resource = value["resource"] if item.parsed.start else value
    names = [column.name for column in (*feed.key, *feed.columns)]
    columns = [*columns_of(value, entry=bool(item.parsed.start))[:-1], item.parsed.full_url]
    return dict(zip(names, (*item.key, resource, *columns), strict=True))
