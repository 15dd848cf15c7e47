"""From a record as its source keys it to what is written of it."""

from __future__ import annotations

import json
from hashlib import sha256

from medmirror.ingest import canonical as meaning
from medmirror.ingest.canonicalstore import Deletion
from medmirror.mapping import mappers
from medmirror.model import Column, Item
from medmirror.sources.base import Feed

KEY = (Column("organization_id", "text"), Column("id", "text"))
KINDS = (KEY[0], Column("kind", "text"), KEY[1])
NOTE = Feed("note", KEY, (Column("record", "jsonb"),), document="record")
LISTED = Feed("deletion", KINDS, (Column("record", "jsonb"),), document="record", deletions=True)


def meaning_of(feed: Feed, key: tuple[str, ...], document: dict[str, object] | None) -> meaning.Meaning:
    made = meaning.Meaning.nothing()
    meaning.add_record(made, mappers(), "nowhere", feed, key, 7, b"digest", document)
    return made


def test_a_record_is_named_by_its_kind_where_the_table_holds_several() -> None:
    assert meaning.name_of("note", ("org", "5")) == ("note", "5")
    assert meaning.name_of("resource", ("org", "Patient", "5")) == ("Patient", "5")


def test_what_was_seen_is_told_by_kind_and_id_whoever_the_organisation() -> None:
    one = Item("resource", ("org", "Patient", "5"), 0, 0, 0, 0)
    assert meaning.seen(one) == sha256(b"Patient\x1f5").digest()[:8]
    assert meaning.seen(one) == meaning.seen(one._replace(key=("other", "Patient", "5")))
    assert meaning.seen(one) != meaning.seen(one._replace(key=("org", "Patien", "t5")))


def test_a_record_without_a_mapper_is_known_all_the_same() -> None:
    (row,) = meaning_of(NOTE, ("org", "5"), {"a": 1}).rows
    assert (row.feed, row.source_id, row.version, row.source_hash) == ("note", "5", 7, b"digest")
    assert (row.entity, row.record, row.canonical_hash, row.gone) == (None, None, None, False)


def test_a_tombstone_leaves_no_canonical_record() -> None:
    (row,) = meaning_of(NOTE, ("org", "5"), None).rows
    assert row.gone
    assert row.record is None


def test_a_listed_deletion_is_a_fact_about_another_record() -> None:
    made = meaning_of(LISTED, ("org", "patient", "82"), {})
    assert made.rows == []
    assert [one._replace(entity=None) for one in made.deletions] == [Deletion("patient", "82", None, 7)]


def test_a_number_of_more_than_64_bits_is_kept_as_it_is() -> None:
    patients = Feed("patient", KEY, (Column("record", "jsonb"),), document="record")
    made = meaning.Meaning.nothing()
    document = {"last_name": "Fennick", "custom_fields": {"card": 1 << 70}}
    meaning.add_record(made, mappers(), "cliniko", patients, ("org", "5"), 7, b"digest", document)
    (row,) = made.rows
    assert json.loads(row.record or b"")["extra"]["custom_fields"] == {"card": 1 << 70}
