"""The circuit breaker: opens after failures in a row, waits longer each time, is tried by one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from medmirror.errors import RateLimited
from medmirror.sync.breaker import PROBE, Breaker, Spacing, State, states
from medmirror_testing.servers.clock import SimulatedClock

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
SPACING = Spacing(least=10, base=20, cap=100)


@pytest.fixture
def time() -> SimulatedClock:
    return SimulatedClock(START)


@pytest.fixture
def made(engine: Engine, time: SimulatedClock) -> Callable[..., Breaker]:
    """Makes a breaker as another process would, with a jitter of exactly its upper end."""

    def make(key: str = "key", **more: Any) -> Breaker:
        return Breaker(
            engine, key, time.clock, **{"remote": "cliniko", "spacing": SPACING, "roll": lambda: 1.0, **more}
        )

    return make


def state(engine: Engine) -> State:
    with engine.connect() as conn:
        (only,) = states(conn)
    return only


def fail(one: Breaker, times: int = 5) -> None:
    for _ in range(times):
        one.failed(503)


def wait(one: Breaker) -> float:
    with pytest.raises(RateLimited) as caught:
        one.check()
    return float(caught.value.context["wait"])


Made = Callable[..., Breaker]


def test_a_remote_that_never_failed_is_not_in_the_books(engine: Engine, made: Made) -> None:
    one = made()
    one.check()
    one.worked()
    with engine.connect() as conn:
        assert states(conn) == []


def test_failures_of_all_processes_in_a_row_open_it_for_all(engine: Engine, made: Made) -> None:
    clients = [made() for _ in range(5)]
    for one in clients:
        one.check()
    for one in clients[:4]:
        one.failed(502)
    clients[4].check()
    clients[4].failed(0)
    assert [wait(one) for one in clients] == [40] * 5
    made("another").check()
    known = state(engine)
    assert (known.state, known.failures, known.openings, known.status) == ("open", 5, 1, 0)
    assert (known.remote, known.opened_at, known.changed_at) == ("cliniko", START, START)
    assert known.probe_at is not None
    assert (known.probe_at - START).total_seconds() == 40


def test_an_answer_between_them_ends_the_row(engine: Engine, made: Made) -> None:
    one, other = made(), made()
    for _ in range(3):
        fail(one, 4)
        other.check()
        other.worked()
    one.check()
    assert (state(engine).state, state(engine).failures) == ("closed", 0)


def test_each_failed_probe_makes_the_next_wait_longer_up_to_a_cap(made: Made, time: SimulatedClock) -> None:
    one = made()
    fail(one)
    waits = []
    for _ in range(5):
        waits.append(wait(one))
        time.advance(waits[-1])
        one.check()
        one.failed(500)
    assert waits == [40, 80, 100, 100, 100]


@pytest.mark.parametrize(("roll", "expected"), [(0.0, 10), (0.5, 25), (1.0, 40)])
def test_the_wait_is_jittered_and_never_less_than_its_least(made: Made, roll: float, expected: float) -> None:
    one = made(roll=lambda: roll)
    fail(one)
    assert wait(one) == expected


def test_a_probe_that_is_answered_closes_it(engine: Engine, made: Made, time: SimulatedClock) -> None:
    one, other = made(), made()
    fail(one)
    time.advance(40)
    other.check()
    assert state(engine).state == "half-open"
    other.check()  # it may ask itself again
    other.worked()
    one.check()
    known = state(engine)
    assert known[2:5] == ("closed", 0, 0)
    assert (known.opened_at, known.probe_at) == (None, None)


def test_of_many_at_once_one_probes(made: Made, time: SimulatedClock) -> None:
    fail(made())
    time.advance(40)
    through: list[bool] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        one = made()
        barrier.wait(120)
        try:
            one.check()
            through.append(True)
        except RateLimited:
            through.append(False)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(through) == [False] * 7 + [True]


def test_a_probe_whose_process_died_is_made_by_another(engine: Engine, made: Made, time: SimulatedClock) -> None:
    fail(made())
    time.advance(40)
    made().check()
    assert wait(made()) == PROBE
    time.advance(PROBE)
    made().check()
    assert state(engine).state == "half-open"


def test_answers_to_requests_from_before_neither_close_it_nor_put_it_off(
    engine: Engine, made: Made, time: SimulatedClock
) -> None:
    late, failing = made(), made()
    late.check()
    failing.check()
    fail(made())
    before = state(engine)
    late.failed(503)
    late.worked()
    assert state(engine)[2:4] == ("open", 6)
    assert state(engine).probe_at == before.probe_at
    time.advance(40)
    made().check()
    late.worked()
    failing.failed(500)
    assert state(engine).state == "half-open"


def test_one_that_is_down_for_an_hour_is_asked_a_few_times(engine: Engine, made: Made, time: SimulatedClock) -> None:
    asked = 0
    for _ in range(3600 // 10):
        for one in (made(spacing=Spacing(), roll=lambda: 0.5) for _ in range(3)):
            try:
                one.check()
            except RateLimited:
                continue
            asked += 1
            one.failed(0)
        time.advance(10)
    assert 8 <= asked <= 20
    time.advance(900)
    one = made()
    one.check()
    one.worked()
    assert state(engine).state == "closed"
