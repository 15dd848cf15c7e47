"""The clashes of two calendars: entries that claim the same time, found by a sweep after the match by identity.

Two records that are the same (the caller says which) never clash. Two others of one subject (a patient, a
practitioner) do when their times overlap by MORE than a threshold. That alone would never find duplicates of records
that are shorter than the threshold, or have no length at all; so

* a record without length clashes with a record that begins or ends at most the threshold away from it, or holds it;
* of two others the shorter one, when it is no longer than the threshold, clashes with one that holds all of it.

Times are microseconds since 1970, UTC: neither a zone nor a change of clocks can matter here.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

SECOND = 1_000_000
DEFAULT, LEAST, MOST = 60, 10, 300  #: seconds of the threshold
_FOREVER = 1 << 62


class Interval(NamedTuple):
    """An entry *id* of *subject* from *start* until before *end* (None: it goes on without an end)."""

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


def clash(first: Interval, second: Interval, threshold: int) -> int | None:
    """Return for how long two entries of one subject claim the same time (microseconds); None when they do not clash.

    *threshold* in microseconds. The order of *first* and *second* does not matter.
    """
    first_ends, second_ends = _end(first), _end(second)
    common = min(first_ends, second_ends) - max(first.start, second.start)
    shorter = min(first_ends - first.start, second_ends - second.start)
    if shorter == 0:
        return 0 if -common <= threshold else None
    if common > threshold or (shorter <= threshold and common == shorter):
        return common
    return None


def _end(entry: Interval) -> int:
    """Return the end of *entry*. An entry that ends before it begins is a moment."""
    return _FOREVER if entry.end is None else max(entry.start, entry.end)


def clashes(
    source: Iterable[Interval],
    destination: Iterable[Interval],
    threshold: float = DEFAULT,
    same: Collection[tuple[Hashable, Hashable]] = frozenset(),
) -> Iterator[Clash]:
    """Yield every clash of an entry of *source* with one of *destination*, but for the pairs (source id, destination
    id) in *same*. *threshold* in seconds. In no certain order.

    n log n for n entries, and one step for each pair whose times meet.
    """
    wait = int(threshold * SECOND)
    for entries in _by_subject(source, destination, wait):
        yield from _sweep(entries, wait, same)


_Entry = tuple[int, int, int, int, Interval]
"""(from when and until when it may clash, which side, its place: so that no two are compared further, the entry)"""


def _by_subject(source: Iterable[Interval], destination: Iterable[Interval], wait: int) -> Iterator[list[_Entry]]:
    """Yield the entries of each subject that both sides have, in the order in which they begin."""
    entries_of: dict[Hashable, list[_Entry]] = {}
    place = 0
    for entry in source:
        entries_of.setdefault(entry.subject, []).append(_entry(entry, 0, place, wait))
        place += 1
    shared: set[Hashable] = set()
    for entry in destination:
        if (entries := entries_of.get(entry.subject)) is not None:
            entries.append(_entry(entry, 1, place, wait))
            shared.add(entry.subject)
            place += 1
    for subject in shared:
        entries = entries_of[subject]
        entries.sort()
        yield entries


def _entry(entry: Interval, side: int, place: int, wait: int) -> _Entry:
    end = _end(entry)
    far = wait if end == entry.start else 0
    return entry.start - far, end + far, side, place, entry


def _sweep(entries: list[_Entry], wait: int, same: Collection[tuple[Hashable, Hashable]]) -> Iterator[Clash]:
    """Yield the clashes of one subject: each entry, in order, is compared with the open ones of the other side."""
    open_: tuple[list[tuple[int, int, Interval]], list[tuple[int, int, Interval]]] = ([], [])
    for start, end, side, place, entry in entries:
        open_others = open_[1 - side]
        while open_others and open_others[0][0] < start:
            heappop(open_others)
        for _, _, open_entry in open_others:
            overlap = clash(entry, open_entry, wait)
            if overlap is None:
                continue
            local, remote = (entry, open_entry) if side == 0 else (open_entry, entry)
            if (local.id, remote.id) not in same:
                yield Clash(local.id, remote.id, entry.subject, overlap)
        heappush(open_[side], (end, place, entry))


def ranges(spans: Iterable[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Return *spans* (start, end) merged where they touch or lie at most *gap* apart, sorted.

    To read these ranges is to read all of the spans, and little else.
    """
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1] + gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def threshold_of(value: object) -> float:
    """Return the configured threshold in seconds, between 10 and 300; 60 when none is set. Raises ValueError."""
    if value is None:
        return DEFAULT
    if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST <= value <= MOST:
        raise ValueError(f"threshold_s is a number of seconds between {LEAST} and {MOST}.")
    return float(value)
