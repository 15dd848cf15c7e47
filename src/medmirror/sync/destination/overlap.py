"""Entries of two calendars that claim the same time: found by a sweep, after identity.

Two records that are known to be the same one (the caller says which) never clash. Two others of one subject (a patient,
a practitioner) do when their times overlap by MORE than a threshold. That alone would never find duplicates of records
that are shorter than the threshold, or have no length at all; so

* a record without length clashes with one that begins or ends at most the threshold away from it, or holds it;
* of two others the shorter one, when it is no longer than the threshold, clashes with one that holds all of it.

Times are microseconds since 1970, UTC: no zone and no change of clocks can matter here.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

SECOND = 1_000_000
DEFAULT, LEAST, MOST = 60, 10, 300  #: seconds of the threshold
_FOREVER = 1 << 62


class Interval(NamedTuple):
    """An entry *id* of *subject* from *start* on, until before *end* (None: it has none and goes on)."""

    id: Hashable
    subject: Hashable
    start: int
    end: int | None


class Clash(NamedTuple):
    """Two entries of a subject at one time; *overlap*: for how long (microseconds, 0 for a moment)."""

    source: Hashable
    destination: Hashable
    subject: Hashable
    overlap: int


def clash(one: Interval, other: Interval, threshold: int) -> int | None:
    """For how long *one* and *other* of one subject claim the same time (microseconds); None when they do not clash.
    *threshold* in microseconds. It does not matter which of them is which."""
    ends, other_ends = _end(one), _end(other)
    common = min(ends, other_ends) - max(one.start, other.start)
    shorter = min(ends - one.start, other_ends - other.start)
    if shorter == 0:
        return 0 if -common <= threshold else None
    if common > threshold or (shorter <= threshold and common == shorter):
        return common
    return None


def _end(one: Interval) -> int:
    """An entry that ends before it begins is a moment."""
    return _FOREVER if one.end is None else max(one.start, one.end)


def clashes(
    source: Iterable[Interval],
    destination: Iterable[Interval],
    threshold: float = DEFAULT,
    same: Collection[tuple[Hashable, Hashable]] = frozenset(),
) -> Iterator[Clash]:
    """Every clash of an entry of *source* with one of *destination*, but for the pairs (source id, destination id) in
    *same*. *threshold* in seconds. In no certain order.

    n log n for n entries, and one step for each pair whose times meet.
    """
    wait = int(threshold * SECOND)
    for entries in _by_subject(source, destination, wait):
        yield from _sweep(entries, wait, same)


_Entry = tuple[int, int, int, int, Interval]
"""(from when and until when it may clash, which side, its place: so that no two are compared further, the entry)"""


def _by_subject(source: Iterable[Interval], destination: Iterable[Interval], wait: int) -> Iterator[list[_Entry]]:
    """The entries of each subject that both sides have, in the order in which they begin."""
    found: dict[Hashable, list[_Entry]] = {}
    place = 0
    for one in source:
        found.setdefault(one.subject, []).append(_entry(one, 0, place, wait))
        place += 1
    shared: set[Hashable] = set()
    for one in destination:
        if (entries := found.get(one.subject)) is not None:
            entries.append(_entry(one, 1, place, wait))
            shared.add(one.subject)
            place += 1
    for subject in shared:
        entries = found[subject]
        entries.sort()
        yield entries


def _entry(one: Interval, side: int, place: int, wait: int) -> _Entry:
    end = _end(one)
    far = wait if end == one.start else 0
    return one.start - far, end + far, side, place, one


def _sweep(entries: list[_Entry], wait: int, same: Collection[tuple[Hashable, Hashable]]) -> Iterator[Clash]:
    """Walk through the entries of one subject as they begin; each is held against the others' that have not ended."""
    open_: tuple[list[tuple[int, int, Interval]], list[tuple[int, int, Interval]]] = ([], [])
    for start, end, side, place, one in entries:
        others = open_[1 - side]
        while others and others[0][0] < start:
            heappop(others)
        for _, _, other in others:
            overlap = clash(one, other, wait)
            if overlap is None:
                continue
            ours, theirs = (one, other) if side == 0 else (other, one)
            if (ours.id, theirs.id) not in same:
                yield Clash(ours.id, theirs.id, one.subject, overlap)
        heappush(open_[side], (end, place, one))


def ranges(spans: Iterable[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """*spans* (start, end) put together where they meet or lie at most *gap* apart: what has to be read to see them
    all, and little else. Sorted."""
    made: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if made and start <= made[-1][1] + gap:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((start, end))
    return made


def threshold_of(given: object) -> float:
    """The threshold that somebody set, in seconds, between 10 and 300; 60 when none is set. Raises ValueError."""
    if given is None:
        return DEFAULT
    if isinstance(given, bool) or not isinstance(given, int | float) or not LEAST <= given <= MOST:
        raise ValueError(f"threshold_s is a number of seconds between {LEAST} and {MOST}.")
    return float(given)
