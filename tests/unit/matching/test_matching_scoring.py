"""What splink is given and what comes back: small registers, compared in DuckDB, without a database."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from medmirror.errors import MedmirrorError
from medmirror.matching import scoring
from medmirror.matching.deciding import GROUP, Decision, Standing, Thresholds, decide, doubtful
from medmirror.matching.fields import JOIN_AT, REVIEW_AT
from medmirror_testing.samples import people

pytest.importorskip("splink")
pyarrow = pytest.importorskip("pyarrow")

ONE = people.person(1)
NOTHING = Standing()


def patient(source_id: str, one: people.Person = ONE, *, source: str = "a", **changed: Any) -> dict[str, Any]:
    """A record of *one* as it is read from Postgres."""
    record: dict[str, Any] = {
        "source": source,
        "feed": "patient",
        "source_id": source_id,
        "changed": True,
        "gone": False,
        "names": [{"family": one.family, "given": [one.given]}],
        "birth_date": one.birth_date.isoformat(),
        "sex": one.sex.upper(),
        "phones": [{"e164": one.phone}],
        "emails": [{"address": one.email}],
        "addresses": [{"lines": [one.street], "city": one.city, "post_code": one.post_code}],
        "identifiers": None,
        "card_place": None,
        "merged_into": None,
        **changed,
    }
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in record.items()}


def found(
    records: Iterable[dict[str, Any]], entity: str = "patient", standing: Standing = NOTHING
) -> dict[tuple[str, str], Decision]:
    """The decisions on *records*, among strangers, by their ids."""
    strangers = [patient(f"x{number}", people.person(number, 5), source="z") for number in range(40)]
    flags = ("changed", "gone")
    schema = [(name, pyarrow.bool_() if name in flags else pyarrow.string()) for name in scoring.columns()]
    with scoring.open_scorer(entity) as scorer:
        scorer.take(pyarrow.Table.from_pylist([*records, *strangers], schema=pyarrow.schema(schema)))
        scorer.score(REVIEW_AT)
        keys = scorer.keys()
        doubted = doubtful(scorer, entity, Thresholds(), standing)
        made = list(decide(scorer, entity, Thresholds(), standing, doubted))
    return {(keys[one.left][2], keys[one.right][2]): one for one in made}


def level(decision: Decision, field: str) -> str:
    return str(decision.evidence["fields"][field]["level"])


def number(value: str, system: str = "national", kind: str = "NI") -> list[dict[str, str]]:
    return [{"system": system, "type": kind, "value": value}]


def test_strangers_are_not_even_proposed() -> None:
    assert found([patient("1")]) == {}


def test_the_same_facts_are_one_person() -> None:
    decisions = found([patient("1"), patient("2", source="b")])
    assert {pair: one.status for pair, one in decisions.items()} == {("1", "2"): "joined"}
    assert decisions["1", "2"].probability > JOIN_AT


@pytest.mark.parametrize(
    ("field", "changed", "expected"),
    [
        ("birth_date", {"birth_date": "1990-07-04"}, "day and month exchanged"),
        ("birth_date", {"birth_date": "1990-04-17"}, "one slip"),
        ("family", {"names": [{"family": ONE.given, "given": [ONE.family]}]}, "exchanged with the given name"),
        ("family", {"names": [{"family": ONE.family.upper(), "given": [ONE.given]}]}, "same"),
        ("family", {"names": [{"family": "Orthzqwin", "given": [ONE.given]}]}, "different"),
        (
            "family",
            {"names": [{"family": "Orthzqwin", "given": [ONE.given]}, {"family": ONE.family}]},
            "another of their names",
        ),
        ("address", {"addresses": [{"lines": ["9 Other Row"], "city": "Elsewhere", "post_code": "0001"}]}, "different"),
        ("phone", {"phones": [{"raw": "none"}, {"e164": ONE.phone}]}, "same"),
    ],
)
def test_what_makes_two_records_of_one_person_differ_is_seen_through(
    field: str, changed: dict[str, Any], expected: str
) -> None:
    day = {"birth_date": "1990-04-07"}
    decisions = found([patient("1", **day), patient("2", source="b", **{**day, **changed})])
    assert decisions["1", "2"].status == "joined"
    assert level(decisions["1", "2"], field) == expected


def test_a_name_in_one_piece_is_taken_apart() -> None:
    whole = [{"text": f"{ONE.family}, {ONE.given}"}]
    other = [{"text": f"{ONE.given} {ONE.family}"}]
    decisions = found([patient("1", names=whole), patient("2", names=other, source="b"), patient("3", source="c")])
    assert {one.status for one in decisions.values()} == {"joined"}
    assert len(decisions) == 3


def test_names_in_other_scripts_and_with_accents_are_compared() -> None:
    greek = [{"family": "Ζqαφείρης", "given": ["Ελένη"]}]
    accents, plain = [{"family": "Mülzqer", "given": ["Zoë"]}], [{"family": "Mulzqer", "given": ["Zoe"]}]
    two = people.person(2)
    records = [patient("1", names=greek), patient("2", names=greek, source="b")]
    records += [patient("3", two, names=accents), patient("4", two, names=plain, source="b")]
    decisions = found(records)
    assert set(decisions) == {("1", "2"), ("3", "4")}
    assert level(decisions["3", "4"], "family") == "same"


def test_twins_of_one_middle_name_are_not_of_one_name() -> None:
    both = [[{"family": ONE.family, "given": [given, "Sophie"]}] for given in ("Walpurga", "Ermentrud")]
    decisions = found([patient("1", names=both[0]), patient("2", names=both[1])])
    assert level(decisions["1", "2"], "given") == "different"
    called = [{"family": ONE.family, "given": ["Sophie"]}]
    decisions = found([patient("1", names=both[0]), patient("2", names=called, source="b")])
    assert level(decisions["1", "2"], "given") == "another of their names"
    assert decisions["1", "2"].status == "review"


def test_twins_wait_for_a_person() -> None:
    twin = [{"family": ONE.family, "given": ["Walpurga"]}]
    decisions = found([patient("1"), patient("2", names=twin, source="b")])
    assert decisions["1", "2"].status == "review"
    assert decisions["1", "2"].evidence["held"][0] == "given differs"


def test_father_and_son_of_one_name_are_not_joined() -> None:
    decisions = found([patient("1"), patient("2", birth_date="2001-02-03")])
    assert decisions["1", "2"].status == "review"
    assert "birth_date differs" in decisions["1", "2"].evidence["held"]


def test_a_telephone_of_many_tells_nothing() -> None:
    many = [patient(f"p{place}", people.person(place, 7), phones=[{"e164": "+61255500000"}]) for place in range(12)]
    two = [{"phones": [{"e164": "+61255500000"}]}] * 2
    decisions = found([*many, patient("1", **two[0]), patient("2", source="b", **two[1])])
    assert set(decisions) == {("1", "2")}
    assert level(decisions["1", "2"], "phone") == "missing"


def test_a_common_identifier_is_found_whatever_else_differs() -> None:
    two = people.person(2)
    records = [
        patient("1", identifiers=number("2951 4567")),
        patient("2", two, source="b", identifiers=number("29514567")),
    ]
    records[1] |= {"birth_date": None, "sex": None}
    decisions = found(records)
    assert (decisions["1", "2"].status, decisions["1", "2"].grade) == ("joined", "identifier")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [("MEDICARE", "2951123451", "missing"), ("MEDICARE", "29511234512", "same"), ("MB", "A1", "missing")],
)
def test_a_number_that_a_family_shares_is_no_identifier(kind: str, value: str, expected: str) -> None:
    both = {"identifiers": number(value, "card", kind)}
    decisions = found([patient("1", **both), patient("2", source="b", **both)])
    assert level(decisions["1", "2"], "identifier") == expected


def test_the_place_on_a_familys_card_makes_it_a_persons_number() -> None:
    card = {"identifiers": number("2951123451", "medicare", "MEDICARE")}
    records = [patient("1", **card, card_place="1"), patient("2", **card, card_place="1", source="b")]
    records.append(patient("3", people.person(2), **card, card_place="2"))
    decisions = found(records)
    assert {pair: one.grade for pair, one in decisions.items()} == {("1", "2"): "identifier"}


def test_record_numbers_of_a_practice_do_not_tell_people_apart_and_persons_numbers_do() -> None:
    practice = [patient(one, identifiers=number(f"8800{one}", "https://clinic.example", "MR")) for one in ("1", "2")]
    assert found(practice)["1", "2"].status == "joined"
    persons = [patient(one, identifiers=number(f"8800{one}")) for one in ("1", "2")]
    decisions = found(persons)
    assert decisions["1", "2"].status == "review"
    assert decisions["1", "2"].evidence["held"] == ["one source gives them different identifiers"]


def test_a_group_that_contradicts_itself_waits_as_a_whole() -> None:
    records = [patient("1", identifiers=number("5550001")), patient("2", identifiers=number("7770002"))]
    decisions = found([*records, patient("3", source="b")])
    assert {pair: one.status for pair, one in decisions.items()} == dict.fromkeys(decisions, "review")
    assert decisions["1", "3"].evidence["held"] == [GROUP]
    assert decisions["2", "3"].evidence["held"] == [GROUP]


def test_in_such_a_group_the_records_of_one_identifier_are_joined_all_the_same() -> None:
    mistyped = patient("2", identifiers=number("5550071"))
    right = [patient(one, source=one, identifiers=number("5550001")) for one in ("1", "3")]
    decisions = found([patient("0", source="2", identifiers=number("5550001")), *right, mistyped | {"source": "2"}])
    assert {pair: one.status for pair, one in decisions.items()} == {
        ("1", "0"): "joined",
        ("1", "3"): "joined",
        ("0", "3"): "joined",
        ("1", "2"): "review",
        ("0", "2"): "review",
        ("2", "3"): "review",
    }


def test_what_people_joined_counts_towards_a_contradiction() -> None:
    first = patient("1", identifiers=number("5550001"))
    other = patient("2", people.person(2), identifiers=number("7770002"))
    records = [first, other, patient("3", source="b")]
    assert found(records)["1", "3"].status == "joined"
    assert found(records, standing=Standing(confirmed=[(1, 2)]))["1", "3"].status == "review"


def test_what_people_parted_is_proposed_again_only_when_it_compares_otherwise() -> None:
    records = [patient("1"), patient("2", source="b")]
    before = found(records)["1", "2"].evidence
    levels = {name: one["level"] for name, one in before["fields"].items()}
    assert found(records, standing=Standing(apart={(1, 2): levels})) == {}
    moved = [records[0], patient("2", source="b", phones=[{"e164": "+61299900001"}])]
    again = found(moved, standing=Standing(apart={(1, 2): levels}))["1", "2"]
    assert again.status == "review", "never joined by itself"


def test_a_record_merged_in_its_source_is_the_other_one() -> None:
    merged = patient("1", people.person(2), gone=True, merged_into="patient\x1f2")
    decisions = found([merged, patient("2")])
    assert (decisions["1", "2"].status, decisions["1", "2"].grade) == ("joined", "identifier")
    assert decisions["1", "2"].evidence["deleted"] == ["left"]


def test_only_pairs_with_a_changed_record_are_compared() -> None:
    two = people.person(2)
    records = [patient("1", changed=False), patient("2", source="b", changed=False)]
    records += [patient("3", two, changed=False), patient("4", two, source="b")]
    assert set(found(records)) == {("3", "4")}


def test_practitioners_are_told_by_name_and_mail() -> None:
    other = {"birth_date": None, "addresses": None, "sex": None}
    decisions = found([patient("1", **other), patient("2", source="b", **other)], "practitioner")
    assert decisions["1", "2"].status == "joined"


def test_evidence_holds_no_value_of_a_record() -> None:
    decisions = found([patient("1", identifiers=number("5550001")), patient("2", source="b")])
    told = json.dumps([one.evidence for one in decisions.values()])
    for value in (people.MARK, ONE.family, ONE.given, ONE.phone, ONE.email, ONE.street, ONE.post_code, "5550001"):
        assert value.lower() not in told.lower()


def test_an_error_of_duckdb_does_not_quote_the_record() -> None:
    broken = {**patient("1"), "names": '[{"family": "Brokenzqname'}
    with pytest.raises(MedmirrorError) as caught:
        found([broken])
    assert people.MARK not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_duckdb_draws_no_progress_where_the_answer_is_printed() -> None:
    with scoring.open_scorer("patient") as scorer:
        assert scorer._rows("SELECT current_setting('enable_progress_bar')") == [(False,)]


def test_what_duckdb_writes_to_disk_is_only_this_users_and_gone_afterwards() -> None:
    with scoring.open_scorer("patient", memory=1 << 30) as scorer:
        ((folder, limit),) = scorer._rows("SELECT current_setting('temp_directory'), current_setting('memory_limit')")
        assert Path(folder).stat().st_mode & 0o077 == 0
        assert limit == "1.0 GiB"
    assert not Path(folder).exists()
