"""ClinicalTrials.gov studies read a second time: the columns and views of sql/sources/clinicaltrials.sql."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import json_reading
from json_reading import at, day, each, once

Study = dict[str, Any]
Row = tuple[Any, ...]


def studies(path: Path) -> list[Study]:
    """The studies of an array, a page of the API, or a bare study."""
    value = json_reading.read(path)
    if isinstance(value, list):
        return value
    found: list[Study] = value.get("studies", [value])
    return found


def nct_id(study: Study) -> str:
    found: str = at(study, "protocolSection", "identificationModule", "nctId")
    return found


def version(study: Study) -> tuple[str, str, int]:
    """What makes one copy newer than another: last posted update, data release, number of modules."""
    return (
        at(study, "protocolSection", "statusModule", "lastUpdatePostDateStruct", "date") or "",
        at(study, "derivedSection", "miscInfoModule", "versionHolder") or "",
        sum(len(section) for section in study.values() if isinstance(section, dict)),
    )


def columns(study: Study) -> dict[str, Any]:
    """The value of every column but `study`."""
    protocol = study.get("protocolSection", {})
    who, status = protocol.get("identificationModule", {}), protocol.get("statusModule", {})
    design, eligible = protocol.get("designModule", {}), protocol.get("eligibilityModule", {})
    sponsor = at(protocol, "sponsorCollaboratorsModule", "leadSponsor")

    def when(name: str) -> str | None:
        found: str | None = at(status, f"{name}DateStruct", "date")
        return found

    return {
        "nct_id": nct_id(study),
        "deleted": False,
        "brief_title": who.get("briefTitle"),
        "official_title": who.get("officialTitle"),
        "acronym": who.get("acronym"),
        "org_study_id": at(who, "orgStudyIdInfo", "id"),
        "nct_id_aliases": who.get("nctIdAliases"),
        "secondary_ids": each(who.get("secondaryIdInfos"), "id"),
        "overall_status": status.get("overallStatus"),
        "why_stopped": status.get("whyStopped"),
        "study_type": design.get("studyType"),
        "phases": design.get("phases"),
        "enrollment": at(design, "enrollmentInfo", "count"),
        "enrollment_type": at(design, "enrollmentInfo", "type"),
        "start_date": when("start"),
        "start_day": day(when("start")),
        "primary_completion_date": when("primaryCompletion"),
        "primary_completion_day": day(when("primaryCompletion")),
        "completion_date": when("completion"),
        "completion_day": day(when("completion")),
        "first_posted": day(when("studyFirstPost")),
        "results_first_posted": day(when("resultsFirstPost")),
        "last_update_posted": day(when("lastUpdatePost")),
        "has_results": study.get("hasResults"),
        "lead_sponsor": at(sponsor, "name"),
        "lead_sponsor_class": at(sponsor, "class"),
        "conditions": at(protocol, "conditionsModule", "conditions"),
        "keywords": at(protocol, "conditionsModule", "keywords"),
        "interventions": each(at(protocol, "armsInterventionsModule", "interventions"), "name") or None,
        "countries": once(each(at(protocol, "contactsLocationsModule", "locations"), "country")),
        "pmids": once(each(at(protocol, "referencesModule", "references"), "pmid")),
        "sex": eligible.get("sex"),
        "minimum_age": eligible.get("minimumAge"),
        "maximum_age": eligible.get("maximumAge"),
    }


def _items(study: Study, module: str, name: str) -> Iterator[tuple[int, Any]]:
    return iter(enumerate(at(study, "protocolSection", module, name) or (), start=1))


def location(study: Study) -> Iterator[Row]:
    for position, one in _items(study, "contactsLocationsModule", "locations"):
        names = [one.get(key) for key in ("facility", "status", "city", "state", "zip", "country")]
        point = [None if (given := at(one, "geoPoint", key)) is None else float(given) for key in ("lat", "lon")]
        yield position, *names, *point, one.get("contacts")


def condition(study: Study) -> Iterator[Row]:
    yield from _items(study, "conditionsModule", "conditions")


def intervention(study: Study) -> Iterator[Row]:
    for position, one in _items(study, "armsInterventionsModule", "interventions"):
        labels, others = one.get("armGroupLabels", []), one.get("otherNames", [])
        yield position, one.get("type"), one.get("name"), one.get("description"), labels, others


def arm_group(study: Study) -> Iterator[Row]:
    for position, one in _items(study, "armsInterventionsModule", "armGroups"):
        yield position, one.get("label"), one.get("type"), one.get("description"), one.get("interventionNames", [])


def outcome(study: Study) -> Iterator[Row]:
    for kind in ("primary", "secondary", "other"):
        for position, one in _items(study, "outcomesModule", f"{kind}Outcomes"):
            yield kind, position, one.get("measure"), one.get("description"), one.get("timeFrame")


def sponsor(study: Study) -> Iterator[Row]:
    lead = at(study, "protocolSection", "sponsorCollaboratorsModule", "leadSponsor")
    if lead:
        yield 0, "lead", lead.get("name"), lead.get("class")
    for position, one in _items(study, "sponsorCollaboratorsModule", "collaborators"):
        yield position, "collaborator", one.get("name"), one.get("class")


def reference(study: Study) -> Iterator[Row]:
    for position, one in _items(study, "referencesModule", "references"):
        pmid = one.get("pmid")
        yield position, int(pmid) if pmid else None, one.get("type"), one.get("citation"), one.get("retractions")


VIEWS: dict[str, tuple[str, Callable[[Study], Iterator[Row]]]] = {
    "location": (
        "position, facility, status, city, state, zip, country, latitude, longitude, contacts",
        location,
    ),
    "condition": ("position, condition", condition),
    "intervention": ("position, type, name, description, arm_group_labels, other_names", intervention),
    "arm_group": ("position, label, type, description, intervention_names", arm_group),
    "outcome": ("type, position, measure, description, time_frame", outcome),
    "sponsor": ("position, role, name, class", sponsor),
    "reference": ("position, pmid, type, citation, retractions", reference),
}
