"""The pure parts: cutting a part that killed its worker, and adding up. Runs of the whole are in tests/faults."""

from __future__ import annotations

from pathlib import Path

import pytest

import feedfiles
from medmirror import sources
from medmirror.ingest.dedup import bad_key
from medmirror.ingest.pipeline import Totals, halves
from medmirror.model import Block, Counts, Flaw, Item, Outcome, Part, Remarks
from medmirror.readers import files


def part_of(path: Path, feed: feedfiles.Feed) -> Part:
    """The whole of a file's items as one part, beginning somewhere in a stream."""
    source = sources.get(feed[0])
    for stream in files.streams(path, 200):
        facts = feedfiles.context(source, path, stream, feedfiles.given(feed))
        with stream.open() as file:
            (block,) = source.split(file, facts, 1 << 26, 1 << 26)
            assert isinstance(block, Block)
            return Part(1, str(path), "", {**facts, **block.facts}, 1_000, 1_000 + len(block.data), 50, block.data)
    raise AssertionError


def found(source: str, part: Part) -> list[tuple[object, int, int, int]]:
    """Key, place in the stream and ordinal of every item of a part."""
    items = sources.get(source).items(part.data, part.ordinal, part.context)
    at, first = part.start, part.ordinal
    return [
        (item.key if isinstance(item, Item) else None, item.start + at, item.end + at, item.ordinal + first)
        for item in items
    ]


@pytest.mark.parametrize("feed", feedfiles.feeds(), ids=".".join)
def test_halving_loses_no_item_and_ends_at_single_ones(feed: feedfiles.Feed, tmp_path: Path) -> None:
    whole = part_of(feedfiles.write(tmp_path, feed, 0), feed)
    flaw = Flaw(None, 3, 900, 990, "RecordTooLarge", "")
    whole = whole._replace(flaws=(flaw,))
    expected = found(feed[0], whole)
    todo, singles = [whole], []
    while todo:
        part = todo.pop(0)
        assert len(part.data) == part.end - part.start
        pieces = halves(feed[0], part)
        if not pieces:
            singles.append(part)
        else:
            assert len(pieces) == 2
            assert pieces[0].end == pieces[1].start
            todo[:0] = pieces
    assert [item for part in singles for item in found(feed[0], part)] == expected
    assert all(len(found(feed[0], part)) == 1 for part in singles)
    assert len(singles) == len(expected) >= feedfiles.RECORDS
    assert [part.flaws for part in singles] == [(flaw,)] + [()] * (len(singles) - 1)


def test_a_list_of_deletions_is_not_cut_in_two() -> None:
    """Half of the list would be no list."""
    data = b"<DeleteCitation>" + b"".join(b"<PMID Version='1'>%d</PMID>" % n for n in range(9)) + b"</DeleteCitation>"
    part = Part(1, "", "", {"root": "PubmedArticleSet", "year": 26, "number": 1}, 0, len(data), 0, data)
    assert len(found("pubmed", part)) == 9
    assert halves("pubmed", part) == []


def test_totals_add_counts_time_and_the_highest_peak_of_each_process() -> None:
    totals = Totals()
    for pid, peak in ((1, 5), (1, 3), (2, 4)):
        totals.add(
            Outcome(
                (Counts(read=2, inserted=1, rejected=1),), 10, {"parse": 0.5}, peak, pid, 1, 2, 3, Remarks.nothing()
            )
        )
    assert totals.counts == Counts(read=6, inserted=3, rejected=3)
    assert (totals.bytes, totals.stages, totals.worker_peaks) == (30, {"parse": 1.5}, {1: 5, 2: 4})
    assert (totals.retries, totals.deadlocks, totals.lock_waits) == (3, 6, 9)


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ("int2", 32_767, True),
        ("int2", 32_768, False),
        ("int4", -(1 << 31), True),
        ("int8", 1 << 63, False),
        ("text", "é", True),
        ("text", "a\0", False),
        ("text", "é\ud800", False),
        ("text", 5, False),
        ("int8", "5", False),
    ],
)
def test_a_key_that_its_column_cannot_hold(kind: str, value: int | str, fits: bool) -> None:
    from medmirror.model import Column

    columns = [Column("fine", "int8"), Column("other", kind)]
    assert bad_key(columns, (1, value)) == (None if fits else "other")
