"""Resources and views, compared with a reading of the same files by the standard library."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import catalogue
import json_reading
import psycopg
import pytest
from json_reading import at
from psycopg.rows import dict_row

from medmirror.ingest.run import LoadResult
from medmirror.mapping import mappers
from medmirror.mapping.coverage import Coverage

pytestmark = catalogue.SHARED

Key = tuple[str, str]
Resource = dict[str, Any]
Loaded = tuple[str, LoadResult]
ALL = {"options": "-c medmirror.organization=*"}


def resources(path: Path) -> Iterator[Resource]:
    """Every resource of a file."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if ".ndjson" in path.name:
        yield from (json_reading.parse(line) for line in raw.splitlines())
    else:
        yield from (entry["resource"] for entry in json_reading.parse(raw)["entry"])


@pytest.fixture(scope="module")
def newest() -> dict[Key, list[Resource]]:
    """By type and id the newest copies of each resource: those of the exports, whose logs say when, before others."""
    copies: defaultdict[Key, list[tuple[bool, Resource]]] = defaultdict(list)
    for path in catalogue.loading("fhir"):
        for one in resources(path):
            if "resourceType" in one:
                copies[one["resourceType"], one["id"]].append(("bulk" in path.parent.name, one))
    best = {key: any(dated for dated, _ in some) for key, some in copies.items()}
    return {key: [one for dated, one in some if dated == best[key]] for key, some in copies.items()}


def test_each_resource_equals_the_input_value_for_value(fhir: Loaded, newest: dict[Key, list[Resource]]) -> None:
    with psycopg.connect(fhir[0], **ALL) as connection:
        rows = {
            (kind, name): json_reading.parse(found)
            for kind, name, found in connection.execute("SELECT resource_type, id, resource::text FROM fhir.resource")
        }
    assert rows.keys() == newest.keys()
    wrong = [key for key, some in newest.items() if not any(json_reading.same(rows[key], one) for one in some)]
    assert wrong == []


@pytest.fixture(scope="module")
def identified(newest: dict[Key, list[Resource]]) -> dict[tuple[str, str, str], str]:
    """(type, system, value) to the id of the resource that has this identifier."""
    return {
        (kind, said.get("system", ""), said["value"]): name
        for (kind, name), some in newest.items()
        if kind in ("Practitioner", "Organization", "Location")
        for said in some[0].get("identifier", ())
    }


def target(reference: Resource | None, kind: str, identified: dict[tuple[str, str, str], str]) -> str | None:
    """The id of what a reference points to."""
    said = at(reference, "reference")
    if said is None:
        named = at(reference, "identifier")
        return identified.get((kind, named["system"], named["value"])) if named else None
    if said.startswith("urn:uuid:"):
        return str(said.removeprefix("urn:uuid:"))
    head, search, query = said.partition("?identifier=")
    if search:
        assert head == kind
        system, _, value = query.partition("|")
        return identified[kind, system, value]
    assert head.startswith(f"{kind}/")
    return str(head.removeprefix(f"{kind}/"))


def first(value: Any, *path: str) -> Any:
    """What is at the end of *path*; of an array on the way its first element."""
    for step in path:
        value = value[0] if isinstance(value, list) else value
        value = value.get(step) if isinstance(value, dict) else None
    return value[0] if isinstance(value, list) else value


REFERENCES = {
    "encounter": {
        "patient_id": ("Patient", ("subject",)),
        "practitioner_id": ("Practitioner", ("participant", "individual")),
        "location_id": ("Location", ("location", "location")),
        "service_provider_id": ("Organization", ("serviceProvider",)),
    },
    "condition": {"patient_id": ("Patient", ("subject",)), "encounter_id": ("Encounter", ("encounter",))},
    "medication_request": {
        "patient_id": ("Patient", ("subject",)),
        "encounter_id": ("Encounter", ("encounter",)),
        "requester_id": ("Practitioner", ("requester",)),
    },
    "document_reference": {
        "patient_id": ("Patient", ("subject",)),
        "author_id": ("Practitioner", ("author",)),
        "custodian_id": ("Organization", ("custodian",)),
        "encounter_id": ("Encounter", ("context", "encounter")),
    },
    "practitioner_role": {
        "practitioner_id": ("Practitioner", ("practitioner",)),
        "service_organization_id": ("Organization", ("organization",)),
    },
    "location": {"managing_organization_id": ("Organization", ("managingOrganization",))},
}
KINDS = {
    "encounter": "Encounter",
    "condition": "Condition",
    "medication_request": "MedicationRequest",
    "document_reference": "DocumentReference",
    "practitioner_role": "PractitionerRole",
    "location": "Location",
}


def view(dsn: str, name: str) -> dict[str, dict[str, Any]]:
    with psycopg.connect(dsn, row_factory=dict_row, **ALL) as connection:
        connection.execute("SET timezone = 'UTC'")
        return {row["id"]: row for row in connection.execute(f"SELECT * FROM fhir.{name}")}  # noqa: S608


@pytest.mark.parametrize("name", REFERENCES)
def test_every_reference_is_resolved(
    name: str, fhir: Loaded, newest: dict[Key, list[Resource]], identified: dict[tuple[str, str, str], str]
) -> None:
    rows = view(fhir[0], name)
    wanted = {key[1]: some for key, some in newest.items() if key[0] == KINDS[name]}
    assert rows.keys() == wanted.keys()
    wrong = [
        (key, column)
        for key, some in wanted.items()
        for column, (kind, path) in REFERENCES[name].items()
        if rows[key][column] not in [target(first(one, *path), kind, identified) for one in some]
    ]
    assert wrong == []
    assert all(any(row[column] for row in rows.values()) for column in REFERENCES[name])


def test_times_and_codes_of_encounters_are_what_the_files_say(fhir: Loaded, newest: dict[Key, list[Resource]]) -> None:
    rows = view(fhir[0], "encounter")
    for (kind, name), some in newest.items():
        if kind != "Encounter":
            continue
        row, one = rows[name], some[0]
        assert row["starts"] == one["period"]["start"]
        assert row["starts_from"] == datetime.fromisoformat(one["period"]["start"])
        assert row["starts_from"].utcoffset() == timedelta(0)
        assert row["ends_from"] == datetime.fromisoformat(one["period"]["end"])
        assert (row["status"], row["class"]) == (one["status"], one["class"]["code"])
        assert row["type"] == first(one, "type", "text")


def test_patients_are_what_the_files_say(fhir: Loaded, newest: dict[Key, list[Resource]]) -> None:
    rows = view(fhir[0], "patient")
    for (kind, name), some in newest.items():
        if kind != "Patient":
            continue
        row, one = rows[name], some[0]
        official = next(said for said in one["name"] if said["use"] == "official")
        assert (row["family"], row["given"]) == (official["family"], official["given"])
        assert row["birth_day"].isoformat() == row["birth_date"] == one["birthDate"]
        assert row["deceased"] == ("deceasedDateTime" in one)
        assert (row["city"], row["post_code"]) == (one["address"][0]["city"], one["address"][0].get("postalCode"))


def test_all_but_contained_resources_can_be_followed(fhir: Loaded) -> None:
    with psycopg.connect(fhir[0], **ALL) as connection:
        query = "SELECT count(*), count(target), count(*) FILTER (WHERE reference LIKE '#%') FROM fhir.link"
        links, resolved, contained = connection.execute(query).fetchone() or (0, 0, 0)
    assert links > 40_000
    assert links == resolved + contained


def test_nothing_of_it_is_whole_without_a_manifest(fhir: Loaded) -> None:
    [certificate] = fhir[1].certificates["fhir"]
    assert (certificate.whole, certificate.seen) == (False, fhir[1].read)


def test_every_field_of_the_files_is_mapped_or_left_out_for_a_reason(newest: dict[Key, list[Resource]]) -> None:
    seen: defaultdict[str, Coverage] = defaultdict(Coverage)
    problems: Counter[tuple[str, str, str]] = Counter()
    some = mappers()
    for (kind, _), copies in newest.items():
        for one in copies:
            seen[kind].add(one)
            if mapper := some.of("fhir", kind):
                problems.update((kind, *problem) for problem in mapper.to_canonical(one).problems)
    reports = {
        kind: found.report("fhir", kind, some.of("fhir", kind), some.ignored.get(("fhir", kind)))
        for kind, found in seen.items()
    }
    assert {kind: report.unmapped for kind, report in reports.items() if report.unmapped} == {}
    assert len(reports) == 20
    assert problems == Counter()
