"""Which references of a resource stay on its own server, and which name a record of another place."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from medmirror.sources.fhir.places import base_of, export_base, localised

OWN = "https://ehr.example.org/r4/Appointment/9"


def told(reference: str, url: str | None = OWN) -> str:
    """The reference as mapping reads it, wherever it stands in a resource."""
    resource: dict[str, Any] = {"participant": [{"actor": {"reference": reference, "display": "x"}}], "reference": {}}
    (participant,) = localised(copy.deepcopy(resource), url)["participant"]
    return str(participant["actor"]["reference"])


@pytest.mark.parametrize(
    "reference",
    ["https://ehr.example.org/r4/Patient/21", "http://ehr.example.org/r4/Patient/21", "https://EHR.example.org:443/r4/Patient/21",
     "HTTPS://ehr.example.org//r4///Patient/21/", "http://ehr.example.org:80/r4/Patient/21", "https://ehr.example.org./r4/Patient/21",
     "https://u:p@ehr.example.org/r4/Patient/21", "https://ehr.example.org/r4/Patient/21?_format=json"],
)  # fmt: skip
@pytest.mark.parametrize(
    "url", [OWN, "http://ehr.example.org/r4/Appointment/9/_history/3", "https://ehr.example.org:443/r4//Appointment/9/"]
)
def test_an_absolute_reference_to_the_own_server_is_relative(reference: str, url: str) -> None:
    assert told(reference, url).removesuffix("?_format=json") == "Patient/21"


@pytest.mark.parametrize(
    "reference",
    ["https://other.example.net/fhir/Patient/21", "https://ehr.example.org/stu3/Patient/21", "https://ehr.example.org:8443/r4/Patient/21",
     "https://ehr.example.org.evil.example/r4/Patient/21", "https://ehr.example.org/r4x/Patient/21", "https://ehr.example.org/Patient/21",
     "https://ehr.example.org/r4/tenant/Patient/21", "https://other.example.net/https://ehr.example.org/r4/Patient/21",
     "https://other.example.net?x=https://ehr.example.org/r4/Patient/21", "//ehr.example.org/r4/Patient/21",
     "https://[broken/r4/Patient/21", "urn:uuid:21", "#21", "Patient/21"],
)  # fmt: skip
def test_every_other_reference_stays_as_it_is(reference: str) -> None:
    assert told(reference) == reference


@pytest.mark.parametrize("url", [None, "", "urn:uuid:9", "Appointment/9", "https://ehr.example.org/", "no url"])
def test_without_a_known_base_no_absolute_reference_is_ours(url: str | None) -> None:
    assert base_of(url) is None
    assert told("https://ehr.example.org/r4/Patient/21", url) == "https://ehr.example.org/r4/Patient/21"


def test_versions_and_searches_of_the_own_server_stay_what_they_are() -> None:
    assert told("https://ehr.example.org/r4/Patient/21/_history/2") == "Patient/21/_history/2"
    assert told("https://ehr.example.org/r4/Patient?identifier=x|1") == "Patient?identifier=x|1"
    assert told("https://ehr.example.org/Patient/1", "https://ehr.example.org/Patient/2") == "Patient/1"


@pytest.mark.parametrize("level", ["", "/Patient", "/Group/7"])
def test_the_base_of_an_export_is_that_of_its_request(level: str) -> None:
    request = f"https://ehr.example.org/r4{level}/$export?_type=Patient"
    assert export_base(request) == "https://ehr.example.org/r4"
    assert export_base("https://ehr.example.org/r4/bulk/7") is None
