"""What an organisation's records mean: from a record as its source keys it to the rows that ``canonicalstore`` writes.

Loading and mapping anew both go through here, so they cannot come to different results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from medmirror.ingest.canonicalstore import Deletion, Row
from medmirror.mapping import SCHEMA_VERSION, Mappers, Problem, canonical_hash, canonical_text
from medmirror.model import Item
from medmirror.sources.base import Feed

Key = Sequence[int | str]


class Name(NamedTuple):
    """What ``medmirror.sync_mapping`` calls a record within its source and organisation."""

    feed: str
    source_id: str


def name_of(feed: str, key: Key) -> Name:
    """A key is (organisation, id), or (organisation, kind, id) in a table that holds several kinds of record."""
    return Name(str(key[1]) if len(key) == 3 else feed, str(key[-1]))


def seen(item: Item) -> bytes:
    """The 8 bytes that ``medmirror.chunk.keys`` keeps of a record that was met."""
    return sha256("\x1f".join(name_of(item.feed, item.key)).encode()).digest()[:8]


class Meaning(NamedTuple):
    """What is to be written of some records."""

    rows: list[Row]
    deletions: list[Deletion]
    problems: list[Problem]  # of fields that could not be read; no value

    @classmethod
    def nothing(cls) -> Meaning:
        """An empty one, to add to."""
        return cls([], [], [])


def add_record(
    meaning: Meaning,
    mappers: Mappers,
    source: str,
    feed: Feed,
    key: Key,
    version: int,
    digest: bytes,
    document: Mapping[str, Any] | None,
) -> None:
    """Add to *meaning* what a record means whose newest copy has this *version* and *digest* (a record of a feed of
    deletions: what it says of another one). *document* is None for a tombstone."""
    name = name_of(feed.name, key)
    mapper = mappers.of(source, name.feed)
    entity = mapper.entity if mapper else None
    if feed.deletions:
        if document is not None:
            meaning.deletions.append(Deletion(*name, entity, version))
        return
    row = Row(*name, version, digest, entity, gone=document is None, mapping_digest=mapper.digest if mapper else None)
    if mapper is None or document is None:
        meaning.rows.append(row)
        return
    mapped = mapper.to_canonical(document)
    meaning.problems.extend(dict.fromkeys(mapped.problems))  # each once a record
    tombstone = mapped.tombstone
    if tombstone and tombstone.grade == "explicit":
        about = Name(tombstone.feed, tombstone.source_id or name.source_id)
        if about == name:  # whatever else was changed since the time that it tells
            row = row._replace(gone=True)
        else:
            other = mappers.of(source, tombstone.feed)
            meaning.deletions.append(Deletion(*about, other.entity if other else None, tombstone.version))
    if mapped.record is None:
        meaning.rows.append(row)
        return
    meaning.rows.append(
        row._replace(
            record=canonical_text(mapped.record),
            canonical_hash=canonical_hash(mapped.record),
            schema_version=SCHEMA_VERSION,
            archived=tombstone is not None and tombstone.grade == "archived",
        )
    )
