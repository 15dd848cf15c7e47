from __future__ import annotations

import pytest

from medmirror.db import locks, sql
from medmirror.errors import UsageError


def test_no_two_locks_have_one_number() -> None:
    assert len(set(locks.REGISTER.values())) == len(locks.REGISTER)


def test_the_register_holds_every_number_of_the_module() -> None:
    constants = {value for name, value in vars(locks).items() if name.isupper() and isinstance(value, int)}
    assert constants == set(locks.REGISTER.values())


def test_a_retired_number_is_not_given_out_again() -> None:
    assert not locks.RETIRED & set(locks.REGISTER.values())


def test_the_three_numbers_that_foreign_programs_know() -> None:
    assert (locks.CLINICALTRIALS, locks.SEARCH, locks.DEDUPLICATION) == (12345, 12346, 12347)


def test_every_source_has_a_lock_of_its_own() -> None:
    numbers = [locks.for_source(name) for name in ("pubmed", "clinicaltrials", "openfda", *sql.source_names())]
    assert len(set(numbers)) == 3


@pytest.mark.parametrize("name", ["unheard", "search", "migration"])
def test_what_is_no_source_is_told_to_take_the_next_free_number(name: str) -> None:
    with pytest.raises(UsageError, match=r"next free number, \d+, in db/locks\.py") as caught:
        locks.for_source(name)
    free = int("".join(filter(str.isdigit, caught.value.message)))
    assert free not in {*locks.REGISTER.values(), *locks.RETIRED}
