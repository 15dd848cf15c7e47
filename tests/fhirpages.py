"""What the source makes of the pages of a FHIR remote."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from medmirror import sources
from medmirror.model import Flaw, Item
from medmirror.readers import files
from medmirror.readers.files import Stream
from medmirror.remotes.base import Page

SOURCE = sources.get("fhir")
ORGANIZATION = "org-1"


def items(pages: Iterable[Page]) -> list[Item]:
    """The records of *pages*, in their order. Each page is one that the source can read, and holds as many as it
    says."""
    return [item for page in pages for item in _of(page)]


def _of(page: Page) -> list[Item]:
    if isinstance(page.body, Path):
        (stream,) = files.streams(page.body, 100)
        given = {"organization": ORGANIZATION, "path": str(page.body)}
    else:
        body = page.body
        stream = Stream(page.name, "", lambda: io.BytesIO(body), raw=body)
        given = {"organization": ORGANIZATION, "path": page.name}
    context = {**SOURCE.context(stream.name, files.head(stream), stream.open, given), "organization": ORGANIZATION}
    found = list(_items(stream, context))
    assert len(found) == page.records
    return found


def _items(stream: Stream, context: dict[str, int | str]) -> Iterator[Item]:
    with stream.open() as file:
        for block in SOURCE.split(file, context, 1 << 20, 1 << 24):
            assert not isinstance(block, Flaw)
            for item in SOURCE.items(block.data, block.ordinal, {**context, **block.facts}):
                assert not isinstance(item, Flaw), item.reason
                yield item


def newest(pages: Iterable[Page]) -> dict[tuple[str, str], int]:
    """What is there when *pages* are stored: the version of each living record by type and id."""
    versions: dict[tuple[str, str], tuple[int, bool]] = {}
    for item in items(pages):
        kind, id = str(item.key[1]), str(item.key[2])
        if item.version >= versions.get((kind, id), (0, False))[0]:
            versions[kind, id] = (item.version, item.deleted)
    return {key: version for key, (version, deleted) in versions.items() if not deleted}
