from __future__ import annotations

import pytest

from medmirror.db import locks


def test_no_two_locks_have_one_number() -> None:
    assert len(set(locks.REGISTER.values())) == len(locks.REGISTER)


def test_the_register_holds_every_number_of_the_module() -> None:
    constants = {value for name, value in vars(locks).items() if name.isupper() and isinstance(value, int)}
    assert constants == set(locks.REGISTER.values())


def test_a_retired_number_is_not_given_out_again() -> None:
    assert not locks.RETIRED & set(locks.REGISTER.values())


def test_every_number_up_to_the_last_is_given_or_retired() -> None:
    numbers = locks.RETIRED | set(locks.REGISTER.values())
    assert numbers == set(range(12345, max(numbers) + 1))


def test_the_three_numbers_that_foreign_programs_know() -> None:
    assert (locks.CLINICALTRIALS, locks.SEARCH, locks.DEDUPLICATION) == (12345, 12346, 12347)


def test_the_sources_that_people_know_have_numbers_of_their_own() -> None:
    numbers = [locks.for_source(name) for name in ("pubmed", "clinicaltrials", "openfda")]
    assert len({*numbers, locks.OTHER_SOURCES}) == 4


@pytest.mark.parametrize("name", ["unheard", "search", "migration"])
def test_any_other_source_shares_one_number_and_never_takes_one_with_another_meaning(name: str) -> None:
    assert locks.for_source(name) == locks.OTHER_SOURCES
