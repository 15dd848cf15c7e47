from __future__ import annotations

import random
from itertools import permutations

from medmirror.ingest.dedup import TOMBSTONE_DIGEST, Candidate, digest, newest
from medmirror.model import Item


def candidate(key: int, version: int, content: bytes = b"", ordinal: int = 0, *, deleted: bool = False) -> Candidate:
    item = Item("feed", (key,), version, ordinal, 0, len(content), deleted)
    return Candidate(item, 0, TOMBSTONE_DIGEST if deleted else digest(content), ordinal)


def test_the_highest_version_of_each_key_wins_wherever_it_stands() -> None:
    old, new, other = candidate(1, 1), candidate(1, 2), candidate(2, 1)
    for order in permutations([old, new, other]):
        best, others = newest(order)
        assert best == {(1,): new, (2,): other}
        assert others == [old]


def test_of_copies_of_one_version_the_later_one_wins_in_any_order() -> None:
    copies = [candidate(1, 1, bytes([n]), n) for n in range(6)]
    last = copies[-1]
    for seed in range(20):
        random.Random(seed).shuffle(copies)
        best, others = newest(copies)
        assert best[(1,)] == last
        assert len(others) == 5


def test_a_later_deletion_wins_over_content_and_the_other_way_round() -> None:
    gone = candidate(1, 2, deleted=True)
    assert newest([candidate(1, 1, b"a"), gone])[0][(1,)] == gone
    again = candidate(1, 3, b"a")
    assert newest([again, gone])[0][(1,)] == again


def test_every_candidate_comes_out_once() -> None:
    dice = random.Random(3)
    given = [candidate(dice.randrange(20), dice.randrange(5), bytes([dice.randrange(3)]), n) for n in range(300)]
    best, others = newest(given)
    assert sorted([*best.values(), *others], key=lambda one: one.item.ordinal) == given


def test_the_digest_is_of_the_bytes_and_of_the_salt() -> None:
    assert digest(b"a") == digest(memoryview(b"xax")[1:2])
    assert len({digest(b"a"), digest(b"b"), digest(b"a", b"s"), digest(b"", b"sa"[:1] + b"b")}) == 4
    assert len(digest(b"a")) == len(digest(b"a", b"s")) == len(TOMBSTONE_DIGEST) == 16
