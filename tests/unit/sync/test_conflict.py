"""How conflicts are settled, and what is written of them: strategies, fields, a record in another system's words."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as some

from medmirror import mapping
from medmirror.errors import AuthenticationFailed, InvalidRecord, RemoteRefused, RemoteUnavailable, UsageError
from medmirror.sync.destination.conflict import (
    Agreed,
    FieldPolicy,
    Held,
    Policy,
    Strategy,
    changed_fields,
    decide,
    deep,
    flat,
    policy_of,
)
from medmirror.sync.destination.translate import compared_fields, document, overlay, project, restrict
from medmirror.sync.destination.write import idempotency_key, push_all

BASE = {"occupation": "Nurse", "notes": "calls first", "emails": [{"address": "a@x"}], "extra": {"room": "1"}}
OURS = {**BASE, "occupation": "Farmer", "notes": "calls late"}
THEIRS = {**BASE, "notes": "never calls", "extra": {"room": "2"}}


def settle(strategy: Strategy, here: int | None = 5, there: int | None = 4, **fields: FieldPolicy) -> Any:
    return decide(Policy(strategy, fields), Agreed(BASE, BASE), Held(OURS, here), Held(THEIRS, there))


def test_prioritize_source_takes_ours_whole() -> None:
    assert settle("prioritize_source")[:2] == ("local", OURS)


def test_prioritize_destination_leaves_theirs() -> None:
    assert settle("prioritize_destination")[:2] == ("remote", None)


def test_the_newest_wins_and_of_one_moment_the_source() -> None:
    assert settle("newest_wins", 5, 4).take == "local"
    assert settle("newest_wins", 4, 5).take == "remote"
    assert settle("newest_wins", 5, 5).take == "local"
    assert settle("newest_wins", None, 5).take == "wait"


def test_review_waits_for_a_person() -> None:
    assert settle("review")[:2] == ("wait", None)


def test_by_field_each_side_keeps_what_it_alone_has_changed() -> None:
    found = settle("per_field", notes="destination")
    assert found.take == "merged"
    assert found.record == {**OURS, "notes": "never calls", "extra": {"room": "2"}}
    assert "notes" in found.why
    assert "calls" not in found.why


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("source", "calls late"),
        ("destination", "never calls"),
        ("newest", "calls late"),
        ("both", "never calls\ncalls late"),
    ],
)
def test_by_field_a_field_that_both_have_changed_has_its_own_policy(policy: FieldPolicy, expected: str) -> None:
    assert settle("per_field", notes=policy).record["notes"] == expected
    assert settle("per_field", **{"*": policy}).record["notes"] == expected


def test_by_field_lists_are_joined_without_doubles() -> None:
    one, two, three = ({"address": name} for name in "abc")
    found = decide(
        Policy("per_field", {"emails": "both"}),
        Agreed({"emails": [one]}, {"emails": [one]}),
        Held({"emails": [one, two]}),
        Held({"emails": [one, three]}),
    )
    assert found.record == {"emails": [one, three, two]}


def test_by_field_one_field_for_a_person_makes_the_record_wait() -> None:
    found = settle("per_field", notes="review")
    assert (found.take, found.record, found.why) == ("wait", None, "a person settles: notes")


def test_by_field_what_was_taken_away_here_is_taken_away_there() -> None:
    ours = {name: value for name, value in BASE.items() if name != "occupation"}
    found = decide(Policy("per_field"), Agreed(BASE, BASE), Held(ours), Held(THEIRS))
    assert found.record == {name: value for name, value in THEIRS.items() if name != "occupation"}


def test_by_field_where_it_was_agreed_to_differ_neither_side_has_changed() -> None:
    """The last conflict left their notes there. A change of ours to another field does not bring ours back."""
    agreed = Agreed(BASE, {**BASE, "notes": "theirs, settled"})
    ours, theirs = {**BASE, "occupation": "Farmer"}, {**BASE, "notes": "theirs, settled", "extra": {"room": "9"}}
    found = decide(Policy("per_field", {"*": "source"}), agreed, Held(ours), Held(theirs))
    assert found.record == {**theirs, "occupation": "Farmer"}


def test_by_field_strangers_who_meet_fill_each_other_in() -> None:
    found = decide(Policy("per_field", {"*": "destination"}), None, Held({"a": 1, "b": 2}), Held({"b": 3, "c": 4}))
    assert found.record == {"a": 1, "b": 3, "c": 4}


values = some.one_of(
    some.none(), some.integers(0, 3), some.text(max_size=2), some.lists(some.integers(0, 2), max_size=2)
)
records = some.dictionaries(
    some.sampled_from(["a", "b", "c", "extra.x"]), values.filter(lambda one: one is not None)
).map(deep)
policies = some.dictionaries(some.sampled_from(["a", "b", "*"]), some.sampled_from(get_args(FieldPolicy)))


@given(some.sampled_from(get_args(Strategy)), policies, some.none() | records, records, records)
def test_no_strategy_makes_up_or_drops_a_value(
    strategy: Strategy,
    fields: dict[str, FieldPolicy],
    base: dict[str, Any] | None,
    ours: dict[str, Any],
    theirs: dict[str, Any],
) -> None:
    agreed = None if base is None else Agreed(base, base)
    found = decide(Policy(strategy, fields), agreed, Held(ours, 1), Held(theirs, 2))
    assert (found.record is None) == (found.take in ("remote", "wait"))
    if found.record is None:
        return
    made, here, there = flat(found.record), flat(ours), flat(theirs)
    for name in made.keys() | here.keys() | there.keys():
        if fields.get(name, fields.get("*")) != "both" or strategy != "per_field":
            assert made.get(name) in (here.get(name), there.get(name))
        if here.get(name) == there.get(name):
            assert made.get(name) == here.get(name)


@given(records, records)
def test_the_fields_that_differ_are_all_that_differs(one: dict[str, Any], other: dict[str, Any]) -> None:
    names = changed_fields(one, other)
    assert overlay(one, other, names) == other
    assert restrict(one, set(flat(one)) - names) == restrict(other, set(flat(other)) - names)


@pytest.mark.parametrize("wrong", [{"strategy": "ai_merge"}, {"fields": {"notes": "mine"}}, {"fields": ["notes"]}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"is one of|each have one of"):
        policy_of(wrong)


def test_the_default_prioritizes_the_source() -> None:
    assert policy_of({}) == Policy("prioritize_source", {})


# --- in another system's words

PATIENT = mapping.mappers().of("cliniko", "patient")
FHIR = mapping.mappers().of("fhir", "Patient")
VISIT = mapping.mappers().of("cliniko", "appointment")
FHIR_VISIT = mapping.mappers().of("fhir", "Appointment")


def canonical(**fields: Any) -> dict[str, Any]:
    assert PATIENT is not None
    found = PATIENT.to_canonical({"first_name": "Ann", "last_name": "Muzqol", **fields}).record
    assert found is not None
    return found


def test_a_record_says_in_the_destinations_words_what_it_can_hold_and_names_the_rest() -> None:
    assert FHIR is not None
    found = project(canonical(occupation="Nurse", sex="Female"), "patient", FHIR, lambda feed, id: None)
    assert found.record["names"][0]["family"] == "Muzqol"
    assert found.record["sex"]["code"] == "FEMALE"
    assert "occupation" in found.lost
    assert "occupation" not in found.record


@pytest.mark.parametrize("word", ["Female", "Male", "Intersex", "Not specified", "something else"])
def test_no_word_of_ours_is_written_into_another_systems_field(word: str) -> None:
    assert FHIR is not None
    found = project(canonical(sex=word), "patient", FHIR, lambda feed, id: None)
    written = FHIR.from_canonical(found.record).document
    assert written.get("gender", "unknown") in ("female", "male", "other", "unknown")
    assert ("sex" in found.lost) == (word in ("Intersex", "something else"))


def test_references_become_those_of_the_copies_and_a_needed_one_is_waited_for() -> None:
    assert VISIT is not None
    assert FHIR_VISIT is not None
    links = {"patient": {"links": {"self": "patients/82"}}, "practitioner": {"links": {"self": "practitioners/7"}}}
    times = {"starts_at": "2026-03-01T10:00:00Z", "ends_at": "2026-03-01T10:30:00Z"}
    record = VISIT.to_canonical({**times, **links}).record or {}
    copies = {("patient", "82"): ("Patient", "p1")}
    found = project(record, "appointment", FHIR_VISIT, lambda feed, id: copies.get((feed, id)))
    assert found.record["patient"] == {"feed": "Patient", "id": "p1"}
    assert found.open == ()
    assert "practitioner" in found.lost
    assert project(record, "appointment", FHIR_VISIT, lambda feed, id: None).open == ("patient",)


def test_what_nobody_maps_there_is_kept_in_a_document_that_is_written_whole() -> None:
    assert FHIR is not None
    standing = {"resourceType": "Patient", "text": {"div": "page"}, "gender": "male", "birthDate": "1980-01-01"}
    before = FHIR.to_canonical(standing).record or {}
    after = overlay(before, {"sex": {"code": "FEMALE", "raw": "female"}}, {"sex", "gender", "birth_date"})
    made = document(after, FHIR, standing, before, whole=True)
    assert made["text"] == {"div": "page"}
    assert made["gender"] == "female"
    assert "birthDate" not in made


def test_of_a_document_that_is_patched_only_changes_are_sent() -> None:
    assert PATIENT is not None
    standing = {"id": "1", "first_name": "Ann", "last_name": "Muzqol", "occupation": "Nurse", "notes": "x"}
    before = PATIENT.to_canonical(standing).record or {}
    after = overlay(before, {"occupation": "Farmer"}, {"occupation", "notes"})
    assert document(after, PATIENT, standing, before, whole=False) == {"occupation": "Farmer", "notes": None}


def test_an_enum_that_says_nothing_is_nobodys_to_look_at() -> None:
    assert compared_fields({"sex": {"code": "UNKNOWN", "raw": None}, "notes": "x", "extra": {"a": 1}}) == {
        "notes",
        "extra.a",
    }


def test_the_same_write_has_the_same_key_and_another_content_another() -> None:
    record = ("org_1", "cliniko", "fhir", "patient", "82")
    key = idempotency_key(record, 1, "push", {"a": 1, "b": 2})
    assert key == idempotency_key(record, 1, "push", {"b": 2, "a": 1})
    others = {
        idempotency_key(record, 2, "push", {"a": 1, "b": 2}),
        idempotency_key(record, 1, "drop", {"a": 1, "b": 2}),
        idempotency_key(record, 1, "push", {"a": 1}),
        idempotency_key((*record[:-1], "83"), 1, "push", {"a": 1, "b": 2}),
    }
    assert len(others) == 4
    assert key not in others


@given(some.integers(0, 40), some.sets(some.integers(0, 39), max_size=5))
def test_bad_records_are_found_among_good_ones(count: int, bad: set[int]) -> None:
    written: list[int] = []
    poisoned: list[int] = []

    def push(batch: Any) -> list[str]:
        if wrong := [one for one in batch if one in bad]:
            raise RemoteRefused(status=422) if wrong[0] % 2 else InvalidRecord
        written.extend(batch)
        return [f"id {one}" for one in batch]

    taken = push_all(push, range(count), lambda one, error: poisoned.append(one))
    good = [one for one in range(count) if one not in bad]
    assert taken == [(one, f"id {one}") for one in good]
    assert written == good
    assert poisoned == sorted(bad & set(range(count)))


@pytest.mark.parametrize("error", [AuthenticationFailed(status=401), RemoteUnavailable(status=503)])
def test_what_is_no_fault_of_a_record_is_no_poison(error: Exception) -> None:
    def push(batch: Any) -> list[str]:
        raise error

    with pytest.raises(type(error)):
        push_all(push, [1, 2, 3], lambda one, problem: None)
