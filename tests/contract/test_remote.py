"""What every remote must do, written once. A new kind needs only an opener (``remotes``)."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import remotes as opening
from remotes import START, Part, Side

import leaks
from medmirror import remotes as registry
from medmirror import sources
from medmirror.clock import microseconds
from medmirror.errors import (
    AuthenticationFailed,
    MedmirrorError,
    RateLimited,
    RemoteUnavailable,
    StaleWrite,
    SyncError,
)
from medmirror.readers import files
from medmirror.readers.files import Stream
from medmirror.remotes.base import BEGINNING, MICROSECOND, Around, NoNotes, Page, Position, Remote
from medmirror_testing.samples.people import person

OPENERS = opening.openers()
ORGANIZATION = "org_1"


def having(*parts: Part) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Test every kind of remote that can do *parts*."""
    kinds = [name for name, one in OPENERS.items() if one.can.issuperset(parts)]
    return pytest.mark.parametrize("side", kinds, indirect=True)


@pytest.fixture
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    """An empty system of the kind that the test is for."""
    with OPENERS[request.param].open(tmp_path) as made:
        yield made


class Read(NamedTuple):
    """A record as the source finds it in a page."""

    id: str
    version: int


def read(side: Side, page: Page) -> list[Read]:
    """The records of *page*, by the source that takes it: as many as the remote said."""
    source = sources.get(side.source)
    found = []
    for stream in _streams(page):
        given = {"organization": ORGANIZATION, "path": page.name, **side.given}
        context = page.context or source.context(stream.name, files.head(stream), stream.open, given)
        context = {**context, "organization": ORGANIZATION}
        with stream.open() as file:
            for block in source.split(file, context, 1 << 30, 1 << 26):
                for item in source.items(block.data, block.ordinal, {**context, **block.facts}):  # type: ignore[union-attr]
                    found.append(Read(str(item.key[-1]), item.version))  # type: ignore[union-attr]
    uncounted = isinstance(page.body, Path) and not page.records  # a file of which nobody says how many it holds
    assert uncounted or len(found) == page.records
    return found


def _streams(page: Page) -> Iterable[Stream]:
    if isinstance(page.body, Path):
        return files.streams(page.body, 200)
    body = page.body
    return [Stream(page.name, "", lambda: io.BytesIO(body), raw=body)]


def listed(side: Side, pages: Iterable[Page]) -> list[Read]:
    """The records of *pages*, in their order, each as often as it comes."""
    return [one for page in pages for one in read(side, page)]


def ids(found: Iterable[Read]) -> set[str]:
    """Their ids."""
    return {one.id for one in found}


def changed(side: Side, since: Position = BEGINNING, remote: Remote | None = None) -> list[Page]:
    """What was changed since then, up to the remote's now."""
    remote = remote or side.open(Around())
    return list(remote.changed(side.feed, since, remote.now()))


def seconds(count: int, step: int = 10, ago: int = 86_400) -> list[int]:
    """*count* times of the past, *step* seconds apart, in microseconds."""
    return [microseconds(START - timedelta(seconds=ago)) + number * step * MICROSECOND for number in range(count)]


def made(side: Side, times: Sequence[int]) -> list[str]:
    """Records changed at *times* (microseconds)."""
    zero = START - timedelta(microseconds=microseconds(START))
    return side.make([zero + timedelta(microseconds=time) for time in times])


# --- what it is


def test_every_kind_of_remote_is_tested() -> None:
    assert set(OPENERS) == set(registry.kinds())


@having()
def test_the_parts_of_the_contract_are_those_that_it_can(side: Side, request: pytest.FixtureRequest) -> None:
    remote = side.open(Around())
    can = OPENERS[request.node.callspec.params["side"]].can
    capabilities = remote.capabilities
    assert capabilities.ordered == ("ordered" in can)
    assert (side.feed in capabilities.deleted) == ("deleted" in can)
    assert bool(capabilities.windowed) == ("window" in can)
    assert (side.feed in capabilities.push) == ("push" in can)
    assert capabilities.get == ("get" in can)
    assert set(capabilities.deleted + capabilities.windowed + capabilities.push) <= set(capabilities.feeds)
    assert remote.source == side.source
    assert remote.source in sources.names()


# --- lists


@having()
def test_everything_comes_from_the_beginning(side: Side) -> None:
    made(side, seconds(side.per_page * 2 + 30))
    assert ids(listed(side, changed(side))) == side.ids()
    assert len(side.ids()) == side.per_page * 2 + 30


@having()
def test_an_empty_list_ends_without_a_record(side: Side) -> None:
    assert listed(side, changed(side)) == []


@having()
def test_a_second_reading_gives_the_same(side: Side) -> None:
    made(side, seconds(30))
    remote = side.open(Around())
    assert ids(listed(side, changed(side, remote=remote))) == ids(listed(side, changed(side, remote=remote)))


@having("ordered")
def test_bounds_are_both_included_and_nothing_else_comes(side: Side) -> None:
    times = seconds(10)
    some = made(side, times)
    remote = side.open(Around())
    found = remote.changed(side.feed, Position(times[3]), times[6])
    assert ids(listed(side, found)) == set(some[3:7])
    assert not {some[2], some[5]} & ids(listed(side, remote.changed(side.feed, Position(times[3] + 1), times[4] - 1)))


@having("ordered")
def test_pages_come_in_order_and_keep_what_their_upto_promises(side: Side) -> None:
    times = seconds(side.per_page * 2 + 30, step=3)
    known = dict(zip(made(side, times), times, strict=True))
    met: set[str] = set()
    last = BEGINNING
    for page in changed(side):
        found = read(side, page)
        assert [one.version for one in found] == sorted(one.version for one in found)
        met |= ids(found)
        if page.upto is not None:
            assert last <= page.upto
            last = page.upto
            assert {id for id, time in known.items() if (time, id) <= page.upto} <= met
    assert met == set(known)
    assert last > Position(times[side.per_page])


@having("ordered")
def test_whoever_goes_on_from_any_page_loses_nothing(side: Side) -> None:
    times = [time for time in seconds(side.per_page + 10, step=3) for _ in range(2)]
    made(side, times)
    remote = side.open(Around())
    until = remote.now()
    pages = list(remote.changed(side.feed, BEGINNING, until))
    reached, met = BEGINNING, set()
    for page in pages:
        met |= ids(read(side, page))
        reached = page.upto or reached
        rest = listed(side, remote.changed(side.feed, reached, until))
        assert met | ids(rest) == side.ids()


@having("ordered")
def test_more_records_of_one_time_than_a_page_holds_all_come(side: Side) -> None:
    first, tie, last = seconds(3)
    made(side, [first] * 3 + [tie] * (side.per_page * 2 + 30) + [last] * 4)
    assert ids(listed(side, changed(side))) == side.ids()
    assert ids(listed(side, changed(side, Position(tie)))) > ids(listed(side, changed(side, Position(last))))


@having("ordered", "touch")
@pytest.mark.parametrize("tied", [False, True])
def test_records_touched_while_paging_push_nobody_out_of_sight(side: Side, tied: bool) -> None:
    count = side.per_page * 3
    some = made(side, seconds(1) * count if tied else seconds(count))
    remote = side.open(Around())
    until = remote.now()
    met, touched = set(), set()
    for page in remote.changed(side.feed, BEGINNING, until):
        found = read(side, page)
        met |= ids(found)
        side.clock.advance(5)
        if len(touched) < 6:
            for id in (found[0].id, found[1].id, some[-1 - len(touched)]):
                side.touch(id)
                touched.add(id)
    assert met | touched == side.ids()
    side.clock.advance(1)
    assert touched <= ids(listed(side, changed(side, Position(until))))


@having("touch")
def test_a_changed_record_comes_again_under_a_newer_version(side: Side) -> None:
    some = made(side, seconds(5))
    before = {one.id: one.version for one in listed(side, changed(side))}
    side.touch(some[2])
    side.clock.advance(2)
    found = listed(side, changed(side, Position(microseconds(START) - 60 * MICROSECOND)))
    assert some[2] in ids(found)
    assert max(one.version for one in found if one.id == some[2]) > before[some[2]]


@having("hidden")
def test_what_lists_leave_out_comes_along(side: Side) -> None:
    some = made(side, seconds(4))
    side.hide(some[1])
    side.clock.advance(2)
    assert ids(listed(side, changed(side))) == set(some)


@having("deleted")
def test_deleted_records_are_in_their_own_list(side: Side) -> None:
    some = made(side, seconds(6))
    remote = side.open(Around())
    assert listed(side, remote.deleted(side.feed, 0, remote.now())) == []
    side.delete(some[1])
    side.clock.advance(60)
    between = remote.now()
    side.clock.advance(60)
    side.delete(some[4])
    side.clock.advance(2)
    assert ids(listed(side, remote.deleted(side.feed, 0, remote.now()))) == {some[1], some[4]}
    assert ids(listed(side, remote.deleted(side.feed, 0, between))) == {some[1]}
    assert ids(listed(side, remote.deleted(side.feed, between, remote.now()))) == {some[4]}


@having("window")
def test_a_window_holds_what_begins_in_it_whenever_it_was_changed(side: Side) -> None:
    days = [START + timedelta(days=day) for day in range(-3, 4)]
    some = [side.begin(day) for day in days]
    remote = side.open(Around())
    feed = remote.capabilities.windowed[0]
    found = listed(side, remote.window(feed, days[2], days[5]))
    assert ids(found) == set(some[2:5])


# --- single records


@having("get")
def test_a_record_is_got_by_its_id_and_none_by_another(side: Side) -> None:
    some = made(side, seconds(3))
    remote = side.open(Around())
    page = remote.get(side.feed, some[1])
    assert page is not None
    assert ids(read(side, page)) == {some[1]}
    assert some[1] not in page.name
    assert remote.get(side.feed, "424242") is None


@having("push")
def test_a_write_makes_a_record_once_for_each_key(side: Side) -> None:
    notes = NoNotes()
    remote = side.open(Around(notes=notes))
    first = remote.push(side.feed, side.document(1, "a"), id=None, expected=None, idempotency_key="k1")
    again = remote.push(side.feed, side.document(1, "a"), id=None, expected=None, idempotency_key="k1")
    later = side.open(Around(notes=notes))
    assert again == first
    assert later.push(side.feed, side.document(1, "a"), id=None, expected=None, idempotency_key="k1") == first
    other = later.push(side.feed, side.document(2, "a"), id=None, expected=None, idempotency_key="k2")
    assert side.ids() == {first.id, other.id}
    assert first.version == side.version(first.id)
    assert side.says(first.id) == "a"


@having("push")
def test_a_write_changes_a_record_that_nobody_else_changed(side: Side) -> None:
    remote = side.open(Around())
    first = remote.push(side.feed, side.document(1, "a"), id=None, expected=None, idempotency_key="k1")
    side.clock.advance(5)
    second = remote.push(side.feed, side.document(1, "b"), id=first.id, expected=first.version, idempotency_key="k2")
    assert side.says(first.id) == "b"
    assert (second.id, second.version) == (first.id, side.version(first.id))
    assert second.time > first.time


@having("push")
def test_a_write_onto_a_version_that_is_no_more_is_refused(side: Side) -> None:
    remote = side.open(Around())
    first = remote.push(side.feed, side.document(1, "a"), id=None, expected=None, idempotency_key="k1")
    side.clock.advance(5)
    remote.push(side.feed, side.document(1, "b"), id=first.id, expected=first.version, idempotency_key="k2")
    side.clock.advance(5)
    with pytest.raises(StaleWrite):
        remote.push(side.feed, side.document(1, "c"), id=first.id, expected=first.version, idempotency_key="k3")
    assert side.says(first.id) == "b"


@having("push", "http")
def test_a_write_whose_answer_was_lost_is_not_made_twice(side: Side) -> None:
    remote = side.open(Around(notes=NoNotes()))
    remote.now()
    id = expected = None
    for text in ("make", "change"):
        side.clock.advance(5)
        side.faults.add("lost", times=1, method="write")
        with pytest.raises(RemoteUnavailable):
            remote.push(side.feed, side.document(1, text), id=id, expected=expected, idempotency_key=text)
        side.clock.advance(5)
        pushed = remote.push(side.feed, side.document(1, text), id=id, expected=expected, idempotency_key=text)
        assert side.ids() == {pushed.id}
        assert side.says(pushed.id) == text
        id, expected = pushed.id, pushed.version
    assert side.faults.struck["lost"] == 2


# --- what goes wrong


@having("http")
def test_the_clock_is_the_remotes_own(side: Side) -> None:
    side.faults.skew = 7200.0
    assert abs(side.open(Around()).now() - microseconds(START) - 7200 * MICROSECOND) <= MICROSECOND


@having("http")
def test_a_limit_is_passed_on_with_its_wait(side: Side) -> None:
    made(side, seconds(3))
    limits: list[float] = []
    remote = side.open(Around(limited=limits.append))
    until = remote.now()
    side.faults.add("limited", seconds=17.0)
    with pytest.raises(RateLimited) as caught:
        list(remote.changed(side.feed, BEGINNING, until))
    assert caught.value.context["wait"] == 17.0
    assert limits == [17.0]


@having("key")
def test_a_key_that_is_not_taken_is_said_to_be_so(side: Side) -> None:
    assert side.open_wrong is not None
    with pytest.raises(AuthenticationFailed) as caught:
        side.open_wrong(Around()).now()
    assert not caught.value.transient


@having("http")
@pytest.mark.parametrize("what", ["unavailable", "truncated", "closed"])
def test_a_remote_that_stays_broken_is_unavailable(side: Side, what: str) -> None:
    made(side, seconds(side.per_page * 2))
    remote = side.open(Around())
    until = remote.now()
    pages = []
    with pytest.raises(RemoteUnavailable) as caught:
        for page in remote.changed(side.feed, BEGINNING, until):
            pages.append(page)
            side.faults.add(what)  # type: ignore[arg-type]
    assert caught.value.transient
    assert 0 < len(ids(listed(side, pages))) < len(side.ids())


@having("http")
def test_what_breaks_off_now_and_then_costs_nobody(side: Side) -> None:
    made(side, seconds(side.per_page * 3 + 7))
    calls: Counter[int] = Counter()
    remote = side.open(Around(called=lambda status: calls.update([status])))
    until = remote.now()
    for what in ("unavailable", "truncated", "closed", "lost"):
        side.faults.add(what, chance=0.3)  # type: ignore[arg-type]
    met: set[str] = set()
    for _ in range(200):
        try:
            for page in remote.changed(side.feed, BEGINNING, until):
                met |= ids(read(side, page))
            break
        except RemoteUnavailable:
            continue
    assert met == side.ids()
    assert set(calls) > {200}


@having("http", "key")
def test_no_key_and_nobody_is_ever_named(side: Side, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    some = made(side, seconds(5))
    remote = side.open(Around())
    until = remote.now()
    pages = list(remote.changed(side.feed, BEGINNING, until))
    said = [repr(remote), *(page.name for page in pages)]
    asked: list[Callable[[], object]] = [lambda: list(remote.changed(side.feed, BEGINNING, until))]
    if remote.capabilities.get:
        asked.append(lambda: remote.get(side.feed, some[0]))
    if side.feed in remote.capabilities.push:
        document = side.document(7, "a")
        asked.append(lambda: remote.push(side.feed, document, id=some[0], expected="?", idempotency_key="k"))
    for what in ("limited", "unavailable", "truncated", "closed"):
        side.faults.calm()
        side.faults.add(what)  # type: ignore[arg-type]
        for ask in asked:
            with pytest.raises(SyncError) as caught:
                ask()
            said += _everything(caught.value)
    said += [record.getMessage() for record in caplog.records]
    for text in said:
        assert not any(secret in text for secret in side.secrets)
        assert not any(id in text for id in some)
        assert not leaks.leaks("", text)
        assert person(7).family not in text


def _everything(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error)
        yield repr(error)
        if isinstance(error, MedmirrorError):
            yield str(error.context)
        error = error.__cause__ or error.__context__
