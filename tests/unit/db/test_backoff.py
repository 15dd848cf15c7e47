from __future__ import annotations

import random

import pytest

from medmirror.db.retry import DOCUMENTED, FULL_JITTER, Backoff


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


def test_the_default_gives_up_on_a_race_within_seconds_and_waits_longer_for_a_server() -> None:
    def longest(backoff: Backoff) -> float:
        return sum(min(backoff.cap, backoff.base * 2.0**attempt) for attempt in range(backoff.attempts - 1))

    assert longest(FULL_JITTER.races) < 6
    assert 10 < longest(FULL_JITTER.connections) < 60
