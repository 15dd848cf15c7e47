from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from medmirror import errors
from medmirror.errors import MedmirrorError


def _tree(kind: type[MedmirrorError]) -> Iterator[type[MedmirrorError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


ALL = sorted(set(_tree(MedmirrorError)), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", ALL)
def test_survives_the_way_back_from_a_worker(kind: type[MedmirrorError]) -> None:
    error = kind("words", file="a.xml.gz", item=3)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is kind
    assert (again.message, again.context, str(again)) == (error.message, error.context, str(error))


@pytest.mark.parametrize("kind", ALL)
def test_the_docstring_is_the_default_message(kind: type[MedmirrorError]) -> None:
    assert kind.__doc__
    assert str(kind()) == " ".join(kind.__doc__.split())


def test_context_is_shown() -> None:
    assert str(errors.LockRaceLost("Lost.", sqlstate="40P01", attempts=8)) == "Lost. (sqlstate=40P01, attempts=8)"


def test_what_is_worth_another_try() -> None:
    assert {kind.__name__ for kind in ALL if kind.transient} == {
        *("LockRaceLost", "StoreUnavailable"),
        *("RemoteUnavailable", "RateLimited", "StillPreparing", "PageExpired", "ListingIncomplete"),
    }


def test_exit_codes() -> None:
    own = {errors.UsageError: 2, errors.NightlyRunning: 4, errors.SyncRunning: 4}
    assert {kind: kind.exit_code for kind in ALL} == {kind: own.get(kind, 1) for kind in ALL}
