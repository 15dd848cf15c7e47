"""Paths, dates and times, telephone numbers, countries, names and references: what one value becomes."""

from __future__ import annotations

import random
import re
from typing import Any

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneMetadata

from medmirror.dates.grammar import Moment, compiled
from medmirror.dates.zones import zone_or_offset
from medmirror.mapping.convert import addresses, fhir, names, phones
from medmirror.mapping.convert.converters import CONVERTERS
from medmirror.mapping.convert.pairs import Pair
from medmirror.mapping.convert.scope import Scope
from medmirror.mapping.rules.paths import getter, lister, parse
from medmirror.mapping.rules.placing import add, put
from medmirror.mapping.schema.entities import ENTITIES
from medmirror.mapping.schema.kinds import Field

DOCUMENT = {
    "a": {"b": 1, "empty": ""},
    "list": [{"system": "phone", "value": "1"}, {"system": "email", "value": "2"}, {"system": "phone", "value": "3"}],
    "words": ["x", "", None, "y"],
    "Date.of.birth": "d",
    "deep": [{"in": [{"code": 1}, {"code": 2}]}, {"in": [{"code": 3}]}],
    "flags": [{"on": True, "n": 1}],
}


@pytest.mark.parametrize(
    ("path", "first", "all_of_them"),
    [
        ("a.b", 1, [1]),
        ("a.empty", "", []),
        ("a.none.c", None, []),
        ("list[1].value", "2", ["2"]),
        ("list[7].value", None, []),
        ("list[system=phone].value", "1", ["1", "3"]),
        ("list[].value", "1", ["1", "2", "3"]),
        ("list[system!=phone].value", "2", ["2"]),
        ("list[other!=phone].value", "1", ["1", "2", "3"]),
        ("words", ["x", "", None, "y"], ["x", "y"]),
        ("words[]", "x", ["x", "y"]),
        ("`Date.of.birth`", "d", ["d"]),
        ("deep[].in[].code", 1, [1, 2, 3]),
        ("flags[on=true].n", 1, [1]),
        ("a[].b", 1, [1]),
    ],
)
def test_paths_lead_to_values(path: str, first: Any, all_of_them: list[Any]) -> None:
    assert getter(parse(path))(DOCUMENT) == first
    assert lister(parse(path))(DOCUMENT) == all_of_them


@pytest.mark.parametrize("path", ["", "a..b", "a.", ".a", "[0]", "a[x]", "a[=1]", "a`b`"])
def test_paths_that_make_no_sense_are_refused(path: str) -> None:
    with pytest.raises(ValueError):
        parse(path)


def test_values_are_put_where_their_paths_lead() -> None:
    document: dict[str, Any] = {}
    put(document, parse("a.b"), 1)
    put(document, parse("list[system=phone].value"), "1")
    put(document, parse("list[system=email].value"), "2")
    put(document, parse("list[system=phone].use"), "home")
    add(document, parse("words[]"), ["x", "y"])
    add(document, parse("list[system=fax]"), [{"value": "3"}])
    add(document, parse("list[system!=fax]"), [{"value": "4"}])
    put(document, parse("`Date.of.birth`"), "d")
    assert document == {
        "a": {"b": 1},
        "list": [
            {"value": "1", "system": "phone", "use": "home"},
            {"value": "2", "system": "email"},
            {"value": "3", "system": "fax"},
            {"value": "4"},
        ],
        "words": ["x", "y"],
        "Date.of.birth": "d",
    }


def pair(name: str, kind: str, **options: Any) -> Pair:
    return CONVERTERS[name].build(options, Field("x", kind, "", codes=("FEMALE", "MALE", "OTHER", "UNKNOWN")))


@pytest.mark.parametrize(
    ("text", "zone", "utc", "kept", "codes"),
    [
        ("2024-06-01T10:00:00Z", None, "2024-06-01T10:00:00Z", "UTC", []),
        ("2024-06-01T10:00:00.250Z", None, "2024-06-01T10:00:00.250000Z", "UTC", []),
        ("2024-06-01T10:00:00+10:00", "Europe/Berlin", "2024-06-01T00:00:00Z", "+10:00", []),
        ("2024-06-01T10:00:00", None, "2024-06-01T10:00:00Z", None, []),
        ("2024-06-01 10:00", "Australia/Sydney", "2024-06-01T00:00:00Z", "Australia/Sydney", []),
        ("2024-01-01T10:00:00", "Australia/Sydney", "2023-12-31T23:00:00Z", "Australia/Sydney", []),
        # The clocks went from 02:00 to 03:00, and (below) from 03:00 back to 02:00.
        ("2024-03-31T02:30:00", "Europe/Berlin", "2024-03-31T01:30:00Z", "Europe/Berlin", ["gap"]),
        ("2024-10-27T02:30:00", "Europe/Berlin", "2024-10-27T00:30:00Z", "Europe/Berlin", ["fold"]),
        ("2024-10-27T03:30:00", "Europe/Berlin", "2024-10-27T02:30:00Z", "Europe/Berlin", []),
    ],
)
def test_times_are_in_utc_beside_their_zone(
    text: str, zone: str | None, utc: str, kept: str | None, codes: list[str]
) -> None:
    scope = Scope(zone)
    value = pair("time", "time").up(text, scope)
    assert value == {"utc": utc, "zone": kept}
    assert [one.code for one in scope.problems] == codes
    assert pair("time", "time").up(pair("time", "time").down(value, Scope(zone)), Scope(zone)) == value


@pytest.mark.parametrize("text", ["2024", "2024-02", "2024-02-29"])
def test_times_that_name_a_day_only_stay_dates(text: str) -> None:
    assert pair("time", "time").up(text, Scope()) == {"utc": None, "zone": None, "date": text}
    assert pair("date", "date").up(text, Scope()) == text


@pytest.mark.parametrize(
    "text", ["2023-02-29", "2024-13", "0000-00-00", "soon", "24", "2024-W01-1", "2024-W01-1T00:00", "31/12/1999"]
)
def test_dates_that_there_are_not_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError):
        pair("date", "date").up(text, Scope())


@pytest.mark.parametrize(
    ("pattern", "text", "date"),
    [
        ("%d/%m/%Y", "7/3/1980", "1980-03-07"),
        ("%d.%m.%y", "07.03.68", "2068-03-07"),
        ("%d.%m.%y", "07.03.69", "1969-03-07"),
        ("%d %b %Y", "7 mar 1980", "1980-03-07"),
        ("%B %d, %Y", "March  7, 1980", "1980-03-07"),
        ("%m/%Y", "03/1980", "1980-03"),
        ("%Y%m%d", "19800307", "1980-03-07"),
    ],
)
def test_dates_are_read_by_their_declared_format(pattern: str, text: str, date: str) -> None:
    converter = pair("date", "date", format=pattern)
    assert converter.up(text, Scope()) == date
    assert converter.up(converter.down(date, Scope()), Scope()) == date


def test_the_pivot_parts_the_centuries() -> None:
    assert pair("date", "date", format="%d.%m.%y", pivot=26).up("07.03.68", Scope()) == "1968-03-07"


def test_the_first_format_that_fits_is_taken() -> None:
    converter = pair("date", "date", format=["%d/%m/%Y", "%Y"])
    assert converter.up("1980", Scope()) == "1980"
    assert converter.down("1980", Scope()) == "1980"
    assert converter.down("1980-03-07", Scope()) == "07/03/1980"


def test_times_are_read_by_their_declared_format_and_zone() -> None:
    converter = pair("time", "time", format="%d/%m/%Y %I:%M %p", zone="Australia/Sydney")
    value = converter.up("01/07/2024 2:05 pm", Scope("Europe/Berlin"))
    assert value == {"utc": "2024-07-01T04:05:00Z", "zone": "Australia/Sydney"}
    assert converter.down(value, Scope()) == "01/07/2024 02:05 PM"


def test_times_are_read_from_numbers() -> None:
    converter = pair("time", "time", format="epoch_ms")
    value = converter.up(1_717_200_000_250, Scope())
    assert value == {"utc": "2024-06-01T00:00:00.250000Z", "zone": "UTC"}
    assert converter.down(value, Scope()) == 1_717_200_000_250


@given(
    st.datetimes(),
    st.sampled_from(
        ["%d/%m/%Y %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f", "%d %b %Y %I:%M:%S.%f %p", "%B %d %Y %H %M %S %f"]
    ),
)
def test_what_a_format_writes_it_reads(moment: Any, pattern: str) -> None:
    told = Moment(*moment.timetuple()[:6], moment.microsecond)
    assert compiled(pattern).read(compiled(pattern).write(told)) == told


def test_a_format_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="%Q"):
        compiled("%Q")
    with pytest.raises(ValueError, match="twice"):
        compiled("%d %d")


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "zone.tab", ""])
def test_a_zone_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        zone_or_offset(name)


@pytest.mark.parametrize(
    ("text", "region", "e164", "extension"),
    [
        ("0412 345 678", "AU", "+61412345678", None),
        ("+61 (0) 412 345 678", None, "+61412345678", None),
        ("(02) 9555 1234 ext 7", "AU", "+61295551234", "7"),
        ("02 9555 1234", None, None, None),
        ("(201) 555-0123", "US", "+12015550123", None),
        ("12", "AU", None, None),
        ("ask his wife", "AU", None, None),
        ("0061 412 345 678", "DE", "+61412345678", None),
    ],
)
def test_phones_are_told_in_e164(text: str, region: str | None, e164: str | None, extension: str | None) -> None:
    part: dict[str, Any] = {"raw": text}
    phones.finish(part, region)
    made = {"raw": text, "e164": e164, "valid": e164 is not None}
    assert part == (made if extension is None else {**made, "extension": extension})


def test_plain_numbers_are_told_as_the_package_tells_them() -> None:
    rng = random.Random(12)
    compared = 0
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        found = PhoneMetadata.metadata_for_region(region, None)
        examples = {
            one.example_number
            for one in (found.fixed_line, found.mobile, found.toll_free, found.pager, found.uan)
            if one is not None and one.example_number
        }
        for example in sorted(examples):
            for text in _variants(example, found, rng):
                plain = phones._plain(text, region)
                if plain is not None:
                    compared += 1
                    assert phones.Number(plain, None) == phones._parsed.__wrapped__(text, region), region
    assert compared > 1000


def _variants(example: str, found: Any, rng: random.Random) -> list[str]:
    digits = list(example)
    for _ in range(rng.randrange(3)):
        digits[rng.randrange(len(digits))] = rng.choice("0123456789")
    number, code = "".join(digits), found.country_code
    home = f"{found.national_prefix or ''}{number}"
    return [
        number,
        home,
        f"+{code}{number}",
        f"+{code} (0){number}",
        f"{code}{number}",
        f"00{code}{number}",
        number[:-1],
    ]


def test_a_phone_of_another_country_is_written_so_that_it_is_understood() -> None:
    part = {"raw": "0412 345 678", "e164": "+61412345678", "valid": True}
    assert phones.unfinish(part, "AU")["raw"] == "0412 345 678"
    assert phones.unfinish(part, "DE")["raw"] == "+61412345678"


@pytest.mark.parametrize(
    ("text", "code"),
    [("Australia", "AU"), ("au", "AU"), ("AUS", "AU"), ("U.S.A.", "US"), ("the netherlands", "NL"), ("Atlantis", None)],
)
def test_countries_are_told_from_their_names(text: str, code: str | None) -> None:
    assert addresses.country(text) == code


@pytest.mark.parametrize("order", names.ORDERS)
def test_a_name_in_one_text_comes_back(order: str) -> None:
    for text in ("Balazqaton, Ada May", "Ada May Balazqaton", "Balazqaton", " Balazqaton ,Ada"):
        name = names.apart(text, order)
        assert names.apart(names.together(name, order), order) == name
    assert names.apart("Balazqaton, Ada May", "family, given") == {
        "text": "Balazqaton, Ada May", "family": "Balazqaton", "given": ["Ada", "May"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ({"reference": "Patient/a-1"}, {"feed": "Patient", "id": "a-1"}),
        ({"reference": "Patient/a-1/_history/2"}, {"feed": "Patient", "id": "a-1"}),
        ({"reference": "/r4/Patient/a-1/"}, {"feed": "Patient", "id": "a-1"}),
        ({"reference": "7"}, {"feed": "Thing", "id": "7"}),
        (
            {"reference": "https://x.example.org/r4/Patient/a-1/_history/2", "display": "Dr X"},
            {"feed": "Patient", "url": "https://x.example.org/r4/Patient/a-1/_history/2", "text": "Dr X"},
        ),
        ({"reference": "HTTP://x.example.org/Thing"}, {"feed": "Thing", "url": "HTTP://x.example.org/Thing"}),
        ({"reference": "//x.example.org/Patient/1"}, {"feed": "Patient", "url": "//x.example.org/Patient/1"}),
        ({"reference": "ftp:Patient/1"}, {"feed": "Thing", "url": "ftp:Patient/1"}),
        ({"reference": "#in", "identifier": {"value": "9"}}, {"feed": "Thing", "url": "#in"}),
        ({"reference": "urn:uuid:0a", "display": "Dr X"}, {"feed": "Thing", "id": "0a", "text": "Dr X"}),
        ("Patient/7", {"feed": "Patient", "id": "7"}),
        (
            {"reference": "Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|99"},
            {"feed": "Practitioner", "identifier": {"system": "http://hl7.org/fhir/sid/us-npi", "value": "99"}},
        ),
        ({"identifier": {"value": "9"}}, {"feed": "Thing", "identifier": {"value": "9"}}),
        ({"display": "Dr X"}, {"text": "Dr X"}),
        ({}, None),
    ],
)
def test_fhir_references_name_records(value: Any, made: dict[str, Any] | None) -> None:
    assert fhir.reference(value, "Thing") == made
    if made is not None:
        assert fhir.reference(fhir.written(made), "Thing") == made


@pytest.mark.parametrize(
    ("name", "kind", "options", "raw", "value"),
    [
        ("text", "text", {}, "  a b ", "a b"),
        ("text", "text", {}, 12, "12"),
        ("text", "text", {}, "   ", None),
        ("int", "int", {}, "1,234", "unreadable"),
        ("int", "int", {"grouping": ","}, "1,234", 1234),
        ("int", "int", {}, 12.0, 12),
        ("int", "int", {}, True, "unreadable"),
        ("decimal", "decimal", {"decimal": ",", "grouping": "."}, "1.234,50", "1234.50"),
        ("decimal", "decimal", {}, 0.1, "0.1"),
        ("decimal", "decimal", {}, "1e3", "1000"),
        ("decimal", "decimal", {}, "NaN", "unreadable"),
        ("bool", "bool", {}, "Yes", True),
        ("bool", "bool", {"true": "J", "false": ["N", "-"]}, "-", False),
        ("bool", "bool", {"true": "J", "false": "N"}, "yes", "unreadable"),
        ("enum", "enum", {"enum": {"Frau": "FEMALE"}}, "frau", {"code": "FEMALE", "raw": "frau"}),
        ("enum", "enum", {"enum": {"Frau": "FEMALE"}}, "male", {"code": "MALE", "raw": "male"}),
        ("enum", "enum", {"enum": {"Frau": "FEMALE"}}, "X", {"code": "OTHER", "raw": "X"}),
        ("reference", "reference", {"feed": "patient"}, 82, {"feed": "patient", "id": "82"}),
        ("link_id", "reference", {"feed": "patient"}, "https://x/patients/82?a=1", {"feed": "patient", "id": "82"}),
        ("text", "text", {}, {"a": 1}, "unreadable"),
        ("link_id", "reference", {"feed": "patient"}, ["x"], "unreadable"),
    ],
)
def test_values_are_converted(name: str, kind: str, options: dict[str, Any], raw: Any, value: Any) -> None:
    if value == "unreadable":
        with pytest.raises(ValueError):
            pair(name, kind, **options).up(raw, Scope())
    else:
        assert pair(name, kind, **options).up(raw, Scope()) == value


def test_every_entity_speaks_of_fields_in_one_way() -> None:
    for entity in ENTITIES.values():
        assert len({field.name for field in entity.fields}) == len(entity.fields)
        for field in entity.fields:
            assert re.fullmatch(r"[a-z][a-z0-9_]*", field.name)
            assert bool(field.codes) == (field.kind == "enum")
