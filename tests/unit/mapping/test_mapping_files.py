"""Mapper files: what they may say, what is said of a wrong one, and whose word counts."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medmirror.errors import UsageError
from medmirror.mapping import Mapped, Mapper, Mappers, mappers
from medmirror.mapping.registry import builtin_texts, check

HEAD = '[[mapper]]\nsource = "csv"\nfeed = "patient"\nentity = "patient"\n'


def own(rules: str, head: str = "") -> Mapper:
    """A mapper of a CSV file's patients, with *rules* beside the name."""
    text = f'{HEAD}{head}\n[mapper.fields]\n"names[0].family" = "Family"\n{rules}\n'
    mapper = mappers((text,)).of("csv", "patient")
    assert mapper is not None
    return mapper


def record(mapper: Mapper, **document: Any) -> dict[str, Any]:
    made = mapper.to_canonical({"Family": "Balazqaton", **document}).record
    assert made is not None
    return made


def back(mapper: Mapper, made: dict[str, Any]) -> dict[str, Any]:
    """The document of *made*, after a look whether it means the same."""
    found = mapper.from_canonical(made)
    assert found.lost == ()
    assert mapper.to_canonical(found.document).record == made
    return found.document


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        ('birth_date = "a..b"', "cannot read the path"),
        ('birth_day = "x"', "patient has no such field; do you mean 'birth_date'?"),
        ('"names[0].familly" = "x"', "do you mean 'family'?"),
        ('"names.family" = "x"', "names is a list: say which slot, like names[0].family"),
        ('names = "x"', "names is a list: say which slot, like names[0]"),
        ('"birth_date[0]" = "x"', "nothing can follow its name"),
        ('"phones[0].e164" = "x"', "derives it"),
        ('sex = { source = "s", enum = { M = "MAEL" } }', "do you mean 'MALE'?"),
        ('sex = { value = "MAN" }', "'MAN' is none of its codes"),
        ('birth_date = { source = "s", converter = "dat" }', "do you mean 'date'?"),
        ('birth_date = { source = "s", converter = "bool" }', "makes no date"),
        ('birth_date = { source = "s", formt = "%Y" }', "do you mean 'format'?"),
        ('birth_date = { source = "s", format = "%Q" }', "%Q, which is not known"),
        ("birth_date = { required = true }", "neither source nor value, yet it is required"),
        ('birth_date = "a[].b"', "many values, the target holds one"),
        ('extra = "x"', "extra.NAME"),
        ('merged_into = "x"', "a reference needs feed"),
        ('notes = { source = "x", converter = "python:nowhere:f" }', "nowhere is none of ours, and not allowed"),
        ('notes = { source = "x", converter = "python:cliniko:f" }', "has no f"),
        ('notes = { source = "x", converter = "python:f" }', "not python:MODULE:NAME"),
        ('"phones[]" = { source = "p[]", fields = { raw = "n" }, use = "x" }', "'use' is not known here"),
        ('"phones[]" = { source = "p[]", fields = "phone" }', "no [shape.phone]"),
        ('"phones[0]" = "x"\n"phones[0].use" = "y"', "the whole of it and for its fields"),
        ("notes = 3", "a rule is a path"),
        ('[mapper.drop]\nx = ""', "needs a reason"),
        ('[[mapper.tombstone]]\ngrade = "inferred"\nwhen = "x"', "grade is explicit or archived"),
        ('[[mapper.tombstone]]\ngrade = "archived"', "when is missing"),
        ('[[mapper.tombstone]]\ngrade = "explicit"\nwhen = "x"\nfeed = "visit"', "needs its id"),
    ],
)
def test_a_wrong_rule_is_told_with_what_to_write(rules: str, wrong: str) -> None:
    text = f'{HEAD}[mapper.fields]\n"names[0].family" = "Family"\n{rules}\n'
    assert any(wrong in line for line in check(text, "own.toml")), check(text, "own.toml")
    with pytest.raises(UsageError):
        mappers((text,))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[[mapper]", "is no TOML"),
        ('[[mapper]]\nsource = "csv"', "lacks its source or its feed"),
        (HEAD.replace('"patient"\n', '"person"\n'), "there is no entity 'person'"),
        (HEAD.replace('entity = "patient"\n', ""), "which entity it makes"),
        (HEAD, "names: every patient needs it"),
        (HEAD + HEAD, "stands there twice"),
        ("[[maper]]\n", "do you mean 'mapper'?"),
        ("[file]\n", "there is no [[mapper]]"),
        (HEAD + 'zone = "Mars/Olympus"\n', "no time zone"),
        (HEAD + 'region = "Atlantis"\n', "is no country"),
        ('[defaults]\ncolour = "x"\n', "[defaults] has 'colour'"),
        ('[[ignore]]\nsource = "csv"\n', "needs source, feed and reason"),
    ],
)
def test_a_wrong_file_is_told(text: str, wrong: str) -> None:
    assert any(wrong in line for line in check(text, "own.toml")), check(text, "own.toml")


def test_our_own_files_are_right() -> None:
    assert {name: check(text, name) for name, text in builtin_texts().items()} == {name: [] for name in builtin_texts()}


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = f'{HEAD}[mapper.fields]\nbirth_day = "x"\nsex = {{ value = "MAN" }}\n'
    assert len(check(text, "own.toml")) == 3


def test_lists_take_the_values_of_several_columns_and_give_them_back() -> None:
    mapper = own('"names[0].given" = ["First", "Middle"]\nlanguages = { source = "Langs", split = ";" }')
    made = record(mapper, First="Ada", Middle="May", Langs="en; de;")
    assert made["names"] == [{"family": "Balazqaton", "given": ["Ada", "May"]}]
    assert made["languages"] == ["en", "de"]
    assert back(mapper, made) == {"Family": "Balazqaton", "First": "Ada", "Middle": "May", "Langs": "en;de"}


def test_a_list_longer_than_its_columns_is_told_as_lost() -> None:
    found = own('"names[0].given" = ["First", "Middle"]').from_canonical(
        {"names": [{"family": "Balazqaton", "given": ["Ada", "May", "Zoe"]}], "birth_date": "1980"}
    )
    assert found.document == {"Family": "Balazqaton", "First": "Ada", "Middle": "May"}
    assert found.lost == ("birth_date", "names[].given[]")


def test_columns_are_joined_and_parted_again() -> None:
    mapper = own('birth_date = { source = ["D", "Y"], join = " ", format = "%d/%m %Y" }')
    made = record(mapper, D="7/3", Y="1980")
    assert made["birth_date"] == "1980-03-07"
    assert back(mapper, made) == {"Family": "Balazqaton", "D": "07/03", "Y": "1980"}


def test_slots_of_a_list_find_their_columns_again() -> None:
    mapper = own(
        '"phones[home].use" = { value = "HOME" }\n"phones[home].raw" = "Home"\n'
        '"phones[mobile].use" = { value = "MOBILE" }\n"phones[mobile].raw" = "Mobile"\n"emails[0]" = "Mail"',
        'region = "AU"',
    )
    made = record(mapper, Mobile="0412 345 678")
    assert [one["use"]["code"] for one in made["phones"]] == ["MOBILE"]
    assert back(mapper, made) == {"Family": "Balazqaton", "Mobile": "0412 345 678"}
    other = {**made, "phones": [{"raw": "1", "use": {"code": "FAX", "raw": None}, "e164": None, "valid": False}]}
    assert mapper.from_canonical(other).lost == ("phones",)


def test_words_that_mean_nothing_are_nothing() -> None:
    mapper = own('notes = "Notes"\nbirth_date = { source = "Born", empty = "0000-00-00" }', 'empty = ["N/A", "-"]')
    assert set(record(mapper, Notes=" N/A ", Born="0000-00-00")) == {"names", "sex", "gender", "marital_status"}


def test_a_default_is_what_a_silent_source_is_taken_to_say() -> None:
    mapper = own('sex = { source = "Sex", default = "F", enum = { F = "FEMALE" } }')
    assert record(mapper)["sex"] == {"code": "FEMALE", "raw": "F"}


def test_a_missing_or_unreadable_value_costs_no_record_and_is_noted_without_it() -> None:
    mapper = own('birth_date = { source = "Born", required = true, format = "%d/%m/%Y" }')
    mapped = mapper.to_canonical({"Family": "Balazqaton", "Born": "Balazqaton"})
    assert mapped.record is not None
    assert [tuple(one) for one in mapped.problems] == [("birth_date", "unreadable"), ("birth_date", "missing")]
    assert "Balazqaton" not in repr(mapped.problems)
    assert ("birth_date", "missing") in [tuple(one) for one in mapper.to_canonical({"Family": "x"}).problems]
    assert ("names", "missing") in [tuple(one) for one in mapper.to_canonical({}).problems]


def test_a_mapper_says_what_it_requires() -> None:
    assert own('birth_date = { source = "Born", required = true }').required == ("birth_date", "names")


def test_tombstones_are_told_of_the_record_itself_and_of_others() -> None:
    mapper = own(
        '[[mapper.tombstone]]\ngrade = "explicit"\nwhen = "gone_at"\n'
        'id = { source = "link", converter = "link_id" }\nfeed = { patients = "patient", bookings = "appointment" }\n'
        '[[mapper.tombstone]]\ngrade = "archived"\nwhen = { source = "state", is = ["Inactive"] }\nversion = "changed"'
    )
    mapped = mapper.to_canonical(
        {"gone_at": "1970-01-01T00:00:01Z", "link": "https://x/v1/bookings/12345678901234567890"}
    )
    assert mapped.tombstone == ("appointment", "12345678901234567890", "explicit", 1_000_000)
    assert mapper.to_canonical({"gone_at": "x", "link": "https://x/v1/rooms/1"}).tombstone is None
    assert mapper.to_canonical({"state": "inactive", "changed": "1970-01-02"}).tombstone == (
        "patient", None, "archived", 86_400_000_000,
    )  # fmt: skip
    assert mapper.to_canonical({"state": "active"}).tombstone is None


CLINIKO = '[[mapper]]\nsource = "cliniko"\nfeed = "patient"\n'


def cliniko(rules: str) -> Mapper:
    mapper = mappers((CLINIKO + rules,)).of("cliniko", "patient")
    assert mapper is not None
    return mapper


def test_a_users_file_overrides_one_field_and_needs_no_more() -> None:
    mapper = cliniko('[mapper.fields]\noccupation = "notes"\nnotes = false\n[mapper.drop]\nx = "of no use"')
    made = mapper.to_canonical({"last_name": "Balazqaton", "notes": "n", "occupation": "o"}).record
    assert made is not None
    assert made["occupation"] == "n"
    assert "notes" not in made
    assert made["names"][0]["family"] == "Balazqaton"
    assert {"x", "created_at"} <= set(mapper.declared.drop)


def test_a_rule_without_a_source_adds_to_ours() -> None:
    mapper = cliniko('[mapper.fields]\nsex = { enum = { Q = "FEMALE" } }\n"phones[].label" = "label"')
    made = mapper.to_canonical(
        {"sex": "q", "patient_phone_numbers": [{"number": "1", "phone_type": "Work", "label": "desk"}]}
    ).record
    assert made is not None
    assert made["sex"] == {"code": "FEMALE", "raw": "q"}
    assert (made["phones"][0]["label"], made["phones"][0]["use"]["code"]) == ("desk", "WORK")
    assert mapper.to_canonical({"sex": "Male"}).record["sex"]["code"] == "MALE"  # type: ignore[index]


def test_the_last_file_counts() -> None:
    texts = tuple(f'{CLINIKO}[mapper.fields]\noccupation = {{ source = "{name}" }}' for name in ("a", "b"))
    mapper = mappers(texts).of("cliniko", "patient")
    assert mapper is not None
    assert mapper.to_canonical({"a": "1", "b": "2"}).record["occupation"] == "2"  # type: ignore[index]


def test_only_an_edited_mapper_has_another_digest() -> None:
    ours, theirs = mappers(), mappers((CLINIKO + '[mapper.fields]\noccupation = "notes"',))
    for key in ours.names():
        mine, other = ours.of(*key), theirs.of(*key)
        assert mine is not None
        assert other is not None
        assert (mine.digest == other.digest) == (key != ("cliniko", "patient"))


def test_defaults_and_comments_that_change_nothing_leave_the_digest_alone() -> None:
    assert own('notes = "n"').digest == own('notes = "n"   # why').digest
    assert own('notes = "n"').digest == own('notes = "n"\n[mapper.drop]\nx = "of no use"').digest
    assert own('notes = "n"').digest != own('notes = "m"').digest


def test_an_ignored_feed_has_a_reason_until_it_is_mapped() -> None:
    text = '[[ignore]]\nsource = "csv"\nfeed = ["till", "patient"]\nreason = "money"\n'
    assert mappers((text,)).ignored[("csv", "till")] == "money"
    both = mappers((text, f'{HEAD}[mapper.fields]\n"names[0]" = "Name"'))
    assert ("csv", "patient") not in both.ignored
    assert both.of("csv", "till") is None


def test_a_lambda_follows_a_mapper_and_is_part_of_its_digest() -> None:
    suffix = "!"
    one = mappers().with_functions({("cliniko", "patient"): lambda d, c: {**c, "notes": d["notes"] + suffix}})
    mapper, plain = one.of("cliniko", "patient"), mappers().of("cliniko", "patient")
    assert mapper is not None
    assert plain is not None
    assert mapper.to_canonical({"notes": "n"}).record["notes"] == "n!"  # type: ignore[index]
    assert mapper.digest != plain.digest
    assert one.of("cliniko", "appointment").digest == mappers().of("cliniko", "appointment").digest  # type: ignore[union-attr]


def test_mappers_cross_to_another_process_with_their_functions() -> None:
    one = mappers((CLINIKO + '[mapper.fields]\noccupation = "notes"',)).with_functions(
        {("cliniko", "patient"): lambda d, c: {**c, "notes": "x"}}
    )
    two: Mappers = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own pickle
    mine, other = one.of("cliniko", "patient"), two.of("cliniko", "patient")
    assert mine is not None
    assert other is not None
    assert mine.digest == other.digest
    assert mine.to_canonical({"notes": "n"}) == other.to_canonical({"notes": "n"})


@pytest.mark.parametrize(
    "function",
    [lambda d, c: c["no such field"], lambda d, c: None, lambda d, c: {**c, "x": object()}, lambda d, c: c.clear()],
)
def test_a_function_that_fails_costs_no_record(function: Any) -> None:
    document = {"last_name": "Balazqaton"}
    failing = mappers().with_functions({("cliniko", "patient"): function}).of("cliniko", "patient")
    plain = mappers().of("cliniko", "patient")
    assert failing is not None
    assert plain is not None
    mapped: Mapped = failing.to_canonical(document)
    assert mapped.record == plain.to_canonical(document).record
    assert [one.code for one in mapped.problems] == ["function_failed"]


def test_a_function_for_a_mapper_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no mapper cliniko\.person"):
        mappers().with_functions({("cliniko", "person"): lambda d, c: c})


DIGEST = """
import sys
from medmirror.mapping import mappers
ending = sys.argv[1]
made = mappers().with_functions({("cliniko", "patient"): lambda d, c: {**c, "notes": ending}})
print(made.of("cliniko", "patient").digest.hex(), made.of("cliniko", "appointment").digest.hex())
"""


def test_digests_are_the_same_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(DIGEST)

    def run(ending: str, seed: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, str(script), ending], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        return done.stdout.split()

    assert run("a", "1") == run("a", "2")
    assert run("a", "1")[0] != run("b", "1")[0]
    assert run("a", "1")[1] == run("b", "1")[1]


OWN_MODULE = """
def up(values):
    return " ".join(str(one) for one in values if one)

def down(text):
    return tuple(text.split(" ", 1))

both = (up, down)
"""


def test_a_users_own_module_converts_in_both_directions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clinic_maps.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MEDMIRROR_MAPPING_MODULES", "clinic_maps")
    mapper = own('occupation = { source = ["A", "B"], converter = "python:clinic_maps:both" }')
    made = record(mapper, A="x", B="y z")
    assert made["occupation"] == "x y z"
    assert back(mapper, made) == {"Family": "Balazqaton", "A": "x", "B": "y z"}
    only_up = own('occupation = { source = ["A", "B"], converter = "python:clinic_maps:up" }')
    assert only_up.from_canonical(made).lost == ("occupation",)


def test_zone_and_region_are_the_records_own() -> None:
    mapper = own(
        '"extra.seen" = { source = "Seen", converter = "time" }\n"phones[0]" = "Phone"\n'
        'time_zone = "TZ"\n"addresses[0].country_text" = "Land"',
        'zone = { source = "TZ", default = "Europe/Berlin" }\nregion = { source = "Land", default = "DE" }',
    )
    made = record(mapper, Seen="2024-06-01T10:00:00", TZ="Australia/Sydney", Land="Australia", Phone="0412 345 678")
    assert made["extra"]["seen"] == {"utc": "2024-06-01T00:00:00Z", "zone": "Australia/Sydney"}
    assert made["phones"][0]["e164"] == "+61412345678"
    assert back(mapper, made)["Seen"] == "2024-06-01T10:00:00"
    silent = record(mapper, Seen="2024-06-01T10:00:00", TZ=" ", Phone="030 123456")
    assert silent["extra"]["seen"]["zone"] == "Europe/Berlin"
    assert silent["phones"][0]["e164"] == "+4930123456"
