"""Cliniko's lists: one answer of one, and how a list is read that is changed while it is read.

Pages by number shift when a record leaves the list or enters it, and whoever goes on to the next number misses others
for it. So no list is read by numbers. It is ordered by a time, and after each page asked for again from the last time
that the page reached, that time included: what was changed meanwhile is then elsewhere, and nothing else has moved.

The API knows whole seconds. What was changed within one second may be more than a page holds (a bulk change). That one
second is then read by the time at which its records were made. Only what was made within one second as well (a bulk
import), and lists that know no other time, are read along their links: what was read is counted against what the
remote says there is, and when that changes under way, or does not come out even, the second is begun again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from medmirror.errors import ListingIncomplete, RemoteUnavailable
from medmirror.remotes.base import MICROSECOND, Position
from medmirror.remotes.http.answer import Answer
from medmirror.remotes.http.client import Http

PER_PAGE = 100  #: the most that the API gives
_TRIES = 5
_LATEST = 253_402_300_799  # the end of the year 9999
_LAST = re.compile(r"/([^/?#]+)/?(?:[?#].*)?$")


class Listing(NamedTuple):
    """A list: its *path*, the *array* that its pages hold, the *time* that it is ordered by, and filters: those that
    bring back what it leaves out."""

    path: str
    array: str
    time: str = "updated_at"
    including: tuple[str, ...] = ()


class Answered(NamedTuple):
    """One answer of a list.

    *times* are seconds since 1970, *total* is what the remote says there is, *around* the values around the records.
    """

    answer: Answer
    ids: Sequence[str]
    times: Sequence[int]
    records: Sequence[Mapping[str, Any]]
    total: int
    following: str | None
    around: Mapping[str, Any]


Reached = tuple[Answered, Position | None]
"""An answer, and up to where everything has been given; None where that cannot be said."""


def moment(seconds: int) -> str:
    """Seconds since 1970 as the API takes them."""
    return datetime.fromtimestamp(min(max(0, seconds), _LATEST), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: Any) -> int | None:
    """A time of the API in seconds since 1970; None for none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        return None


def walk(http: Http, listing: Listing, low: int, high: int) -> Iterator[Reached]:
    """Every record of *listing* whose time lies in the seconds [*low*, *high*), in the order of time.

    An answer that reaches further back than the one before repeats what it shares with it. Raises ListingIncomplete
    when what the remote gives does not add up.
    """
    at, again = low, False  # whether a record of the second *at* was given before
    while at < high:
        answered = _page(http, listing, at, high)
        if answered.following is None:
            if answered.ids:
                yield answered, reached(answered)
            elif again and not ask(http, listing, at, _LATEST).ids:
                raise _incomplete(listing)  # if it was changed it is later now, not gone
            return
        if answered.times[-1] > at:
            at, again = answered.times[-1], True
            yield answered, Position(at * MICROSECOND)
        else:
            yield from _second(http, listing, at)
            at, again = at + 1, False


def _page(http: Http, listing: Listing, low: int, high: int) -> Answered:
    """The first page of what lies in [*low*, *high*), complete and in order."""
    for _ in range(_TRIES):
        answered = ask(http, listing, low, high)
        if answered.following is not None or len(answered.ids) == answered.total:
            if all(a <= b for a, b in zip([low, *answered.times], [*answered.times, high - 1], strict=True)):
                return answered
            raise ListingIncomplete("The remote's list is not in the order, or not of the time, that was asked for.")
    raise _incomplete(listing)


def _second(http: Http, listing: Listing, at: int) -> Iterator[Reached]:
    """All of the second *at*, which is more than a page holds."""
    if listing.time in ("created_at", "deleted_at"):
        yield from _counted(http, listing, at)
        return
    alone = (f"{listing.time}:>={moment(at)}", f"{listing.time}:<{moment(at + 1)}")
    inner = listing._replace(time="created_at", including=(*listing.including, *alone))
    before, greatest = None, ""
    for answered, _ in walk(http, inner, 0, _LATEST):
        if before is not None:
            yield before, None
        before, greatest = answered, max(greatest, *answered.ids)
    if before is not None:
        yield before, Position(at * MICROSECOND, greatest)


def _counted(http: Http, listing: Listing, at: int) -> Iterator[Reached]:
    """All of the second *at*, by its links; read until a pass that adds up meets none that is new.

    One pass that adds up proves nothing: where a record leaves the list and another enters it, a third may have moved
    from the page to come to the one before.
    """
    ever: set[str] | None = None
    for _ in range(_TRIES):
        met: set[str] = set()
        given = 0
        answered = ask(http, listing, at, at + 1)
        total = answered.total
        while answered.ids and answered.total == total and given <= total:  # links may lead on and on
            met.update(answered.ids)
            given += len(answered.ids)
            if answered.following is None:
                break
            yield answered, None
            answered = read(listing, http.get(answered.following))
        if answered.following is None and answered.total == total == len(met):
            if ever is not None and met <= ever:
                if answered.ids:
                    yield answered, Position(at * MICROSECOND, max(ever))
                return
            if answered.ids:
                yield answered, None
            ever = met | (ever or set())
    raise _incomplete(listing)


def ask(http: Http, listing: Listing, low: int, high: int) -> Answered:
    """The first page of what lies in the seconds [*low*, *high*)."""
    filters = [f"{listing.time}:>={moment(low)}", f"{listing.time}:<{moment(high)}", *listing.including]
    query = [("sort", listing.time), ("per_page", str(PER_PAGE)), *(("q[]", filter) for filter in filters)]
    return read(listing, http.get(listing.path, query))


def whole(http: Http, listing: Listing) -> Answered:
    """The first page of all there is."""
    query = [("sort", listing.time), ("per_page", str(PER_PAGE)), *(("q[]", state) for state in listing.including)]
    return read(listing, http.get(listing.path, query))


def read(listing: Listing, answer: Answer) -> Answered:
    """What *answer* holds. RemoteUnavailable when it is no page of the list: an error, or half of one."""
    body = answer.json()
    records = body.get(listing.array) if isinstance(body, dict) else None
    links = body.get("links") if isinstance(body, dict) else None
    total = whole_number(body.get("total_entries")) if isinstance(body, dict) else None
    if not isinstance(records, list) or not isinstance(links, dict) or total is None:
        raise RemoteUnavailable("The remote's answer is no page of the list.", path=answer.path, status=answer.status)
    following = links.get("next")
    if not all(isinstance(record, dict) for record in records) or (
        following is not None and not isinstance(following, str)
    ):
        raise RemoteUnavailable("The remote's answer is no page of the list.", path=answer.path, status=answer.status)
    if following is not None and not records:
        raise ListingIncomplete("A page of the list is empty and yet not the last.", path=answer.path)
    times: list[int] = []
    for record in records:  # what has no time of its own stands where it was given
        stamp = seconds(record.get(listing.time))
        times.append(stamp if stamp is not None else times[-1] if times else 0)
    around = {key: value for key, value in body.items() if key != listing.array}
    return Answered(answer, [id_of(record) for record in records], times, records, total, following or None, around)


def id_of(record: Mapping[str, Any]) -> str:
    """The id of a record: its own, or that of its link; "" for none. A number over 64 bits is not to be trusted."""
    own = record.get("id")
    if (isinstance(own, str) and own) or (isinstance(own, int) and not isinstance(own, bool)):
        return str(own)
    links = record.get("links")
    match = _LAST.search(str(links.get("self") or "")) if isinstance(links, dict) else None
    return match[1] if match else ""


def whole_number(value: Any) -> int | None:
    """A count, which may be written as a text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def reached(answered: Answered) -> Position:
    """Where the last record of an answer that holds some stands."""
    last = answered.times[-1]
    return Position(
        last * MICROSECOND, max(id for id, time in zip(answered.ids, answered.times, strict=True) if time == last)
    )


def _incomplete(listing: Listing) -> ListingIncomplete:
    return ListingIncomplete(list=listing.path, tries=_TRIES)
