"""Cliniko, a practice-management system: saved pages of its API, and other files that people make of them.

A file holds a page (``{"patients": [...], "total_entries": ..., "links": ...}``), an array of records, records one a
line, or one record. Keys, versions and deletions: see ``layout``; the facts that a page gives about itself: ``pages``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from medmirror.errors import LayoutChanged, RecordError
from medmirror.model import Block, Column, Flaw, Item
from medmirror.readers.json import blocks, outlines
from medmirror.readers.json.outlines import Outline
from medmirror.sources.base import Context, Feed, Given, Source
from medmirror.sources.cliniko import layout, pages
from medmirror.sources.cliniko.layout import ANY, KINDS, LAYOUTS, OF

LEFT_OUT: Mapping[str, str] = {}
"""Fields of a record that are not stored, and why: none, the column ``record`` holds them all."""

FEEDS = tuple(
    Feed(
        one.name,
        layout.DELETION_KEY if one.name == "deletion" else layout.KEY,
        (Column("record", "jsonb"), *one.columns),
        document="record",
        deletions=one.name == "deletion",
    )
    for one in LAYOUTS
)

_ARRAYS = frozenset(KINDS)
_SIGNS = re.compile(
    rb"https?:\\?/\\?/api\.(?:\w+\.)?cliniko\.com\\?/v\d"
    rb'|"(?:' + "|".join(KINDS).encode() + rb')"\s*:\s*\['
    rb'|"(?:patient_phone_numbers|cancellation_reason|did_not_arrive|show_in_online_bookings)"\s*:'
    rb'|"(?:duration_in_minutes|processing_completed|invoice_to)"\s*:'
)
_LOOKED_AT = 1 << 20  # bytes of a file's first records that must show one that is known


def recognise(name: str, head: bytes) -> bool:
    """Whether *head* begins a file of Cliniko's API: a link to it, one of its arrays, or a key of its records."""
    return outlines.looks_like_json(head) and bool(_SIGNS.search(head))


def context(name: str, head: bytes, reopen: Callable[[], BinaryIO], given: Given) -> Context:
    """The file's layout, its feed when all records have the same, and the facts that a page gives about itself.

    Raises LayoutChanged, with what it holds, when it has no records of a list that this source knows.
    """
    outlines.check_text(head)
    with outlines.whole_stream(head, reopen) as stream:
        outline = outlines.outline(stream, _ARRAYS, frozenset())
    path = f"{given.get('path', '')}/{name}"
    if outline.kind != "key":
        facts = {"layout": outline.kind, "array": outline.key}
        return {**facts, **_of_records(name, head, reopen, outline, path)}
    values = dict(outline.values)
    if "links" not in values or "total_entries" not in values:  # JSON promises no order: they may stand behind
        with outlines.whole_stream(head, reopen) as stream:
            values |= pages.behind(stream)
    return page_context(outline.key, values, path)


def page_context(array: str, values: Mapping[str, Any], path: str) -> Context:
    """The facts of a page: its layout, its feed, and what it says of itself.

    *array* is the key of its records, *values* are those around them. *path* tells what its links do not.
    """
    page = pages.page(values, path)
    feed = KINDS[array]
    return {
        "layout": "key",
        "array": array,
        "feed": feed,
        "list": page.part_of if page.feed == feed else array,
        "page": page.number,
        "per_page": page.per_page,
        "total": page.total,
        "last": page.last,
        "including": page.including,
        "partial": page.partial,
    }


def _of_records(
    name: str, head: bytes, reopen: Callable[[], BinaryIO], outline: Outline, path: str
) -> dict[str, int | str]:
    """The facts of a file of records with no page around them."""
    if outline.kind == "bare":
        key_sets = [set(outline.values)]
    else:
        with outlines.whole_stream(head, reopen) as stream:
            key_sets = blocks.first_keys(stream, outline, _LOOKED_AT)
    if any(_ARRAYS & keys and not {"id", "created_at", "deleted_at"} & keys for keys in key_sets):
        raise LayoutChanged("The file holds several pages: save each page of a list as a file of its own.", file=name)
    page_of_path = pages.page({}, path)
    links = outline.values.get("links")
    own = pages.linked(links.get("self")) if isinstance(links, dict) else ""
    recognised = any(map(ANY.layout_of, key_sets))
    feed = KINDS.get(own, "") if own else "" if recognised else page_of_path.feed
    if key_sets and not feed and (own or not recognised):
        keys = f"they have the keys {outlines.name_keys(key_sets[0])}"
        what = f"it is one of {own}" if own else outlines.describe(outline) if outline.kind == "bare" else keys
        raise LayoutChanged(f"No records of Cliniko that are known here: {what}.", file=name)
    return {"feed": feed, "list": page_of_path.part_of if page_of_path.feed == feed else ""}


def split(stream: BinaryIO, context: Context, wanted: int, most: int) -> Iterator[Block | Flaw]:
    """Blocks of whole records (``readers.json``)."""
    return blocks.split(stream, str(context["layout"]), str(context["array"]), wanted, most)


def items(data: bytes, ordinal: int, context: Context) -> Iterator[Item | Flaw]:
    """The records of a block, each with its feed, key and version; a record without them is a flaw."""
    return OF.get(str(context["feed"]), ANY).items(data, context)


def rows(feed: Feed, data: bytes, items: Sequence[Item]) -> list[bytes | RecordError]:
    """The COPY tuple of each record, or its error, in order."""
    return ANY.rows(feed.name, data, items)


def record(feed: Feed, data: bytes, item: Item) -> dict[str, Any]:
    """The record's values by column."""
    return ANY.record(feed.name, data, item)


def document(feed: Feed, data: bytes, item: Item) -> dict[str, Any]:
    """The record as JSON."""
    return ANY.document(data, item)


SOURCE = Source(
    "cliniko",
    FEEDS,
    recognise,
    context,
    split,
    items,
    rows,
    record,
    tenant=True,
    certify=pages.certify,
    document=document,
)
