"""A remote's pages as canonical records: read by the source of their kind, mapped by its mappers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from medmirror import sources
from medmirror.errors import SourceError, SyncError, UsageError
from medmirror.ingest.canonical import name_of
from medmirror.mapping import Mappers, canonical_hash
from medmirror.model import Flaw
from medmirror.readers import files, folders
from medmirror.readers.files import Stream
from medmirror.remotes.base import Page
from medmirror.sources.base import Context, Source

_BLOCK, _LONGEST_RECORD = 1 << 22, 1 << 28  # bytes of a block, and of a record


class RemoteRecord(NamedTuple):
    """A record of the destination.

    *time*: when it was last changed (microseconds since 1970), *stamp*: its version as the destination writes it;
    *document* as it stands there, *record* its canonical form. *gone*: it says that it was deleted.
    """

    feed: str
    id: str
    time: int
    stamp: str | None
    document: Mapping[str, Any]
    record: dict[str, Any]
    gone: bool

    @property
    def hash(self) -> bytes:
        """The hash of the canonical record."""
        return canonical_hash(self.record)


def read(page: Page, source_name: str, organization: str, mappers: Mappers) -> Iterator[RemoteRecord]:
    """Yield the records of *page*, in its order, but for those that nothing maps or that cannot be read.

    An entry of a list of deleted records is a record without content. Raises SyncError when the page is not of that
    source.
    """
    source = sources.get(source_name)
    context = {**_context(source, page, organization), "organization": organization}
    with _open(page) as stream:
        for block in source.split(stream, context, _BLOCK, _LONGEST_RECORD):
            if isinstance(block, Flaw):
                continue
            facts = {**context, **block.facts}
            for item in source.items(block.data, block.ordinal, facts):
                if isinstance(item, Flaw):
                    continue
                feed = source.feed(item.feed)
                name = name_of(feed.name, item.key)
                if item.deleted or feed.deletions:
                    yield RemoteRecord(name.feed, name.source_id, item.version, None, {}, {}, True)
                    continue
                document = (
                    source.document(feed, block.data, item)
                    if source.document
                    else source.record(feed, block.data, item)[feed.document]
                )
                mapper = mappers.of(source.name, name.feed)
                mapped = mapper.to_canonical(document) if mapper else None
                if mapped is None or mapped.record is None:
                    continue
                gone = mapped.tombstone is not None and mapped.tombstone.grade == "explicit"
                stamp = stamp_of(document, item.version, str(context.get("updated") or ""))
                yield RemoteRecord(name.feed, name.source_id, item.version, stamp, document, mapped.record, gone)


def stamp_of(document: Mapping[str, Any], version: int, column: str = "") -> str | None:
    """Return a record's version as its own system writes it; None when there is none.

    It is the value of *column* (which a database's page names), FHIR's ``meta.versionId``, a practice system's
    ``updated_at``, or else the *version* that its source reads out of it (0: none).
    """
    if column:
        return None if document.get(column) is None else str(document[column])
    meta = document.get("meta")
    for stamp in (meta.get("versionId") if isinstance(meta, Mapping) else None, document.get("updated_at")):
        if isinstance(stamp, str | int) and str(stamp):
            return str(stamp)
    return str(version) if version else None


def _open(page: Page) -> BinaryIO:
    if isinstance(page.body, Path):
        return io.BufferedReader(folders.open_file(page.body, page.beneath))
    return io.BytesIO(page.body)


def _context(source: Source, page: Page, organization: str) -> Context:
    if page.context is not None:
        return page.context
    with _open(page) as file:
        body = file.read()
    stream = Stream(page.name, "", lambda: io.BytesIO(body), raw=body)
    try:
        return source.context(
            page.name, files.head(stream), stream.open, {"organization": organization, "path": page.name}
        )
    except (SourceError, UsageError) as error:
        reason = f"The remote gave a page that {source.name} cannot read: {error.message}"
        raise SyncError(reason, page=page.name) from None
