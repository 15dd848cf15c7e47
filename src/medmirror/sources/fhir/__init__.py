"""FHIR, R4 and STU3: Bulk Data output (one resource a line), Bundles, arrays of resources, single ones.

Every resource is stored as it stands, whatever its type: an OperationOutcome, too (of a Bulk export's error files, or
beside the matches of a search). It is no part of anyone's record, but it says what is missing from it, and a line that
is neither stored nor rejected could not be accounted for. One without an id is called by a digest of its text.

**Key.** Organisation, type, id. An entry of a Bundle whose resource has no id has it from its ``fullUrl``
(``urn:uuid:X``, or a URL that ends in ``Type/X``). Bundles of every type but ``document`` and ``message`` are
containers: their entries are the records, also where they stand in a line, an array or another Bundle. Those two are
resources like any other.

**Version.** The first of these that there is, in microseconds since 1970: the resource's ``meta.lastUpdated``; its
entry's ``response.lastModified``; the ``transactionTime`` of the export that the file is of (of the ``manifest.json``
beside it that names it, or of the ``log.ndjson`` beside it); the Bundle's ``timestamp`` or ``meta.lastUpdated``. The
last two say as of when a copy was true. With none of them ``meta.versionId``, when it is a whole number, else 0: then
of two copies the one that stands in a later load, file or line holds.

Of two copies of one moment the one of the greater ``meta.versionId`` is the newer, where that is a whole number (else
that of the entry's ``response.etag`` or of a URL with ``_history``): many servers know whole seconds only.

**Deletions** (entries with ``request.method`` DELETE: of the ``deleted`` files of an export, of histories and
transactions) carry no version of the resource, so theirs is that time, without ``meta.lastUpdated``: newer than every
copy that they delete, older than what is made anew later. At the moment of a copy they are newer than it, unless their
entry states a lower number of a version. One that carries no time at all is rejected, for nothing
would say what it deletes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from medmirror.errors import LayoutChanged
from medmirror.model import Block, Flaw
from medmirror.readers.json import blocks, outlines
from medmirror.readers.json.outlines import Outline
from medmirror.readers.json.pieces import parse
from medmirror.readers.window import Window
from medmirror.sources.base import Context, Given, Source
from medmirror.sources.fhir import exports
from medmirror.sources.fhir.places import localised
from medmirror.sources.fhir.reading import WHOLE
from medmirror.sources.fhir.resources import FEED, bundle_time, document, items, record, rows

LEFT_OUT: Mapping[str, str] = {
    "entry.request": "what a server was asked to do with the resource; only whether it was to delete it counts",
    "entry.response": "what a server did with it; only when counts",
    "entry.search": "why a search found it",
    "entry.link": "links between pages",
}
"""The fields around a resource that are not stored, and why. The resource itself is stored whole."""

_TYPE = re.compile(rb'"resourceType"\s*:\s*"([A-Z][A-Za-z]*)"')
_SIGNS = re.compile(rb'"resourceType"\s*:\s*"[A-Z]|"transactionTime"\s*:\s*"|"exportId"\s*:\s*"')
_NAMED = re.compile(r"(?:.*\.)?[A-Z][A-Za-z]+(?:\.[\w-]+)?\.ndjson(?:\.gz)?")
_LOG = frozenset(("exportId", "eventId"))
_LOOKED_AT = 1 << 20  # bytes of a file's first records that must show a resource
_LINE = 16 << 20  # bytes of a first line that are read to tell one object a line from one object


def recognise(name: str, head: bytes) -> bool:
    """Whether *head* begins a file of resources, a manifest or a log of an export; or *name* is one of its files."""
    if not outlines.looks_like_json(head):
        return False
    return bool(_SIGNS.search(head) or _NAMED.fullmatch(name.rpartition("/")[2]))


def context(name: str, head: bytes, reopen: Callable[[], BinaryIO], given: Given) -> Context:
    """The file's layout and the facts of its export. Raises LayoutChanged, with what it holds, when it holds no FHIR.

    The manifest and the log of an export hold no records: they are read for their facts about the files beside them.
    """
    outlines.check_text(head)
    if _is_lines(head, reopen):
        outline = Outline("lines", "", {})
    else:
        with outlines.whole_stream(head, reopen) as stream:
            outline = outlines.outline(stream, frozenset(("entry",)), frozenset())
    about = exports.about(given.get("path", ""), name)
    if outline.kind in ("lines", "array"):
        return _of_records(name, head, reopen, outline, about)
    values = dict(outline.values)
    if outline.kind == "key" and "resourceType" not in values:  # JSON promises no order: it stands behind the entries
        for key in ("resourceType", "type", "timestamp", "meta"):
            with outlines.whole_stream(head, reopen) as stream:
                values[key] = outlines.value_at(stream, key)
    return _of_object(name, outline, values, about)


def _of_records(name: str, head: bytes, reopen: Callable[[], BinaryIO], outline: Outline, about: Context) -> Context:
    with outlines.whole_stream(head, reopen) as stream:
        key_sets = blocks.first_keys(stream, outline, _LOOKED_AT)
    if key_sets and not any("resourceType" in keys for keys in key_sets):
        if key_sets[0] >= _LOG:
            return {"layout": "log"}
        raise LayoutChanged(
            f"No FHIR resources: the records have the keys {outlines.name_keys(key_sets[0])}.", file=name
        )
    first = _TYPE.search(head)
    kind = first[1].decode() if first else ""  # of the first resource: nearly always that of all
    return {"layout": outline.kind, "array": "", "type": kind, **about}


def _of_object(name: str, outline: Outline, values: Mapping[str, Any], about: Context) -> Context:
    kind = values.get("resourceType")
    if exports.is_manifest(values):
        return {"layout": "manifest", **exports.facts(values)}
    if kind is None and values.keys() >= _LOG:
        return {"layout": "log"}
    if not isinstance(kind, str):
        raise LayoutChanged(f"No FHIR resource: {outlines.describe(outline)}.", file=name)
    if kind == "OperationOutcome" and ".ndjson" not in name:
        raise LayoutChanged("The file is a server's answer that something went wrong (OperationOutcome).", file=name)
    if kind != "Bundle" or values.get("type") in WHOLE:
        return {"layout": "bare", "array": "", "type": kind, **about}
    if outline.kind != "key":
        return {"layout": "empty", **about}
    return {"layout": "key", "array": "entry", "type": kind, "time": bundle_time(values), **about}


def _is_lines(head: bytes, reopen: Callable[[], BinaryIO]) -> bool:
    """Whether the first line is an object and something follows it. The lines may be longer than *head*."""
    with outlines.whole_stream(head, reopen) as stream:
        window = Window(stream)
        window.fill(1 << 12)
        start = window.space(len(outlines.BOM) if window.data.startswith(outlines.BOM) else 0)
        while (end := window.data.find(b"\n", start)) < 0 and len(window.data) < _LINE and window.more():
            pass
        line = window.data[start:end].rstrip() if end >= 0 else b""
        if line[:1] != b"{" or line[-1:] != b"}" or len(line) < 2:
            return False
        return not parse(line)[1] and window.space(end) < len(window.data)


def split(stream: BinaryIO, context: Context, wanted: int, most: int) -> Iterator[Block | Flaw]:
    """Blocks of whole resources or entries (``readers.json``); of a file that holds none, none."""
    if context["layout"] == "log":
        return iter(())
    if context["layout"] in ("manifest", "empty"):
        return blocks.split(stream, "empty", "", wanted, most)
    return blocks.split(stream, str(context["layout"]), str(context["array"]), wanted, most)


SOURCE = Source(
    "fhir",
    (FEED,),
    recognise,
    context,
    split,
    items,
    rows,
    record,
    document=document,
    localised=localised,
    tenant=True,
    certify=exports.certify,
)
