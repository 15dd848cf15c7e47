"""Made-up files in the publishers' own formats: the project carries no real data, it generates what it tests with.

The same arguments give the same decoded bytes on every machine (a compressor of another version may pack them
differently). The sources agree with one another: articles name trials that exist in the trial files and the other
way round, and a drug's labels, products and applications carry the same identifiers.
"""

from medmirror_testing.samples.clinicaltrials import write_studies
from medmirror_testing.samples.cliniko import CLINIKO_FEEDS, write_cliniko, write_cliniko_page
from medmirror_testing.samples.fhir import write_fhir, write_fhir_lines
from medmirror_testing.samples.fhir_bundles import write_bundle
from medmirror_testing.samples.hostile import HOSTILE, write_hostile, write_huge_citation, write_huge_study
from medmirror_testing.samples.openfda import write_openfda
from medmirror_testing.samples.pms_csv import PMS_MAPPINGS, write_pms_csv
from medmirror_testing.samples.practice import write_practice
from medmirror_testing.samples.pubmed import write_pubmed

__all__ = [
    "CLINIKO_FEEDS",
    "HOSTILE",
    "PMS_MAPPINGS",
    "write_bundle",
    "write_cliniko",
    "write_cliniko_page",
    "write_fhir",
    "write_fhir_lines",
    "write_hostile",
    "write_huge_citation",
    "write_huge_study",
    "write_openfda",
    "write_pms_csv",
    "write_practice",
    "write_pubmed",
    "write_studies",
]
