"""Lists of what was changed, out of FHIR searches: nothing is missed, whatever is changed while they are read.

**By keyset.** Each page is a search of its own, from the last ``_lastUpdated`` that was given, that one included, and
what was given already is left out. So a resource that is changed meanwhile goes to the end and shifts none out of
sight, and no token has to outlive a page.

**By links, until it is settled**, where there is no keyset: in a run of equal times that fills a page, and on servers
that do not sort by ``_lastUpdated``, do not say it or round it. Such a list is read through ``next`` until a pass adds
up: the total stayed the same and as many were seen; where the server counts nothing, until a pass shows nothing new.
A token that expired costs a pass. Nothing is claimed of these pages before their end (``upto`` is None).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from medmirror.errors import ListingIncomplete, PageExpired
from medmirror.remotes.base import Page, Position
from medmirror.remotes.fhir import bundles as fhirbundles
from medmirror.remotes.fhir.bundles import Bundle, Entry

Params = list[tuple[str, str]]
Ask = Callable[[str, Sequence[tuple[str, str]]], Bundle]
"""(a path below the base, or a link; parameters) -> the Bundle there. PageExpired for a link that is known no more."""

_PASSES = 5
_NO_END = 253_000_000_000_000_000  # of the year 9987: whatever is later means that there is no bound


class Search(NamedTuple):
    """A search of resources of type *feed*, *size* a page."""

    ask: Ask
    feed: str
    size: int
    sort: str
    totals: bool = True  # whether the server is asked for one: some refuse what they do not know

    def params(self, *bounds: str) -> Params:
        """Those that find what was last changed within *bounds*."""
        filters = [("_lastUpdated", bound) for bound in bounds if bound]
        total = [("_total", "accurate")] if self.totals else []
        return [*filters, ("_sort", self.sort), ("_count", str(self.size)), *total]


def changed(search: Search, since: Position, until: int) -> Iterator[Page]:
    """Every resource changed at or after *since* and not after *until*, in the order of their times."""
    low, floor, high = _bound("ge", since.time), since.time, _bound("le", until)
    given: set[tuple[str, str, int]] = set()
    while True:
        params = search.params(low, high)
        bundle = search.ask(search.feed, params)
        times = [entry.time for entry in bundle.entries]
        if bundle.next is None and (bundle.total or 0) <= len(times):
            fresh = [entry for entry in bundle.entries if _known(entry) not in given]
            if fresh:
                yield page(search.feed, fresh, bundle.time, Position(times[-1]) if _rises(times) else None)
            return
        if bundle.next is None or not times or times[0] < max(floor, 1) or not _rises(times):
            yield from _settled(search, params, given)
            return
        first, last = times[0], times[-1]
        if first == last:
            yield from _settled(search, search.params(_bound("ge", last), _bound("le", last)), given)
            low, floor = _bound("gt", last), last + 1
            continue
        fresh = [entry for entry in bundle.entries if _known(entry) not in given]
        yield page(search.feed, fresh, bundle.time, Position(last))
        given = {_known(entry) for entry in bundle.entries if entry.time == last}
        low, floor = _bound("ge", last), last


def _settled(search: Search, params: Params, given: set[tuple[str, str, int]]) -> Iterator[Page]:
    """Everything that *params* find but what was *given*, read by links until a pass adds up; *given* grows."""
    failure: Exception | None = None
    for number in range(_PASSES):
        seen: set[str] = set()
        totals: set[int | None] = set()
        before, pages = len(given), 0
        try:
            for bundle in _linked(search, search.feed, params):
                pages += 1
                seen |= {entry.id for entry in bundle.entries}
                totals.add(bundle.total)
                fresh = [entry for entry in bundle.entries if _known(entry) not in given]
                given |= {_known(entry) for entry in fresh}
                if fresh:
                    yield page(search.feed, fresh, bundle.time, None)
        except PageExpired as error:
            failure = error
            continue
        failure = None
        total = totals.pop() if len(totals) == 1 else -1
        nothing_new = pages == 1 or (number > 0 and len(given) == before)
        if nothing_new if total is None else 0 <= total <= len(seen):
            return
    raise failure or ListingIncomplete(passes=_PASSES, feed=search.feed)


def _linked(search: Search, path: str, params: Params) -> Iterator[Bundle]:
    bundle = search.ask(path, params)
    links: set[str] = set()
    yield bundle
    while bundle.next is not None:
        if bundle.next in links:
            raise ListingIncomplete("The links between pages lead in a circle.", feed=search.feed)
        links.add(bundle.next)
        bundle = search.ask(bundle.next, ())
        yield bundle


def deleted(search: Search, since: int, until: int) -> Iterator[Page]:
    """What was deleted at or after *since* and not after *until*, out of the history of the type.

    A history begins with the newest version, and what is added while it is read only shows the same ones again. Where
    a deletion does not say when, it counts unless a newer version follows it. How far the history reached is said by
    the last page, which is empty: most histories hold no deletion, and are not to be read from their beginning for it.
    """
    living: set[str] = set()
    seen, last, least = 0, 0, 0
    for bundle in _history(search, since):
        least = least if seen else bundle.total or 0
        seen += len(bundle.entries)
        last = max([last, *(entry.time for entry in bundle.entries if entry.time <= until)])
        gone = []
        for entry in bundle.entries:
            if entry.method != "DELETE":
                living.add(entry.id)
            elif since <= entry.time <= until if entry.time else entry.id not in living:
                gone.append(entry)
        if gone:
            yield _gone(search.feed, [fhirbundles.deletion(entry, bundle.time) for entry in gone])
    if seen < least:
        raise ListingIncomplete(feed=search.feed, entries=seen, total=least)
    if last:
        yield _gone(search.feed, [])._replace(upto=Position(last))


def _history(search: Search, since: int) -> Iterator[Bundle]:
    params: Params = [("_since", fhirbundles.text(since))] if since > 0 else []
    params += [("_count", str(search.size)), ("_elements", "id")]  # of those that live, nothing more is wanted
    return _linked(search, f"{search.feed}/_history", params)


def _gone(feed: str, deletions: Sequence[bytes]) -> Page:
    body = fhirbundles.page(deletions, kind="transaction")
    return Page(feed, f"{feed}/_history", body, len(deletions))


def page(feed: str, entries: Sequence[Entry], time: int, upto: Position | None) -> Page:
    """A page of *entries*; *time* is when they were true, which is written where one of them does not say."""
    unsaid = time if any(not entry.time for entry in entries) else 0
    first = next((entry.time for entry in entries if entry.time), 0)
    name = f"{feed}?_lastUpdated=ge{fhirbundles.text(first)}" if first else feed
    return Page(feed, name, fhirbundles.page([entry.raw for entry in entries], time=unsaid), len(entries), upto)


def _known(entry: Entry) -> tuple[str, str, int]:
    return entry.id, entry.version, entry.time


def _rises(times: Sequence[int]) -> bool:
    return all(times) and all(a <= b for a, b in pairwise(times))


def _bound(how: str, time: int) -> str:
    """A bound of ``_lastUpdated``; none at the beginning, nor where there is no end."""
    return f"{how}{fhirbundles.text(time)}" if 0 < time < _NO_END else ""
