from __future__ import annotations

import random

import psycopg
import pytest

from medmirror.db import retry
from medmirror.db.retry import DOCUMENTED, FULL_JITTER, Backoff, Outage


@pytest.fixture(autouse=True)
def _same_numbers_each_time() -> None:
    random.seed(12345)


def test_full_jitter_takes_anything_from_nothing_to_the_step() -> None:
    waits = [Backoff(attempts=9, base=1.0, cap=100.0).wait(3) for _ in range(2000)]
    assert 0 <= min(waits) < 0.1
    assert 7.9 < max(waits) <= 8


def test_the_cap_does_not_eat_the_jitter() -> None:
    waits = {round(Backoff(attempts=99, base=1.0, cap=2.0).wait(50), 6) for _ in range(100)}
    assert len(waits) > 90
    assert max(waits) <= 2


def test_the_documented_policy_is_a_power_of_two_and_up_to_a_second() -> None:
    for attempt in range(5):
        waits = [DOCUMENTED.races.wait(attempt) for _ in range(500)]
        assert 2**attempt <= min(waits) <= max(waits) <= 2**attempt + 1


def test_those_who_lost_the_same_race_wake_apart() -> None:
    """Ten losers of the fifth try: with the documented policy all within one second, with full jitter over the step."""

    def spread(backoff: Backoff) -> float:
        waits = [backoff.wait(4) for _ in range(10)]
        return max(waits) - min(waits)

    assert spread(DOCUMENTED.races) <= 1
    assert spread(Backoff(attempts=5, base=1.0)) > 4


def test_the_default_gives_up_on_a_race_within_seconds() -> None:
    races = FULL_JITTER.races
    assert sum(min(races.cap, races.base * 2.0**attempt) for attempt in range(races.attempts - 1)) < 6


def test_the_waits_for_a_server_that_is_gone_have_a_floor() -> None:
    outage = FULL_JITTER.connections
    assert isinstance(outage, Outage)
    for attempt in range(100):
        step = min(outage.cap, 2.0**attempt)
        assert all(step / 2 <= outage.wait(attempt) <= step for _ in range(50))


class _Clock:
    """Seconds that pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


GONE = psycopg.OperationalError("connection failed: Connection refused")


def _tries(monkeypatch: pytest.MonkeyPatch, failure: psycopg.Error, *, patience: float, reached: bool = False) -> float:
    """How long a server is waited for that never comes back."""
    clock = _Clock()
    monkeypatch.setattr(retry.time, "monotonic", lambda: clock.now)
    waits = retry._Waits(FULL_JITTER, patience)
    while (wait := waits.next(failure, reached)) is not None:
        clock.sleep(wait)
    return clock.now - 1000


def test_a_server_is_waited_for_as_long_as_the_patience_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for patience in (120.0, 7.0):
        assert _tries(monkeypatch, GONE, patience=patience) == pytest.approx(patience)


def test_full_connections_are_waited_for_less_long(monkeypatch: pytest.MonkeyPatch) -> None:
    full = psycopg.OperationalError('connection failed: FATAL:  too many connections for role "lim"')
    assert _tries(monkeypatch, full, patience=120) == pytest.approx(20)


def test_who_is_not_let_in_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = psycopg.OperationalError('connection failed: FATAL:  password authentication failed for user "u"')
    assert _tries(monkeypatch, refused, patience=120) == 0


def test_a_statement_that_crashes_the_server_is_not_sent_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _tries(monkeypatch, GONE, patience=120, reached=True) < 40
