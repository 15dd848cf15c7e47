"""Every real file and what must become of it: nothing in the folders may be passed over silently.

A file that no pattern names fails the test, which says what to add here.
"""

from __future__ import annotations

from fnmatch import fnmatch
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pytest

import places

DATA = places.DATA
SHOWN = "../shared/data"
SHARED = [
    pytest.mark.shared,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files: {SHOWN} is not there"),
]


class Loads(NamedTuple):
    """The file loads: so many items are in it, so many of them are deletions."""

    read: int
    deletions: int = 0


class Rejects(NamedTuple):
    """The file is read, but each of its items becomes a reject of this class whose reason holds these words."""

    read: int
    words: str
    error: str = "InvalidRecord"


class Refused(NamedTuple):
    """The file is not one of its source: it is refused with this class and a reason that holds these words."""

    words: str
    error: str = "LayoutChanged"


Verdict = Loads | Rejects | Refused

NEITHER = Refused("neither XML nor JSON")
NO_ID = Rejects(1, "has no protocolSection.identificationModule.nctId")

EXPECTED: dict[str, Verdict] = {
    "pubmed/biopython/pubmed1.xml": Loads(2),
    "pubmed/biopython/pubmed[47].xml": Loads(1),
    "pubmed/metapub_efetch/37909814.xml": Loads(
        0
    ),  # an answer of E-utilities without an article: an empty set is no error
    "pubmed/metapub_efetch/*.xml": Loads(1),
    "pubmed/netsynergy/pubmed21n1000.xml.gz": Loads(29),
    "pubmed/netsynergy/pubmed21n1001.xml.gz": Loads(37),
    "pubmed/netsynergy/pubmed21n1002.xml.gz": Loads(45),
    "pubmed/pmparser/baseline/pubmed21n1062.xml.gz": Loads(29),
    "pubmed/pmparser/baseline/pubmed23n1166.xml.gz": Loads(34),
    "pubmed/pmparser/baseline/pubmed26n1334.xml.gz": Loads(30),
    "pubmed/pmparser/inst_pubmed20n1016.xml.gz": Loads(288, 262),
    "pubmed/pmparser/testfiles_pubmed20n1016.xml.gz": Loads(953, 218),
    "pubmed/pmparser/updatefiles/pubmed21n1063.xml.gz": Loads(33),
    "pubmed/pmparser/updatefiles/pubmed23n1167.xml.gz": Loads(23),
    "pubmed/pmparser/updatefiles/pubmed26n1335.xml.gz": Loads(36, 6),
    "pubmed/pubmed-29768149.xml": Loads(1),
    "pubmed/pubmed20n0014.xml.gz": Loads(30_000),
    "pubmed/tipplerow_pubmed_sample.xml": Loads(10, 3),
    "pubmed/**.md5": Refused("XML"),
    "pubmed/dtd/*.dtd": Refused("begins like"),
    "ctgov/NCT04280705.json": Loads(1),
    "ctgov/aact/NCT*.json": Loads(1),
    "ctgov/aact/initialize_participant_flow_data.json": Loads(1),  # a study cut down, but it says which one it is
    "ctgov/aact/study_data_*.json": Rejects(1, "nctId is not NCT and eight digits"),
    "ctgov/aact/baseline_measurements_[246].json": NO_ID,
    "ctgov/aact/central_contact.json": NO_ID,
    "ctgov/aact/country.json": NO_ID,
    "ctgov/aact/design_group.json": NO_ID,
    "ctgov/aact/design_outcome.json": NO_ID,
    "ctgov/aact/detailed_description.json": NO_ID,
    "ctgov/aact/eligibility.json": NO_ID,
    "ctgov/aact/facility_contact.json": NO_ID,
    "ctgov/aact/intervention_other_name.json": NO_ID,
    "ctgov/aact/keyword.json": NO_ID,
    "ctgov/aact/overall_official.json": NO_ID,
    "ctgov/aact/responsible_party.json": NO_ID,
    "ctgov/aact/sponsor_2.json": NO_ID,
    "ctgov/api_page_nextPageToken.json": Rejects(10, "nctId is an array"),
    "ctgov/dgg32_ctg-studies.json": Loads(10),
    "ctgov/dgg32_ctg-studies5.json.gz": Loads(50),
    "ctgov/dtx_ctg-studies.json.gz": Loads(128),
    "ctgov/herniated_ctg-studies.json.gz": Loads(100),
    "ctgov/studies_metadata_v2.json": Refused("not a file of clinicaltrials"),
    "ctgov/spec/*.yaml": NEITHER,
    "openfda/drug-drugsfda_15rec_2023-11-15.json": Loads(15),
    "openfda/drug-event.preannotation.json": Loads(1),  # one report, bare: its keys are those of an event
    "openfda/drug-event_jsonForImportTest.json": Loads(1),
    "openfda/drug-label-0013-of-0013.json": Loads(15),
    "openfda/food-enforcement_api.json.gz": Loads(1_000),
    "openfda/download.json": Refused("list of downloads"),
    "openfda/harmonized.small.json": Refused("No openFDA records of a feed known here"),
    "openfda/event.sgm": Refused("XML"),
    "openfda/raw_badutf8.txt": NEITHER,
    "openfda/fields/*.yaml": NEITHER,
    "openfda/fields/*.pdf": NEITHER,
    "openfda/fields/*.xlsx": Refused("not a file of openfda"),
    "openfda/schemas/*.md": NEITHER,
    "openfda/schemas/*.json": Refused("not a file of openfda"),
    "openfda/site_examples/label__*.json": Refused("No openFDA records"),
    "openfda/site_examples/*.json": Refused("No openFDA records"),
    "pms_csv/synthea_seeds/allergies.csv": Loads(40),
    "pms_csv/synthea_seeds/claims.csv": Loads(1267),
    "pms_csv/synthea_seeds/conditions.csv": Loads(438),
    "pms_csv/synthea_seeds/encounters.csv": Loads(604),
    "pms_csv/synthea_seeds/immunizations.csv": Loads(29),
    "pms_csv/synthea_seeds/observations.csv": Loads(990),
    "pms_csv/synthea_seeds/patients.csv": Loads(27),
    "pms_csv/synthea_seeds/payers.csv": Loads(10),
    "pms_csv/synthea_seeds/providers.csv": Loads(166),
    "fhir/bulk_1000patients/AllergyIntolerance.000.ndjson": Loads(835),
    "fhir/bulk_1000patients/Device.000.ndjson.gz": Loads(2341),
    "fhir/bulk_1000patients/Location.000.ndjson": Loads(836),
    "fhir/bulk_1000patients/Organization.000.ndjson": Loads(835),
    "fhir/bulk_1000patients/Patient.000.ndjson.gz": Loads(1144),
    "fhir/bulk_1000patients/Practitioner.000.ndjson": Loads(835),
    "fhir/bulk_1000patients/PractitionerRole.000.ndjson.gz": Loads(835),
    "fhir/bulk_1000patients/log.ndjson": Loads(0),  # holds no resources, but tells when the files beside it were true
    "fhir/bulk_10patients/AllergyIntolerance.000.ndjson": Loads(11),
    "fhir/bulk_10patients/Condition.000.ndjson": Loads(555),
    "fhir/bulk_10patients/Device.000.ndjson": Loads(16),
    "fhir/bulk_10patients/DocumentReference.000.ndjson.gz": Loads(1215),
    "fhir/bulk_10patients/Encounter.000.ndjson.gz": Loads(1215),
    "fhir/bulk_10patients/Immunization.000.ndjson": Loads(161),
    "fhir/bulk_10patients/Location.000.ndjson": Loads(44),
    "fhir/bulk_10patients/MedicationRequest.000.ndjson.gz": Loads(1745),
    "fhir/bulk_10patients/Organization.000.ndjson": Loads(43),
    "fhir/bulk_10patients/Patient.000.ndjson": Loads(13),
    "fhir/bulk_10patients/Practitioner.000.ndjson": Loads(43),
    "fhir/bulk_10patients/PractitionerRole.000.ndjson": Loads(43),
    "fhir/bulk_10patients/Procedure.000.ndjson.gz": Loads(2056),
    "fhir/bulk_10patients/log.ndjson": Loads(0),  # holds no resources, but tells when the files beside it were true
    "fhir/bundles_fhir/Daniella_*.json": Loads(253),
    "fhir/bundles_fhir/Darcy_*.json": Loads(173),
    "fhir/bundles_fhir/Darwin_*.json.gz": Loads(580),
    "fhir/bundles_fhir/Dillon_*.json": Loads(217),
    "fhir/bundles_fhir/Eddy_*.json": Loads(300),
    "fhir/bundles_fhir/Erika_*.json.gz": Loads(330),
    "fhir/bundles_fhir/Gus_*.json": Loads(219),
    "fhir/bundles_fhir/Lore_*.json.gz": Loads(426),
    "fhir/bundles_fhir/Rene_*.json": Loads(364),
    "fhir/bundles_fhir/Sean_*.json.gz": Loads(743),
    "fhir/bundles_fhir/Valarie_*.json": Loads(353),
    "fhir/bundles_fhir/Wenona_*.json.gz": Loads(2176),
}


def csv_mappings() -> list[Path]:
    """The package's mapping files for the tables of pms_csv/."""
    examples = resources.files("medmirror.mapping") / "examples" / "synthea"
    return sorted(Path(str(path)) for path in examples.iterdir() if path.name.endswith(".toml"))


def named(folder: str) -> list[Path]:
    """Every file of a folder of the data, each named: a load must say something of each."""
    return sorted(path for path in (DATA / folder).rglob("*") if path.is_file())


def name(path: Path) -> str:
    return path.relative_to(DATA).as_posix()


def pattern(path: Path) -> str | None:
    """The first pattern that names the file; None when there is none."""
    return next((some for some in EXPECTED if fnmatch(name(path), some)), None)


def verdict(path: Path) -> Verdict:
    found = pattern(path)
    assert found is not None, f"{name(path)} is in no line of tests/shared/catalogue.py: say there what becomes of it"
    return EXPECTED[found]


def loading(folder: str) -> list[Path]:
    """The files of a folder that must load."""
    return [path for path in named(folder) if isinstance(verdict(path), Loads)]
