"""What a mapper cannot read is a problem and no value; nothing is guessed at."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from medmirror.mapping import Mapped, Mapper, mappers
from medmirror.mapping.columns import columns_of
from medmirror.mapping.registry import check

PATIENT = '[[mapper]]\nsource = "csv"\nfeed = "patient"\nentity = "patient"\n'
APPOINTMENT = '[[mapper]]\nsource = "csv"\nfeed = "appointment"\nentity = "appointment"\n'
VISIT = 'patient = { source = "Patient", feed = "patient" }\n'
YEAR = date.today().year % 100


def mapper_of(text: str, feed: str = "patient") -> Mapper:
    mapper = mappers((text,)).of("csv", feed)
    assert mapper is not None
    return mapper


def patient(rules: str, head: str = "", **document: Any) -> Mapped:
    text = f'{PATIENT}{head}\n[mapper.fields]\n"names[0].family" = "Family"\n{rules}\n'
    return mapper_of(text).to_canonical({"Family": "Fennick", **document})


def visit(rule: str, head: str = "", **document: Any) -> Mapped:
    text = f"{APPOINTMENT}{head}\n[mapper.fields]\n{VISIT}{rule}\n"
    return mapper_of(text, "appointment").to_canonical({"Patient": "7", **document})


def born(rule: str, text: str | None, **document: Any) -> tuple[Any, list[str]]:
    mapped = patient(f"birth_date = {rule}", DOB=text, **document)
    assert mapped.record is not None
    return mapped.record.get("birth_date"), [problem.code for problem in mapped.problems]


ZONE = 'zone = { source = "Zone", default = "UTC" }\nempty = ["N/A"]'


def starts(zone: Any, text: str = "2026-07-01 09:00") -> tuple[Any, list[tuple[str, str]]]:
    mapped = visit('starts = { source = "Start", format = "%Y-%m-%d %H:%M" }', ZONE, Start=text, Zone=zone)
    assert mapped.record is not None
    return mapped.record.get("starts"), [tuple(problem) for problem in mapped.problems]


def test_a_zone_is_understood_a_problem_or_not_there() -> None:
    sydney = {"utc": "2026-06-30T23:00:00Z", "zone": "Australia/Sydney"}
    for name in ("Sydney", "AUS Eastern Standard Time", "australia/sydney"):
        assert starts(name) == (sydney, [])
    assert starts("AEST") == ({**sydney, "zone": "+10:00"}, [])
    for name in ("Australia/Melborne", "EST", 600, ["Sydney"]):
        assert starts(name) == (None, [("starts", "zone"), ("starts", "missing")])
    for name in (None, "", "  ", "N/A"):
        assert starts(name) == ({"utc": "2026-07-01T09:00:00Z", "zone": "UTC"}, [])


def test_a_time_with_an_offset_needs_no_zone_and_a_list_of_formats_tells_of_it() -> None:
    rule = 'starts = { source = "Start", format = ["%Y-%m-%dT%H:%M%z", "%Y-%m-%d %H:%M", "%d/%m/%Y"] }'
    mapped = visit(rule, ZONE, Start="2026-07-01T09:00+10:00", Zone="Nowhere")
    assert mapped.record is not None
    assert mapped.record["starts"]["utc"] == "2026-06-30T23:00:00Z"
    mapped = visit(rule, ZONE, Start="2026-07-01 09:00", Zone="Nowhere")
    assert ("starts", "zone") in [tuple(problem) for problem in mapped.problems]


def test_the_end_of_a_day_is_the_next_days_midnight() -> None:
    for rule in ('"Start"', '{ source = "Start", format = "%Y-%m-%d %H:%M:%S" }'):
        mapped = visit(f"starts = {rule}", 'zone = "America/New_York"', Start="2026-07-01 24:00:00")
        assert mapped.record is not None
        assert mapped.record["starts"]["utc"] == "2026-07-02T04:00:00Z"


@pytest.mark.parametrize(
    "rule", ['"DOB"', '{ source = "DOB", format = "%Y-%m-%d" }', '{ source = "DOB", format = "iso" }']
)
@pytest.mark.parametrize(
    ("text", "day"),
    [("1984-03-12", "1984-03-12"), ("1984-3-5", "1984-03-05"), ("1984-00-00", "1984"), ("1984-03-00", "1984-03"),
     ("1984-00-12", "1984"), ("1984--12", "1984"), ("1984-03-", "1984-03"), ("1984--", "1984")],
)  # fmt: skip
def test_a_date_says_as_much_as_it_knows(rule: str, text: str, day: str) -> None:
    assert born(rule, text) == (day, [])


@pytest.mark.parametrize(
    "text",
    ["0000-00-00", "0001-01-01", "1900-01-01", "1899-12-30", "1753-01-01", "9999-12-31", "9999-99-99", "0000",
     "1601-01-01",
     "0000-00-00 00:00:00", "1900-01-01T00:00:00", "2999-12-31", "1840-12-31"],
)  # fmt: skip
def test_a_placeholder_is_no_birthday_and_is_counted(text: str) -> None:
    assert born('"DOB"', text) == (None, ["placeholder"])


def test_other_formats_have_placeholders_too() -> None:
    assert born('{ source = "DOB", format = "%d/%m/%Y" }', "00/00/0000") == (None, ["placeholder"])
    assert born('{ source = "DOB", format = "%d/%m/%Y" }', "00/00/1984") == ("1984", [])
    assert born('{ source = "DOB", format = "excel" }', "0") == (None, ["placeholder"])
    assert born('{ source = "DOB", format = "excel" }', "30753") == ("1984-03-12", [])
    assert born('{ source = "DOB", format = "%d/%m/%Y" }', "31/02/1984") == (None, ["unreadable"])


def test_a_mapping_file_names_placeholders_of_its_own() -> None:
    assert born('"DOB"', "1970-01-01") == ("1970-01-01", []), "people are born on that day"
    assert born('{ source = "DOB", placeholders = ["1970-01-01"] }', "1970-01-01") == (None, ["placeholder"])
    mapped = patient('birth_date = "DOB"', 'placeholders = "1970-01-01"', DOB="1970-01-01")
    assert [problem.code for problem in mapped.problems] == ["placeholder"]


def test_a_day_far_ahead_is_kept_where_it_means_without_end() -> None:
    mapped = patient('"names[0].ends" = "To"\n"names[0].starts" = "From"', To="9999-12-31", From="1900-01-01")
    assert mapped.record is not None
    assert mapped.record["names"] == [{"family": "Fennick", "ends": "9999-12-31"}]
    assert [tuple(problem) for problem in mapped.problems] == [("names[0].starts", "placeholder")]


def test_a_time_that_stands_for_none_is_told_by_its_own_clock() -> None:
    for zone in ("Australia/Sydney", "America/New_York"):
        for text in ("1900-01-01T00:00:00", "0001-01-01T00:00:00", "1899-12-30T09:30:00", "0000-00-00 00:00:00"):
            mapped = visit('starts = "Start"', f'zone = "{zone}"', Start=text)
            assert ("starts", "placeholder") in [tuple(problem) for problem in mapped.problems]


def test_two_digits_of_a_year_of_birth_need_a_pivot() -> None:
    def wrong(rule: str) -> list[str]:
        return check(f'{PATIENT}[mapper.fields]\n"names[0].family" = "F"\n{rule}\n', "own.toml")

    assert "say pivot" in wrong('birth_date = { source = "DOB", format = "%d/%m/%y" }')[0]
    assert "say pivot" in wrong('deceased_date = { source = "DOB", format = ["%d/%m/%Y", "%d/%m/%y"] }')[0]
    assert "say pivot" in wrong(f'birth_date = {{ source = "DOB", format = "%d/%m/%y", pivot = {YEAR + 1} }}')[0]
    rule = '{ source = "DOB", format = "%d/%m/%y", pivot = 24 }'
    assert [born(rule, text)[0] for text in ("12/03/24", "01/01/68", "31/12/25")] == [
        "2024-03-12", "1968-01-01", "1925-12-31",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "wrong"),
    [("%d/%m", "has no year"), ("%H:%M", "has no year"), ("%%Y", "is not known"), ("excell", "is not known"),
     ("%d/%m/%Y %I:%M", "without %p")],
)  # fmt: skip
def test_a_format_that_leaves_out_what_it_needs_is_refused(form: str, wrong: str) -> None:
    text = f'{APPOINTMENT}[mapper.fields]\n{VISIT}starts = {{ source = "S", format = "{form}" }}\n'
    assert any(wrong in line for line in check(text, "own.toml"))


@pytest.mark.parametrize(
    ("parts", "day"),
    [(("1984", "03", "12"), "1984-03-12"), (("1984", "03", ""), "1984-03"), (("1984", None, None), "1984"),
     (("1984", "", "12"), "1984"), (("", "03", "12"), None), (("", "", ""), None), (("1984", "N/A", "12"), "1984")],
)  # fmt: skip
def test_parts_that_are_joined_keep_their_places(parts: tuple[str | None, ...], day: str | None) -> None:
    rule = 'birth_date = { source = ["Y", "M", "D"], join = "-", empty = "N/A" }'
    mapped = patient(rule, **dict(zip("YMD", parts, strict=True)))
    assert mapped.record is not None
    assert mapped.record.get("birth_date") == day
    assert bool(mapped.problems) == (day is None and any(parts))
    turned = 'birth_date = { source = ["D", "M", "Y"], join = "/", format = "%d/%m/%Y", empty = "N/A" }'
    mapped = patient(turned, **dict(zip("YMD", parts, strict=True)))
    assert mapped.record is not None
    assert mapped.record.get("birth_date") == day


def test_nothing_between_the_parts_tells_which_is_missing() -> None:
    rule = 'birth_date = { source = ["Y", "M", "D"], join = "", format = "%Y%m%d" }'
    mapped = patient(rule, Y="1984", M="", D="12")
    assert [tuple(problem) for problem in mapped.problems] == [("birth_date", "unreadable")]


def test_words_close_up_and_numbers_do_not() -> None:
    mapped = patient('notes = { source = ["A", "B", "C"], join = "; " }', A="one", B="", C="three")
    assert mapped.record is not None
    assert mapped.record["notes"] == "one; three"
    mapped = patient('"identifiers[0].value" = { source = ["A", "B", "C"], join = "-" }', A="12", B="", C="3")
    assert mapped.record is not None
    assert mapped.record["identifiers"] == [{"value": "12--3"}], "12-3- is somebody else"


def test_an_object_where_texts_are_joined_or_split_costs_the_field() -> None:
    joined = 'notes = { source = ["A", "B"], join = "; " }'
    mapped = patient(joined, A="call", B={"sections": []})
    assert [tuple(problem) for problem in mapped.problems] == [("notes", "unreadable")]
    mapped = patient('"names[0].given" = { source = "G", split = " " }', G={"first": "Ada"})
    assert mapped.record is not None
    assert mapped.record["names"] == [{"family": "Fennick"}]
    assert [problem.code for problem in mapped.problems] == ["unreadable"]


MODULE = """
from subprocess import getoutput
def half(value): return "\\ud800"
def nul(value): return "a\\0b"
def huge(value): return 1 << 70
def never(value): return float("nan")
def bytes_(value): return b"x"
def deep(value):
    inside = []
    for _ in range(200): inside = [inside]
    return inside
def number(value): return 5
def good(value): return value.upper()
def names(value): return [{"family": value}]
def not_names(value): return [{"surname": value}]
"""


@pytest.fixture
def allowed(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clinic_functions.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MEDMIRROR_MAPPING_MODULES", "clinic_functions")


def called(name: str, target: str = "occupation") -> Mapped:
    return patient(f'{target} = {{ source = "A", converter = "python:clinic_functions:{name}" }}', A="nurse")


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("name", ["half", "nul", "huge", "never", "bytes_", "deep", "number"])
@pytest.mark.parametrize("target", ["occupation", '"extra.job"'])
def test_what_a_function_gives_is_checked(name: str, target: str) -> None:
    mapped = called(name, target)
    if (name, target) == ("number", '"extra.job"'):
        assert mapped.problems == ()
        return
    assert mapped.record is not None
    assert "occupation" not in mapped.record
    assert "extra" not in mapped.record
    assert [problem.code for problem in mapped.problems] == ["unreadable"]


@pytest.mark.usefixtures("allowed")
def test_a_function_makes_what_its_field_holds() -> None:
    assert called("good").record is not None
    for name, code in (("names", []), ("not_names", ["unreadable"])):
        text = f'{PATIENT}[mapper.fields]\nnames = {{ source = "A", converter = "python:clinic_functions:{name}" }}\n'
        mapped = mapper_of(text).to_canonical({"A": "Fennick"})
        assert [problem.code for problem in mapped.problems if problem.code != "missing"] == code


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(
    ("converter", "wrong"),
    [
        ("python:subprocess:getoutput", "not allowed"),
        ("python:os.path:join", "not allowed"),
        ("python:clinic_functions.other:f", "no module"),
        ("python:clinic_functionss:good", "not allowed"),
        ("python:clinic_functions:getoutput", "comes from another one"),
        ("python:clinic_functions:__import__", "has no __import__"),
        ("python:fhir:reference", "comes from another one"),
        ("python:fhir:Any", "another one"),
    ],
)
def test_a_mapping_file_names_functions_of_allowed_modules_alone(converter: str, wrong: str) -> None:
    text = f'{PATIENT}[mapper.fields]\n"names[0].family" = "F"\nnotes = {{ source = "A", converter = "{converter}" }}\n'
    assert any(wrong in line for line in check(text, "own.toml")), check(text, "own.toml")


@pytest.mark.parametrize(
    "line",
    ['empty = 5', 'zone = 5', 'region = ["AU"]', 'zone = { source = 5 }', 'zone = { default = ["UTC"] }', "fields = 3",
     "drop = 3", 'optional = 1', 'placeholders = 7', 'placeholders = ["yesterday"]', 'tombstone = 4', "tombstone = [1]",
     'tombstone = { grade = "explicit", when = 3 }', 'tombstone = { grade = "explicit", when = { is = "x" } }',
     'tombstone = { grade = "explicit", when = "a", id = { converter = "link_id" } }',
     'tombstone = { grade = "explicit", when = "a", version = [1] }',
     'tombstone = { grade = "explicit", when = "a", id = "b", feed = { a = 1 } }', "source = 5", "feed = [1]",
     "entity = {}"],
)  # fmt: skip
def test_an_option_of_a_mapper_of_a_wrong_type_is_told_in_a_sentence(line: str) -> None:
    head = "".join(f"{each}\n" for each in PATIENT.splitlines() if each.split(" = ")[0] != line.split(" = ")[0])
    fields = "" if line.startswith("fields") else '[mapper.fields]\n"names[0].family" = "F"\n'
    assert check(f"{head}{line}\n{fields}", "own.toml")


@pytest.mark.parametrize(
    "rule",
    ['sex = { source = "a", enum = false }', 'sex = { source = "a", enum = ["M"] }',
     'sex = { source = "a", enum = { M = 1 } }',
     'active = { source = "a", false = -1 }', 'active = { source = "a", true = { a = 1 } }',
     '"names[]" = { source = "a[]", fields = -1 }',
     'birth_date = { source = "a", format = "%d/%m/%y", pivot = { a = 1 } }',
     'birth_date = { source = "a", format = 5 }',
     'birth_date = { source = "a", pivot = true }', 'birth_date = { source = "a", pivot = 2024 }',
     '"names[0].family" = { source = ["a", "b"], join = ["-"] }', '"names[0].given" = { source = "a", split = "" }',
     '"extra.t" = { source = "a", converter = "time", zone = { source = "z" } }', 'notes = { source = 5 }',
     "notes = [[1]]",
     'notes = { source = { a = 1 } }', 'notes = { source = "a", converter = 5 }',
     'notes = { source = "a", default = { a = 1 } }',
     'notes = { source = "a", required = "yes" }', 'notes = { source = "a", optional = 3 }', 'notes = { value = [1] }',
     '"extra.n" = { source = "a", converter = "int", decimal = "" }',
     '"names[0]" = { source = "a", converter = "full_name", order = ["x"] }',
     'practitioners = { source = "a", converter = "link_id", feed = "p", link = 5 }'],
)  # fmt: skip
def test_an_option_of_a_rule_of_a_wrong_type_is_told_in_a_sentence(rule: str) -> None:
    assert check(f'{PATIENT}[mapper.fields]\n"emails[0]" = "E"\n{rule}\n', "own.toml")


@pytest.mark.parametrize("text", ["mapper = 5", "mapper = [1]", "defaults = 3\n" + PATIENT, "shape = 3\n" + PATIENT,
                                  "shape = { a = 3 }\n" + PATIENT, "ignore = 5", "ignore = [1]",
                                  '[[ignore]]\nsource = "x"\nfeed = 5\nreason = "r"'])  # fmt: skip
def test_a_table_of_a_wrong_type_is_told_in_a_sentence(text: str) -> None:
    assert check(text, "own.toml")


def test_the_columns_that_a_table_must_have() -> None:
    head = 'zone = { source = "Zone" }\noptional = ["Fax", "Zone"]\n'
    rules = (
        '"names[0].given" = { source = ["First", "Middle"], optional = "Middle" }\n'
        'notes = { source = "Notes", optional = true }\n'
        '"phones[0]" = "Fax"\n"extra.a" = "details.reasons[0].word"\n"extra.b" = "`Print.Flag`"\n'
        'occupation = { value = "nurse" }\n[[mapper.tombstone]]\ngrade = "archived"\nwhen = "Status"\n'
    )
    text = f'{PATIENT}{head}[mapper.fields]\n"names[0].family" = "Family"\n{rules}\n'
    assert columns_of(mapper_of(text)) == ("Family", "First", "Print.Flag", "Status", "details")


def test_a_fact_of_one_source_only_may_be_a_constant() -> None:
    mapped = patient('"extra.system" = { value = "north" }\n"extra.room" = "Room"', Room="7")
    assert mapped.record is not None
    assert mapped.record["extra"] == {"system": "north", "room": "7"}
    text = f'{PATIENT}[mapper.fields]\n"names[0].family" = "F"\n"extra.x" = {{ value = nan }}\n'
    assert any("JSON" in line for line in check(text, "own.toml"))
