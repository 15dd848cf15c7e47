"""What splink is given and what comes back: small registers, compared in DuckDB, without a database."""

from __future__ import annotations

import json
import subprocess
import sys
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


def test_a_common_identifier_is_found_although_little_else_is_known() -> None:
    married = [{"family": "Orthzqwin", "given": [ONE.given]}]
    records = [
        patient("1", identifiers=number("2951 4567")),
        patient("2", source="b", names=married, identifiers=number("29514567"), sex=None, phones=None, emails=None),
    ]
    decisions = found(records)
    assert (decisions["1", "2"].status, decisions["1", "2"].grade) == ("joined", "identifier")


def test_a_common_identifier_joins_no_strangers() -> None:
    stranger = patient("2", people.person(2), source="b", identifiers=number("29514567"), birth_date=None, sex=None)
    decisions = found([patient("1", identifiers=number("29514567")), stranger])
    assert all(decision.status == "review" for decision in decisions.values())


def compared(*cases: tuple[dict[str, Any], dict[str, Any]]) -> list[Decision | None]:
    """The decision on each pair of records, in one register: another made-up person's twice, but for its changes."""
    records = [
        patient(f"{number}{side}", people.person(number, 3), source=side, **changed)
        for number, case in enumerate(cases, 100)
        for side, changed in zip("lr", case, strict=True)
    ]
    decisions = found(records)
    return [decisions.get((f"{number}l", f"{number}r")) for number in range(100, 100 + len(cases))]


def levels_of(decisions: Iterable[Decision | None], field: str) -> set[str]:
    return {level(decision, field) if decision else "not proposed" for decision in decisions}


NO_NUMBERS = """N/A|n.a.|0000000000|000-00-0000|UNKNOWN|pending|-|?|keine|9999999999|1111-1111|123456789|0123456789
|987654321|12121212|123123123|XXX-XX-1234
|***-**-1234|-1|TEST001|TBA1|NHS0000000|unknown2|078-05-1120|NOT KNOWN 1
|12345"""


def test_what_stands_for_a_number_is_none() -> None:
    values = NO_NUMBERS.replace("\n", "").split("|")
    both = [{"identifiers": number(value, "card", kind)} for value in values for kind in ("", "NI")]
    assert levels_of(compared(*((one, one) for one in both)), "identifier") == {"missing"}
    real = [{"identifiers": number(value)} for value in ("943 476 5919", "A4711", "100200", "2950001111")]
    assert levels_of(compared(*((one, one) for one in real)), "identifier") <= {"same", "same, perhaps of several"}


def test_a_number_of_people_of_many_names_and_birth_dates_is_no_persons() -> None:
    records = [patient(str(place), people.person(place), identifiers=number("8812345")) for place in range(1, 5)]
    assert all(decision.grade != "identifier" for decision in found(records).values())


def test_a_number_without_a_system_is_its_sources_own() -> None:
    both = [[{"type": "MR", "value": "4711"}], [{"type": "NI", "value": "29514567"}]]
    for identifiers, expected in zip(both, ("missing", "same"), strict=True):
        records = [patient("1", identifiers=identifiers), patient("2", source="b", identifiers=identifiers)]
        assert level(found(records)["1", "2"], "identifier") == expected


def children(*names: str, **changed: Any) -> list[dict[str, Any]]:
    """Children of these given names, born on one day, with the address, telephone and mail of their parents."""
    return [
        patient(str(place), birth_date="2026-04-01", names=[{"family": ONE.family, "given": [name]}], **changed)
        for place, name in enumerate(names, 1)
    ]


TWINS = """Baby|Baby|Baby Girl|Baby Girl|Twin A|Twin B|B/O Ada|B/O Ada|Newborn|Newborn|NN|NN|Infant of Ada|Infant of Ada
|1Adasgirl|2Adasgirl|Adas Girl|Adas Girl|Boy 1|Boy 2|BabyA|BabyB|Male|Male|Unknown|Unknown|-|-|J|J|Baby|Walpurga|Twin1
|Twin1|RN de Ada|RN de Ada|Lena|Lina|Kira|Mira|Maria|Marie|Nila|Mila|Walpurga|Ermentrud"""


@pytest.mark.parametrize("shared", [False, True])
def test_newborns_without_names_and_twins_wait(shared: bool) -> None:
    """Also when both have a number of their mother's."""
    cases = []
    given = iter(TWINS.replace("\n", "").split("|"))
    for place, both in enumerate(zip(given, given, strict=True)):
        born = {"birth_date": f"2026-04-{place + 1:02}"}
        number_of_both = {"identifiers": number(f"29514{place:03}")} if shared else {}
        family = people.person(100 + place, 3).family
        names = [{"names": [{"family": family, "given": [name]}], **born, **number_of_both} for name in both]
        cases.append((names[0], names[1]))
    decisions = compared(*cases)
    assert [decision.status if decision else "" for decision in decisions] == ["review"] * len(cases)


def test_twins_of_one_first_name_wait() -> None:
    twins = children("x", "y")
    for twin, second in zip(twins, ("Hasan", "Yusuf"), strict=True):
        twin["names"] = json.dumps([{"family": ONE.family, "given": ["Ali", second]}])
    assert found(twins)["1", "2"].evidence["held"] == ["middle differs"]


def test_twins_with_their_mothers_number_wait() -> None:
    mother = patient("0", identifiers=number("29514567"))
    decisions = found([mother, *children("Walpurga", "Ermentrud", identifiers=number("29514567"))])
    assert "joined" not in {decision.status for decision in decisions.values()}


def test_father_and_son_of_one_name_wait_whatever_else_agrees() -> None:
    whole = {"family": None, "given": None}
    written: list[Any] = [
        [{"suffix": "Sr"}, {"suffix": "Jr"}],
        [{"family": "{} Sr."}, {"family": "{}, Jnr"}],
        [{"given": ["{} II"]}, {"given": ["{}", "III"]}],
        [{**whole, "text": "Otto {} Jr"}, {**whole, "text": "Otto {}"}],
        [{"suffix": "Senior, MD"}, {"family": "{} Junior"}],
        [{"suffix": "Jr"}, {"suffix": "Jnr."}],
    ]
    cases = []
    for place, names in enumerate(written):
        one = people.person(100 + place, 3)
        filled = [json.loads(json.dumps({"family": one.family, "given": [one.given]} | name)) for name in names]
        for name in filled:
            name |= {key: name[key].format(one.family) for key in ("family", "text") if name.get(key)}
            name["given"] = name["given"] and [text.format(one.given) for text in name["given"]]
        cases.append(({"names": [filled[0]]}, {"names": [filled[1]], "birth_date": one.birth_date.isoformat()}))
    decisions = compared(*cases)
    assert levels_of(decisions, "family") == {"same"}
    assert [level(decision, "generation") for decision in decisions if decision] == [
        "different", "different", "different", "of one only", "different", "same",
    ]  # fmt: skip
    assert [decision.status for decision in decisions if decision] == [
        "review", "review", "review", "joined", "review", "joined",
    ]  # fmt: skip


def test_a_day_that_stands_for_none_is_no_birthday() -> None:
    days = ["1900-01-01", "0001-01-01", "1899-12-30", "1970-01-01", "1950-01-01", "9999-12-31"]
    for decision in compared(*(({"birth_date": day}, {"birth_date": day}) for day in days)):
        assert decision is not None
        assert decision.evidence["held"] in (["birth_date is missing"], ["birth_date is only alike"])


def test_a_day_on_which_improbably_many_were_born_is_no_birthday() -> None:
    many = [patient(f"p{place}", people.person(place, 7), birth_date="1985-06-15") for place in range(12)]
    records = [patient("1", birth_date="1985-06-15"), patient("2", birth_date="1985-06-15"), *many]
    assert found(records)["1", "2"].evidence["held"] == ["birth_date is missing"]


def test_father_and_son_born_on_one_day_of_the_year_wait() -> None:
    born = {"birth_date": "1980-03-02"}
    decisions = compared((born, {"birth_date": "1950-03-02"}), (born, {"birth_date": "1985-03-02"}))
    assert [decision.status for decision in decisions if decision] == ["review", "joined"]


def test_what_stands_for_a_telephone_mail_or_street_is_none() -> None:
    phones = [[{"raw": "0400 000 000", "e164": "+61400000000"}], [{"raw": "1234567890"}], [{"raw": "9999 9999"}]]
    mails = [[{"address": text}] for text in ("noemail@x.example", "none", "not.provided@x.example", "n/a@x.example")]
    streets = [[{"lines": [text], "city": "Kew"}] for text in ("No fixed address", "UNKNOWN", "N/A")]
    for field, name, values in (
        ("phones", "phone", phones),
        ("emails", "email", mails),
        ("addresses", "address", streets),
    ):
        assert levels_of(compared(*(({field: value}, {field: value}) for value in values)), name) == {"missing"}


def test_a_record_between_twins_does_not_tie_them() -> None:
    decisions = found(children("Lena", "Leina", "Lina"))
    assert {decision.status for decision in decisions.values()} == {"review"}
    assert found(children("Lena", "Leina"))["1", "2"].status == "joined", "a slip"


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


def merged(source_id: str, into: str | None, number: int, **changed: Any) -> dict[str, Any]:
    """A record of another made-up person each, which its source says was merged *into* another record."""
    return patient(source_id, people.person(number), merged_into=into and f"patient\x1f{into}", **changed)


def test_chains_rings_and_stars_of_merges_are_followed() -> None:
    chain = [merged("c1", "c2", 1), merged("c2", "c3", 2), merged("c3", None, 3)]
    ring = [merged("r1", "r2", 4), merged("r2", "r1", 5), merged("s1", "s1", 6)]
    absent = [merged("a1", "a0", 7), merged("a2", "a0", 8)]
    assert set(found([*chain, *ring, *absent])) == {("c1", "c2"), ("c2", "c3"), ("r1", "r2"), ("a1", "a2")}
    star = [merged(f"m{place:03}", "m000", place) for place in range(1, 450)]
    joins = found([merged("m000", None, 0), *star])
    assert {pair for pair in joins if "m000" in pair} == {("m000", f"m{place:03}") for place in range(1, 450)}
    assert {decision.status for decision in joins.values()} == {"joined"}


def test_a_survivor_alone_may_say_what_it_replaces() -> None:
    survivor = patient("1", replaces=[{"feed": "patient", "id": "2"}, {"feed": "patient", "id": "3"}])
    decisions = found([survivor, patient("2", people.person(2)), patient("3", people.person(3))])
    assert {pair: decision.status for pair, decision in decisions.items()} == {
        ("1", "2"): "joined",
        ("1", "3"): "joined",
    }


def test_merged_records_stay_one_when_a_stranger_would_come_to_them() -> None:
    chain = [merged("1", "2", 1), merged("2", None, 2)]
    decisions = found([*chain, patient("3", source="b"), patient("4", people.person(2), source="b")])
    assert decisions["1", "2"].status == "joined"
    assert {decisions["1", "3"].status, decisions["2", "4"].status} == {"review"}


def test_what_people_parted_a_merge_does_not_join() -> None:
    standing = Standing(apart={(1, 3): {}})
    chain = [merged("1", "2", 1), merged("2", "3", 2), merged("3", None, 3)]
    assert {decision.status for decision in found(chain, standing=standing).values()} == {"review"}


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


def test_what_a_killed_process_left_on_the_disk_is_gone_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import os\nfrom medmirror.matching import scoring\n"
        "with scoring.open_scorer('patient') as scorer:\n"
        "    ((folder,),) = scorer._rows(\"SELECT current_setting('temp_directory')\")\n"
        "    open(os.path.join(folder, 'values'), 'w').close()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert len(list(tmp_path.glob("medmirror-matching-*"))) == 1
    with scoring.open_scorer("patient"):
        assert len(list(tmp_path.glob("medmirror-matching-*"))) == 1
    assert list(tmp_path.glob("medmirror-matching-*")) == []
