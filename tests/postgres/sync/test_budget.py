"""The rate budget: no window of any position has more than its limit, whoever asks, and little of it is left unused."""

from __future__ import annotations

import multiprocessing
import random
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from sqlalchemy import Engine, text

from medmirror.clock import SYSTEM, Clock
from medmirror.db import connect
from medmirror.errors import RateLimited
from medmirror.remotes.base import Kind
from medmirror.sync.access import around, hosts, key_of
from medmirror.sync.budget import Budget
from medmirror.sync.organizations import Organization
from medmirror_testing.servers.clock import SimulatedClock

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
Windows = Sequence[tuple[int, int]]


def most(times: Sequence[float], seconds: float) -> int:
    """How many of *times* the fullest window of *seconds* has, both ends counted, wherever it begins."""
    ordered = sorted(times)
    return max(bisect_right(ordered, first + seconds) - place for place, first in enumerate(ordered))


def budget(engine: Engine, windows: Windows, clock: Clock, **more: Any) -> Budget:
    return Budget(engine, "key", windows, clock, **more)


def refused(one: Budget) -> float:
    """The seconds that *one* would have to wait."""
    with pytest.raises(RateLimited) as caught:
        one.take()
    return float(caught.value.context["wait"])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.data())
def test_no_window_of_any_position_has_more_than_its_limit(engine: Engine, data: some.DataObject) -> None:
    windows = data.draw(
        some.lists(
            some.tuples(some.integers(1, 25), some.integers(1, 90)), min_size=1, max_size=3, unique_by=lambda w: w[1]
        )
    )
    gaps = data.draw(some.lists(some.sampled_from([0, 0, 0, 0.01, 0.3, 1, 7, 40]), min_size=40, max_size=120))
    late = random.Random(data.draw(some.integers(0, 1000)))
    time = SimulatedClock(START)
    one = Budget(engine, f"key {late.random()}", windows, time.clock, patience=0)
    shortest = min(seconds for _, seconds in windows)
    given_at, arrived = [], []
    for gap in gaps:
        time.advance(gap)
        try:
            one.take()
        except RateLimited as error:
            time.advance(float(error.context["wait"]))
            continue
        given_at.append(time.now().timestamp())
        arrived.append(given_at[-1] + late.uniform(0, shortest / 61))
    for limit, seconds in windows:
        assert most(given_at, seconds) <= limit
        assert most(arrived, seconds) <= limit  # where it counts: at the remote, a little later


def test_who_has_enough_to_ask_for_gets_nearly_all_of_every_window(engine: Engine) -> None:
    windows = ((20, 60), (80, 1200))
    time = SimulatedClock(START)
    one = budget(engine, windows, time.clock, patience=1e9)
    times = []
    for _ in range(4 * 80 + 1):
        one.take()
        times.append((time.now() - START).total_seconds())
    for limit, seconds in windows:
        assert most(times, seconds) == limit
    assert 0.95 * (times[4 * 80] - times[80]) <= 3 * 1200
    assert 0.95 * times[60] <= 3 * 60


def test_a_quiet_night_leaves_the_whole_minute_for_the_morning(engine: Engine) -> None:
    time = SimulatedClock(START)
    one = budget(engine, ((50, 60), (5000, 3600)), time.clock, patience=0)
    for _ in range(50):
        one.take()
    assert 60 <= refused(one) <= 63
    time.advance(3600)
    for _ in range(50):
        one.take()


ROUNDS = 40  # at the same time each; between them time passes


def _asks(
    one: Budget, between: Callable[[], object], now: Callable[[], float], found: Callable[[float], object]
) -> None:
    """Ask three times a round, all who do so at once."""
    for _ in range(ROUNDS):
        for _ in range(3):
            with suppress(RateLimited):
                one.take()
                found(now())
        between()


def _keeps(times: Sequence[float], windows: Windows) -> None:
    for limit, seconds in windows:
        assert most(times, seconds) <= limit
    assert most(times, windows[0][1]) == windows[0][0]  # and that is what they came to


def test_threads_share_one_budget(engine: Engine) -> None:
    windows = ((30, 60), (70, 600))
    time = SimulatedClock(START)
    times: list[float] = []
    passes = random.Random(11)
    barrier = threading.Barrier(6, lambda: time.advance(passes.uniform(0, 9)))

    def work() -> None:
        one = budget(engine, windows, time.clock, patience=0)
        _asks(one, lambda: barrier.wait(120), lambda: time.now().timestamp(), times.append)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _keeps(times, windows)


def _process(dsn: str, now: Any, barrier: Any, found: Any, windows: Windows) -> None:
    engine = connect.engine(dsn)
    clock = Clock(lambda: datetime.fromtimestamp(now.value, UTC), lambda seconds: None)

    passes = random.Random(11)  # the same in each process, whichever lets the time pass

    def between() -> None:
        seconds = passes.uniform(0, 9)
        if barrier.wait(120) == 0:
            now.value += seconds
        barrier.wait(120)

    _asks(Budget(engine, "key", windows, clock, patience=0), between, lambda: now.value, found.put)
    found.put(None)
    engine.dispose()


def test_processes_share_one_budget(dsn: str) -> None:
    windows = ((25, 60), (60, 300))
    context = multiprocessing.get_context("spawn")
    now, found, barrier = context.Value("d", START.timestamp()), context.Queue(), context.Barrier(3)
    processes = [context.Process(target=_process, args=(dsn, now, barrier, found, windows)) for _ in range(3)]
    for process in processes:
        process.start()
    times, ended = [], 0
    while ended < len(processes):
        at = found.get(timeout=120)
        ended += at is None
        times += [] if at is None else [at]
    for process in processes:
        process.join()
    _keeps(times, windows)


def test_time_is_the_databases_unless_it_is_simulated(engine: Engine) -> None:
    one = budget(engine, ((3, 3600),), SYSTEM, patience=0)
    for _ in range(3):
        one.take()
    assert refused(one) > 3000
    with engine.connect() as conn:
        seconds = conn.scalar(
            text("SELECT extract(epoch FROM clock_timestamp()) - head * 60 FROM medmirror.rate_window")
        )
    assert -1 < seconds < 200


@pytest.mark.parametrize("back", [0.5, 30, 59, 400, 86_400])
def test_a_clock_that_is_set_back_forgets_nothing_and_stops_nobody_for_long(engine: Engine, back: float) -> None:
    time = SimulatedClock(START)
    one = budget(engine, ((10, 60),), time.clock, patience=0)
    for _ in range(10):
        one.take()
    time.set(START - timedelta(seconds=back))
    assert 0 < refused(one) <= 125
    time.advance(125)
    one.take()


def test_waits_up_to_its_patience(engine: Engine) -> None:
    time = SimulatedClock(START)
    one = budget(engine, ((1, 10),), time.clock, patience=30)
    one.take()
    one.take()
    assert 10 <= time.slept <= 11.5
    impatient = budget(engine, ((1, 10),), time.clock, patience=5)
    assert 8 < refused(impatient) < 12
    assert time.slept <= 11.5


def test_a_backfill_leaves_the_rest_to_those_who_cannot_wait(engine: Engine) -> None:
    time = SimulatedClock(START)
    hot = budget(engine, ((100, 60), (1000, 3600)), time.clock, patience=0)
    slow = budget(engine, ((100, 60), (1000, 3600)), time.clock, patience=0, share=0.5)
    for _ in range(50):
        slow.take()
    refused(slow)
    for _ in range(50):
        hot.take()
    refused(hot)
    time.advance(65)
    for _ in range(60):
        hot.take()
    refused(slow)  # of what it might use, nothing is left
    for _ in range(40):
        hot.take()


def test_a_smallest_share_still_gets_through(engine: Engine) -> None:
    budget(engine, ((5, 60),), SimulatedClock(START).clock, patience=0, share=0.01).take()


def test_whoever_is_told_to_wait_has_all_wait(engine: Engine) -> None:
    time = SimulatedClock(START)
    one, other = (budget(engine, ((100, 60),), time.clock, patience=0) for _ in range(2))
    one.hold(40)
    one.hold(10)  # does not shorten it
    assert 39 <= refused(other) <= 42
    time.advance(40)
    other.take()
    without = budget(engine, (), time.clock, patience=0)
    without.take()
    without.hold(20)
    assert 19 <= refused(without) <= 21


@pytest.mark.parametrize(("seconds", "kept"), [(float("nan"), 0), (-5, 0), (1e12, 86_400)])
def test_what_a_remote_says_is_kept_within_reason(engine: Engine, seconds: float, kept: float) -> None:
    time = SimulatedClock(START)
    one = budget(engine, (), time.clock, patience=0)
    one.hold(seconds)
    if kept:
        assert kept <= refused(one) <= kept + 1
    else:
        one.take()


def _organization(**more: Any) -> Organization:
    given = {"organization_id": "org_1", "source": "cliniko", "remote": "cliniko", "secret": "env:KEY_ONE"}
    return Organization(**(given | more))


def test_organizations_that_use_one_key_of_one_host_share_its_budget() -> None:
    one = _organization(settings={"url": "https://api.example.org/v1"})
    assert key_of(one) == key_of(_organization(organization_id="org_2", settings={"url": "https://api.example.org/"}))
    assert key_of(one) != key_of(_organization(secret="env:KEY_TWO", settings={"url": "https://api.example.org/v1"}))
    assert key_of(one) != key_of(_organization(settings={"url": "https://other.example.org/v1"}))
    folders = [_organization(organization_id=name, remote="folder", secret=None) for name in ("org_1", "org_2")]
    assert key_of(folders[0]) != key_of(folders[1])


def test_of_an_address_nothing_but_its_host_is_kept() -> None:
    one = _organization(
        settings={"url": "postgresql://reader:swordfish@db.example.org:5433/clinic", "bad": "x://[", "n": 3}
    )
    assert hosts(one) == "db.example.org:5433"


def test_what_a_remote_is_given(engine: Engine) -> None:
    def never(*arguments: Any) -> Any:
        raise AssertionError

    time = SimulatedClock(START)
    kind = Kind("cliniko", {}, never, ((2, 60),))
    made = around(engine, _organization(), kind, time.clock, patience=0)
    made.permit()
    made.permit()
    with pytest.raises(RateLimited):
        made.permit()
    made.sleep(70)
    made.permit()
    made.limited(30)
    with pytest.raises(RateLimited):
        around(engine, _organization(windows=((50, 60),)), kind, time.clock, patience=0).permit()
    made.notes.set("poll", "a")
    made.notes.set("poll", "b")
    assert around(engine, _organization(), kind, time.clock).notes.get("poll") == "b"
    assert around(engine, _organization(source="fhir"), kind, time.clock).notes.get("poll") is None
    made.notes.set("poll", None)
    assert made.notes.get("poll") is None


@pytest.mark.parametrize("status", [500, 503, 0])
def test_failures_of_the_remote_open_its_breaker(engine: Engine, status: int) -> None:
    time = SimulatedClock(START)

    def made() -> Any:
        return around(engine, _organization(), Kind("cliniko", {}, _none, ()), time.clock, patience=0)

    _all(made().permit, 5)
    for answer in (404, 429, 401, 200):
        _all(lambda answer=answer: made().called(answer), 6)
    made().permit()
    _all(lambda: made().called(status), 5)
    with pytest.raises(RateLimited, match="failed several times"):
        made().permit()


def _none(*arguments: Any) -> Any:
    raise AssertionError


def _all(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()
