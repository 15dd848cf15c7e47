"""What records of CSV exports mean: the examples that come with the package, and the imaginary practice system."""

from __future__ import annotations

import csv
import io
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from medmirror.mapping import Mappers, mappers
from medmirror.mapping.coverage import Coverage
from medmirror.readers.csv.description import describe
from medmirror_testing.samples import PMS_MAPPINGS, write_pms_csv
from medmirror_testing.samples.people import person
from medmirror_testing.samples.pms_csv import Kind

SYNTHEA = {
    Path(path.name).stem: path.read_text(encoding="utf-8")
    for path in (files("medmirror.mapping") / "examples" / "synthea").iterdir()
    if path.name.endswith(".toml")
}
MAPPED = ("patients", "providers", "encounters")

# Rows as Synthea writes them, of nobody.
ROWS = {
    "patients": """\
Id,BIRTHDATE,DEATHDATE,SSN,DRIVERS,PASSPORT,PREFIX,FIRST,MIDDLE,LAST,SUFFIX,MAIDEN,MARITAL,RACE,ETHNICITY,GENDER,\
BIRTHPLACE,ADDRESS,CITY,STATE,COUNTY,FIPS,ZIP,LAT,LON,HEALTHCARE_EXPENSES,HEALTHCARE_COVERAGE,INCOME
p-1,1971-05-16,2004-03-21,999-00-0001,S99900001,X1X,Mrs.,Ada,Bea,Corzqaby,,Danzqaley,W,white,nonhispanic,F,\
Northhaven  Massachusetts  US,1 Elm Street,Eastbrook,Massachusetts,Middlesex County,25017,02155,42.3,-71.1,1.50,2.00,7
""",
    "providers": """\
Id,ORGANIZATION,NAME,GENDER,SPECIALITY,ADDRESS,CITY,STATE,ZIP,LAT,LON,UTILIZATION
d-1,o-1,Ada Corzqaby,F,GENERAL PRACTICE,1 ELM STREET,EASTBROOK,MA,02155,42.3,-71.1,46
""",
    "encounters": """\
Id,START,STOP,PATIENT,ORGANIZATION,PROVIDER,PAYER,ENCOUNTERCLASS,CODE,DESCRIPTION,BASE_ENCOUNTER_COST,TOTAL_CLAIM_COST,\
PAYER_COVERAGE,REASONCODE,REASONDESCRIPTION
e-1,2023-01-27T16:17:47Z,2023-01-27T16:32:47Z,p-1,o-1,d-1,y-1,urgentcare,185345009,Encounter for symptom,77.49,3798.09,\
0.00,195662009,Acute viral pharyngitis (disorder)
""",
}


def document(name: str) -> dict[str, Any]:
    """The record of the one row, as ``csv.record`` holds it."""
    (row,) = csv.DictReader(io.StringIO(ROWS[name]))
    return {column: cell or None for column, cell in row.items()}


def canonical(name: str) -> dict[str, Any]:
    said = describe(SYNTHEA[name])
    assert said
    mapper = mappers((SYNTHEA[name],)).of("csv", said.kind)
    assert mapper
    mapped = mapper.to_canonical(document(name))
    assert mapped.record is not None
    assert mapped.problems == ()
    return mapped.record


def test_a_patient_of_synthea() -> None:
    record = canonical("patients")
    assert record["names"][0]["given"] == ["Ada", "Bea"]
    assert [name["use"]["code"] for name in record["names"]] == ["OFFICIAL", "MAIDEN"]
    assert (record["birth_date"], record["deceased_date"]) == ("1971-05-16", "2004-03-21")
    assert (record["sex"]["code"], record["marital_status"]["code"]) == ("FEMALE", "WIDOWED")
    (address,) = record["addresses"]
    assert (address["post_code"], address["country"], address["district"]) == ("02155", "US", "Middlesex County")
    assert [one["type"] for one in record["identifiers"]] == ["SS", "DL", "PPN"]


def test_a_provider_of_synthea() -> None:
    record = canonical("providers")
    assert (record["names"][0]["given"], record["names"][0]["family"]) == (["Ada"], "Corzqaby")
    assert record["specialties"] == [{"text": "GENERAL PRACTICE"}]
    assert record["organization"] == {"feed": "organization", "id": "o-1"}


def test_an_encounter_of_synthea() -> None:
    record = canonical("encounters")
    assert record["patient"] == {"feed": "patient", "id": "p-1"}
    assert record["practitioner"] == {"feed": "practitioner", "id": "d-1"}
    assert record["payer"] == {"feed": "payer", "id": "y-1"}
    assert record["setting"] == {"code": "AMBULATORY", "raw": "urgentcare"}
    assert record["starts"]["utc"] == "2023-01-27T16:17:47Z"
    assert record["cost"] == {"amount": "3798.09", "currency": "USD"}
    assert record["reasons"][0]["codings"][0]["code"] == "195662009"


@pytest.mark.parametrize("name", MAPPED)
def test_what_is_mapped_can_be_written_back(name: str) -> None:
    said = describe(SYNTHEA[name])
    assert said
    mapper = mappers((SYNTHEA[name],)).of("csv", said.kind)
    assert mapper
    record = canonical(name)
    back = mapper.from_canonical(record)
    assert back.lost == ()
    assert mapper.to_canonical(back.document).record == record


@pytest.mark.parametrize("name", SYNTHEA)
def test_each_example_says_what_its_file_is_and_what_it_means(name: str) -> None:
    said = describe(SYNTHEA[name])
    assert said
    made = mappers((SYNTHEA[name],))
    assert (made.of("csv", said.kind) is None) == (("csv", said.kind) in made.ignored) == (name not in MAPPED)
    parsed = tomllib.loads(SYNTHEA[name])
    feeds = {one["feed"] for one in (*parsed.get("mapper", ()), *parsed.get("ignore", ()))}
    assert feeds == {said.kind}


@pytest.mark.parametrize("name", MAPPED)
def test_every_column_of_the_examples_is_mapped_or_dropped_for_a_reason(name: str) -> None:
    said = describe(SYNTHEA[name])
    assert said
    found = Coverage()
    found.add(document(name))
    assert found.report("csv", said.kind, mappers((SYNTHEA[name],)).of("csv", said.kind)).unmapped == {}


PMS = mappers(tuple(PMS_MAPPINGS.values()))


def exported(tmp_path: Path, kind: Kind, made: Mappers) -> list[dict[str, Any]]:
    """Canonical records of an export of the imaginary practice system; every column must be accounted for."""
    path, mapper, found = tmp_path / "x.csv", made.of("csv", kind), Coverage()
    assert mapper
    write_pms_csv(path, kind, 40)
    records = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            mapped = mapper.to_canonical({column: cell or None for column, cell in row.items()})
            assert mapped.problems == ()
            assert mapped.record
            records.append(mapped.record)
            found.add(row)
    assert found.report("csv", kind, mapper).unmapped == {}
    return records


def test_patients_of_the_practice_system(tmp_path: Path) -> None:
    for number, record in enumerate(exported(tmp_path, "patient", PMS)):
        who = person(number)
        assert (record["names"][0]["family"], record["birth_date"]) == (who.family, str(who.birth_date))
        assert record["phones"][0]["e164"] == who.phone
        assert record["sex"]["code"] == who.sex.upper()
        assert record["addresses"][0]["country"] == "AU"


def test_appointments_of_the_practice_system(tmp_path: Path) -> None:
    for record in exported(tmp_path, "appointment", PMS):
        assert record["patient"]["feed"] == "patient"
        assert record["practitioner"]["id"].startswith("S")
        assert record["minutes"] in (15, 30, 45)
        assert record["starts"]["utc"].endswith("Z")
    assert len(exported(tmp_path, "practitioner", PMS)) == 40
