"""Entries that claim the same time: the sweep finds what holding every pair against every other finds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from medmirror.sync.destination.overlap import SECOND, Interval, clash, clashes, ranges, threshold_of

MINUTE = 60 * SECOND


def entry(id: str, start: float, end: float | None, subject: str = "patient 1") -> Interval:
    """From minute *start* to minute *end*."""
    return Interval(id, subject, int(start * MINUTE), None if end is None else int(end * MINUTE))


def found(source: list[Interval], destination: list[Interval], threshold: float = 60) -> set[tuple[object, object]]:
    return {(one.source, one.destination) for one in clashes(source, destination, threshold)}


def brute(source: list[Interval], destination: list[Interval], threshold: float) -> list[tuple[object, ...]]:
    """Every pair of one subject, by the definition in words, in minutes' ends written out."""
    made = []
    wait = int(threshold * SECOND)
    for one in source:
        for other in destination:
            if one.subject != other.subject:
                continue
            ends = [(1 << 62) if x.end is None else max(x.end, x.start) for x in (one, other)]
            lengths = [end - x.start for end, x in zip(ends, (one, other), strict=True)]
            common = min(ends) - max(one.start, other.start)
            if 0 in lengths:
                apart = max(0, max(one.start, other.start) - min(ends))
                if apart <= wait:
                    made.append((one.id, other.id, 0))
            elif common > wait or (common == min(lengths) <= wait):
                made.append((one.id, other.id, common))
    return sorted(made)


starts = some.integers(0, 40)
lengths = some.one_of(some.none(), some.integers(-2, 25))


@some.composite
def calendars(draw: some.DrawFn) -> list[Interval]:
    made = []
    for number in range(draw(some.integers(0, 12))):
        start, length = draw(starts) * 20 * SECOND, draw(lengths)
        end = None if length is None else start + length * 20 * SECOND + draw(some.integers(-1, 1))
        made.append(Interval(number, draw(some.sampled_from(["a", "b"])), start, end))
    return made


@settings(max_examples=300, deadline=None)
@given(calendars(), calendars(), some.sampled_from([10, 59, 60, 300]))
@example([entry("s", 0, 10)], [entry("d", 0, 10)], 60)
@example([entry("s", 0, None)], [entry("d", 900, 901)], 60)
@example([entry("s", 0, 100)], [entry("d", 5, 6), entry("e", 7, 9)], 60)
def test_the_sweep_finds_every_pair_and_no_other(
    source: list[Interval], destination: list[Interval], threshold: int
) -> None:
    swept = sorted((one.source, one.destination, one.overlap) for one in clashes(source, destination, threshold))
    assert swept == brute(source, destination, threshold)


@given(some.lists(some.tuples(starts, lengths), min_size=2, max_size=2), some.sampled_from([10, 60]))
def test_which_side_is_which_does_not_matter(two: list[tuple[int, int | None]], threshold: int) -> None:
    one, other = (Interval(n, "x", start, None if end is None else start + end) for n, (start, end) in enumerate(two))
    assert clash(one, other, threshold) == clash(other, one, threshold)


def test_a_minute_is_allowed_and_more_is_not() -> None:
    assert found([entry("s", 0, 30)], [entry("d", 29, 59)]) == set()
    assert found([entry("s", 0, 30)], [Interval("d", "patient 1", 29 * MINUTE - 1, 59 * MINUTE)]) == {("s", "d")}


def test_neighbours_do_not_clash() -> None:
    assert found([entry("s", 0, 30)], [entry("before", -30, 0), entry("after", 30, 60)]) == set()


def test_moments_clash_with_what_is_near_or_around_them() -> None:
    """A weight taken at 10:00:00 there and 10:00:40 here is one weight: no overlap would ever find that."""
    assert found([entry("s", 0, 0)], [entry("near", 1, 1), entry("far", 1.1, 1.1)]) == {("s", "near")}
    assert found([entry("s", 5, 5)], [entry("around", 0, 30), entry("next", 6, 30), entry("later", 6.1, 30)]) == {
        ("s", "around"),
        ("s", "next"),
    }


def test_short_ones_clash_with_what_holds_them() -> None:
    assert found([entry("s", 0, 0.5)], [entry("same", 0, 0.5), entry("half", 0.25, 0.75)]) == {("s", "same")}


def test_what_has_no_end_goes_on() -> None:
    assert found([entry("s", 0, None)], [entry("d", 1e6, 1e6 + 10), entry("e", 5, None)]) == {("s", "d"), ("s", "e")}


def test_other_people_do_not_clash() -> None:
    assert found([entry("s", 0, 30)], [entry("d", 0, 30, "patient 2")]) == set()


def test_the_same_record_never_clashes_with_itself() -> None:
    both = [entry("s", 0, 30)], [entry("d", 5, 35), entry("e", 5, 35)]
    assert {one.destination for one in clashes(*both, same={("s", "d")})} == {"e"}


def test_what_has_to_be_read_holds_every_span_and_little_else() -> None:
    assert ranges([(50, 60), (0, 10), (8, 20), (25, 30)], 10) == [(0, 30), (50, 60)]
    assert ranges([], 10) == []


@given(some.lists(some.tuples(some.integers(0, 1000), some.integers(0, 50)), max_size=30), some.integers(0, 100))
def test_ranges_lie_apart_and_leave_nothing_out(spans: list[tuple[int, int]], gap: int) -> None:
    pairs = [(start, start + length) for start, length in spans]
    made = ranges(pairs, gap)
    assert all(any(low <= start and end <= high for low, high in made) for start, end in pairs)
    assert all(two[0] > one[1] + gap for one, two in pairwise(made))


@pytest.mark.parametrize("wrong", [9, 301, True, "60", -1])
def test_a_threshold_out_of_range_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="between 10 and 300"):
        threshold_of(wrong)
    assert (threshold_of(None), threshold_of(10), threshold_of(300)) == (60, 10, 300)
