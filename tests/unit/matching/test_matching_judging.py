"""What is joined by itself, what waits for a person, what is nothing."""

from __future__ import annotations

import pytest

from medmirror.matching.fields import FIELDS, JOIN_AT, REVIEW_AT, prior
from medmirror.matching.judging import Compared, Verdict, evidence, judge, levels

SURE = 0.999999


def compared(entity: str = "patient", *, probability: float = SURE, same_source: bool = False, **said: str) -> Compared:
    """Two records that compare as *said*; fields that are not named are missing."""
    numbers, weights = [], []
    for field in FIELDS[entity]:
        name = said.pop(field.name, "missing")
        places = [place for place, level in enumerate(field.levels) if level.name == name]
        numbers.append(len(field.levels) - 1 - places[0] if places else -1)
        weights.append(field.levels[places[0]].weight if places else 0.0)
    assert not said, "no such field"
    return Compared(probability, 12.0, tuple(numbers), tuple(weights), same_source)


def verdict(entity: str = "patient", **said: object) -> Verdict:
    return judge(entity, compared(entity, **said), JOIN_AT, REVIEW_AT)  # type: ignore[arg-type]


ALIKE = {"family": "same", "given": "same", "birth_date": "same", "sex": "same", "address": "same"}


def test_what_agrees_in_everything_is_joined() -> None:
    assert verdict(**ALIKE) == Verdict("joined", "model")


def test_less_than_the_upper_threshold_waits_and_less_than_the_lower_is_nothing() -> None:
    assert verdict(**ALIKE, probability=0.9) == Verdict("review", "model", ("not sure enough",))
    assert verdict(**ALIKE, probability=0.5).status == ""


@pytest.mark.parametrize(
    ("field", "level", "why"),
    [
        ("given", "different", "given differs"),
        ("given", "alike", "given is only alike"),
        ("given", "initial", "given is only alike"),
        ("given", "another of their names", "given is only alike"),
        ("given", "missing", "given is missing"),
        ("birth_date", "different", "birth_date differs"),
        ("birth_date", "two parts of three", "birth_date is only alike"),
        ("birth_date", "missing", "birth_date is missing"),
        ("sex", "different", "sex differs"),
    ],
)
def test_what_a_household_does_not_share_holds_a_pair_back(field: str, level: str, why: str) -> None:
    found = verdict(**{**ALIKE, field: level})
    assert found.status == "review"
    assert found.held == (why,)


@pytest.mark.parametrize(
    ("field", "level"),
    [
        ("given", "one slip"),
        ("given", "exchanged with the family name"),
        ("family", "different"),
        ("birth_date", "one slip"),
        ("birth_date", "day and month exchanged"),
        ("address", "different"),
        ("phone", "different"),
    ],
)
def test_slips_marriages_and_moves_hold_nothing_back(field: str, level: str) -> None:
    assert verdict(**{**ALIKE, field: level}).status == "joined"


def test_a_slip_in_the_given_name_and_another_middle_name_are_two_slips_too_many() -> None:
    assert verdict(**{**ALIKE, "given": "one slip", "middle": "different"}).held == ("middle differs",)
    assert verdict(**{**ALIKE, "given": "one slip"}).status == "joined"


def test_two_of_one_household_are_not_even_proposed() -> None:
    assert verdict(**{**ALIKE, "given": "different", "birth_date": "different"}).status == ""


@pytest.mark.parametrize(
    "known",
    [
        {"given": "same", "birth_date": "same"},
        {"family": "different", "given": "same", "birth_date": "same"},  # a marriage
        {"given": "different", "family": "same", "birth_date": "same"},  # another name that they go by
        {"given": "same", "family": "same"},
        {"family": "same", "birth_date": "one slip"},
        {"family": "different", "given": "different", "birth_date": "same", "phone": "same"},
    ],
)
def test_a_persons_own_number_joins_when_names_or_birth_date_speak_for_it(known: dict[str, str]) -> None:
    assert verdict(identifier="same", probability=0.1, **known) == Verdict("joined", "identifier")


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"family": "different", "given": "different"}, ("given differs", "family differs")),
        ({"family": "different", "given": "different", "birth_date": "same"}, ("given differs", "family differs")),
        ({"family": "different", "given": "same"}, ("family differs",)),
        ({"family": "same", "given": "different"}, ("given differs",)),
        ({"family": "same"}, ("neither given nor birth_date can be compared",)),
        ({}, ("neither given nor birth_date can be compared",)),
        ({"given": "no name", "family": "same", "birth_date": "same"}, ("given is no name yet",)),
        ({"given": "same", "birth_date": "same", "generation": "different"}, ("generation differs",)),
        ({"birth_date": "different", "given": "different"}, ("birth_date differs", "given differs")),
    ],
)
def test_a_common_identifier_joins_nobody_whose_names_and_birth_dates_contradict_it(
    known: dict[str, str], why: tuple[str, ...]
) -> None:
    assert verdict(identifier="same", **known) == Verdict("review", "identifier", why)


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"given": "different", "family": "same", "birth_date": "same", "address": "same"}, "given differs"),
        ({"given": "one letter apart", "family": "same", "birth_date": "same"}, "given may be another name"),
        ({"birth_date": "different, a generation apart", "given": "same", "family": "same", "address": "same"},
         "birth_date differs"),
        ({"given": "initial", "birth_date": "same", "family": "same"}, "given is only alike"),
        ({"birth_date": "same", "family": "same"}, "given is missing"),
        ({"given": "same", "family": "different"}, "birth_date is missing, and family does not agree"),
    ],
)  # fmt: skip
def test_a_number_that_a_family_may_have_needs_given_name_and_birth_date(known: dict[str, str], why: str) -> None:
    assert verdict(identifier="same, perhaps of several", **known) == Verdict("review", "identifier", (why,))
    agreed = {"given": "same", "birth_date": "same", "family": "different"}
    assert verdict(identifier="same, perhaps of several", **agreed) == Verdict("joined", "identifier")


@pytest.mark.parametrize(("field", "why"), [("birth_date", "birth_date differs"), ("sex", "sex differs")])
def test_a_common_identifier_that_is_contradicted_waits(field: str, why: str) -> None:
    found = verdict(**{"identifier": "same", "given": "same", "birth_date": "same", field: "different"})
    assert found == Verdict("review", "identifier", (why,))


def test_a_birth_date_alone_does_not_outweigh_identifier_names_and_address() -> None:
    assert verdict(**{**ALIKE, "birth_date": "different", "identifier": "same"}) == Verdict("joined", "model")
    assert (
        verdict(**{**ALIKE, "birth_date": "different", "identifier": "same", "address": "missing"}).status == "review"
    )


@pytest.mark.parametrize("level", ["one slip", "different"])
def test_one_source_with_two_identifiers_never_joins_by_itself(level: str) -> None:
    assert verdict(**ALIKE, identifier=level, same_source=True).held == ("one source gives them different identifiers",)
    assert verdict(**ALIKE, identifier=level, same_source=False).status == "joined"


def test_a_merge_in_the_source_joins() -> None:
    found = verdict(merge="their source made one of them", family="different", probability=0.2)
    assert found == Verdict("joined", "merge")


def test_practitioners_need_no_birth_date_when_they_can_be_reached_alike() -> None:
    named = {"family": "same", "given": "same"}
    assert verdict("practitioner", **named).held == ("birth_date is missing",)
    assert verdict("practitioner", **named, email="same").status == "joined"


def test_evidence_names_levels_and_bits() -> None:
    pair = compared(**{**ALIKE, "phone": "different"})
    told = evidence("patient", pair, ("given differs",), ("left",))
    assert told["fields"]["phone"] == {"says": "differ", "level": "different", "weight": -1.51}
    assert told["fields"]["email"]["says"] == "missing"
    assert told["held"] == ["given differs"]
    assert told["deleted"] == ["left"]
    assert levels(told)["birth_date"] == "same"


@pytest.mark.parametrize("entity", FIELDS)
def test_each_fields_figures_are_shares_of_one(entity: str) -> None:
    for field in FIELDS[entity]:
        assert 0.95 < sum(level.m for level in field.levels) < 1.05, field.name
        if field.name != "merge":
            assert 0.95 < sum(level.u for level in field.levels) < 1.05, field.name


def test_what_a_household_shares_does_not_outweigh_another_given_name_and_birthday() -> None:
    best = {field.name: field.levels[0].weight for field in FIELDS["patient"]}
    worst = {field.name: field.levels[-1].weight for field in FIELDS["patient"]}
    shared = sum(best[name] for name in ("family", "address", "phone", "email", "sex"))
    assert shared + worst["given"] + worst["birth_date"] < 21  # bits: the prior of 200,000 records takes 20


def test_the_more_records_the_less_likely_are_two_of_them_one_person() -> None:
    assert prior(10) == prior(20) == 0.01
    assert prior(10_000) == pytest.approx(2e-5)
