"""One study as the API of ClinicalTrials.gov (v2) gives it."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

from medmirror_testing.samples import wordlists as words
from medmirror_testing.samples.results import derived_section, results_section
from medmirror_testing.samples.text import FIRST_PMID, article_of, nct_id, paragraph, pools, prose, statistic

Json = dict[str, Any]
_STATUSES = [
    "COMPLETED",
    "RECRUITING",
    "UNKNOWN",
    "TERMINATED",
    "NOT_YET_RECRUITING",
    "ACTIVE_NOT_RECRUITING",
    "WITHDRAWN",
    "SUSPENDED",
]
_PHASES = (
    ["NA"],
    ["PHASE2"],
    ["PHASE3"],
    ["PHASE1"],
    ["PHASE1", "PHASE2"],
    ["PHASE4"],
    ["EARLY_PHASE1"],
    ["PHASE2", "PHASE3"],
)
_KINDS = [
    "DRUG",
    "DEVICE",
    "BIOLOGICAL",
    "PROCEDURE",
    "RADIATION",
    "BEHAVIORAL",
    "DIETARY_SUPPLEMENT",
    "COMBINATION_PRODUCT",
    "DIAGNOSTIC_TEST",
    "OTHER",
]
_CLASSES = ["OTHER", "INDUSTRY", "NIH", "OTHER_GOV", "NETWORK", "FED", "INDIV", "UNKNOWN"]
_TODAY = date(2026, 1, 24)


def study(ordinal: int, *, seed: int, revision: int = 0, locations: int | None = None) -> Json:
    """The trial with this *ordinal*; a *revision* above 0 is a later version of it. *locations* sets their number."""
    rng = random.Random((seed << 44) ^ (ordinal << 8) ^ 3)
    start = _TODAY - timedelta(days=rng.randrange(-200, 8_000))
    disease, drug = rng.choice(pools().diseases[:400]), rng.choice(pools().drugs)
    observational = rng.random() < 0.23
    with_results = (not observational and rng.random() < 0.14) or ordinal % 50 == 2
    arms = _arms(rng, drug)
    protocol = {
        "identificationModule": _identification(rng, ordinal, drug, disease, revision),
        "statusModule": _status(rng, start, with_results, revision),
        "sponsorCollaboratorsModule": _sponsors(rng),
        "oversightModule": {
            "oversightHasDmc": rng.random() < 0.5,
            "isFdaRegulatedDrug": rng.random() < 0.4,
            "isFdaRegulatedDevice": rng.random() < 0.1,
        },
        "descriptionModule": _description(rng, revision),
        "conditionsModule": _conditions(rng, disease),
        "designModule": _design(rng, observational),
        "armsInterventionsModule": arms,
        "outcomesModule": _outcomes(rng),
        "eligibilityModule": _eligibility(rng),
        "contactsLocationsModule": _contacts(rng, locations),
        "referencesModule": _references(rng, ordinal),
    }
    if rng.random() < 0.5:
        protocol["ipdSharingStatementModule"] = {
            "ipdSharing": rng.choice(("NO", "YES", "UNDECIDED")),
            "description": prose(rng, 1),
        }
    whole: Json = {"protocolSection": {name: module for name, module in protocol.items() if module}}
    if with_results:
        whole["resultsSection"] = results_section(rng, [arm["label"] for arm in arms["armGroups"]], drug)
    if rng.random() < 0.02:
        event = {"type": "RELEASE", "date": "2024-05-29", "dateUnknown": False}
        whole["annotationSection"] = {"annotationModule": {"unpostedAnnotation": {"unpostedEvents": [event]}}}
    if rng.random() < 0.1 or with_results:
        whole["documentSection"] = {"largeDocumentModule": {"largeDocs": [_document(rng)]}}
    whole["derivedSection"] = derived_section(rng, disease, drug)
    whole["hasResults"] = with_results
    return whole


def _identification(rng: random.Random, ordinal: int, drug: str, disease: str, revision: int) -> Json:
    title = f"{drug.capitalize()} for {disease} in {rng.choice(words.POPULATIONS)}"
    if revision:
        title += f" (Amendment {revision})"
    module: Json = {"nctId": nct_id(ordinal)}
    if rng.random() < 0.02:
        module["nctIdAliases"] = [f"NCT{5_900_000 + ordinal % 90_000:08d}"]
    module["orgStudyIdInfo"] = {"id": f"{drug[:3].upper()}-{rng.randrange(1000):03d}-{rng.randrange(100):02d}"}
    if rng.random() < 0.3:
        module["secondaryIdInfos"] = [{"id": f"2024-{rng.randrange(10**6):06d}-17", "type": "EUDRACT_NUMBER"}]
    module["organization"] = {"fullName": _place(rng), "class": rng.choice(_CLASSES)}
    module["briefTitle"] = title
    module["officialTitle"] = (
        f"A Study to Evaluate the Effect of {title}: {rng.choice(words.METHODS)} measuring {rng.choice(words.OUTCOMES)}"
    )
    if rng.random() < 0.25:
        module["acronym"] = f"{drug[:4].upper()}-{disease[:2].upper()}"
    return module


def _status(rng: random.Random, start: date, with_results: bool, revision: int) -> Json:
    end = start + timedelta(days=rng.randrange(60, 2_500))
    first = start - timedelta(days=rng.randrange(-60, 120))
    last = max(first, min(end, _TODAY)) + timedelta(days=rng.randrange(30))
    if revision:
        last = _TODAY + timedelta(days=40 + revision)
    module: Json = {
        "statusVerifiedDate": f"{last:%Y-%m}",
        "overallStatus": rng.choices(_STATUSES, (50, 14, 13, 6, 5, 5, 3, 1))[0],
        "expandedAccessInfo": {"hasExpandedAccess": rng.random() < 0.02},
        "startDateStruct": {"date": _loose(rng, start), "type": "ACTUAL" if start < _TODAY else "ESTIMATED"},
        "primaryCompletionDateStruct": {
            "date": _loose(rng, end - timedelta(days=30)),
            "type": "ACTUAL" if end < _TODAY else "ESTIMATED",
        },
        "completionDateStruct": {"date": _loose(rng, end), "type": "ACTUAL" if end < _TODAY else "ESTIMATED"},
        "studyFirstSubmitDate": first.isoformat(),
        "studyFirstSubmitQcDate": (first + timedelta(days=6)).isoformat(),
        "studyFirstPostDateStruct": {
            "date": (first + timedelta(days=9)).isoformat(),
            "type": "ACTUAL" if first.year > 2016 else "ESTIMATED",
        },
    }
    if module["overallStatus"] in ("TERMINATED", "WITHDRAWN", "SUSPENDED"):
        module["whyStopped"] = "Slow recruitment & lack of funding"
    if module["overallStatus"] == "UNKNOWN":
        module["lastKnownStatus"] = "RECRUITING"
    if with_results:
        module["resultsFirstSubmitDate"] = (end + timedelta(days=300)).isoformat()
        module["resultsFirstSubmitQcDate"] = (end + timedelta(days=320)).isoformat()
        module["resultsFirstPostDateStruct"] = {"date": (end + timedelta(days=330)).isoformat(), "type": "ACTUAL"}
    module["lastUpdateSubmitDate"] = last.isoformat()
    module["lastUpdatePostDateStruct"] = {"date": (last + timedelta(days=3)).isoformat(), "type": "ACTUAL"}
    return module


def _loose(rng: random.Random, day: date) -> str:
    return f"{day:%Y-%m}" if rng.random() < 0.28 else day.isoformat()


def _place(rng: random.Random) -> str:
    return rng.choice(words.INSTITUTES) % rng.choice(words.CITIES)[0]


def _person(rng: random.Random) -> str:
    return f"{rng.choice(pools().forenames)} {rng.choice(pools().surnames)}"


def _sponsors(rng: random.Random) -> Json:
    module: Json = {
        "responsibleParty": {"type": "SPONSOR"},
        "leadSponsor": {"name": _place(rng), "class": rng.choice(_CLASSES)},
    }
    if rng.random() < 0.4:
        module["responsibleParty"] = {
            "type": "PRINCIPAL_INVESTIGATOR",
            "investigatorFullName": _person(rng),
            "investigatorTitle": "Professor",
            "investigatorAffiliation": module["leadSponsor"]["name"],
        }
    if rng.random() < 0.35:
        module["collaborators"] = [
            {"name": _place(rng), "class": rng.choice(_CLASSES)} for _ in range(rng.randrange(1, 4))
        ]
    return module


def _description(rng: random.Random, revision: int) -> Json:
    module = {"briefSummary": paragraph(rng, "background", rng.randrange(2, 6))}
    if revision:
        module["briefSummary"] += " " + statistic(random.Random(revision))
    if rng.random() < 0.65:
        items = "\n".join(f"* {prose(rng, 2)}" for _ in range(rng.randrange(3)))
        module["detailedDescription"] = (
            f"{prose(rng, rng.randrange(4, 22))}\n\n{items}\n\nFollow-up > 12 weeks; dose \\< 10 mg/kg “as tolerated”."
        )
    return module


def _conditions(rng: random.Random, disease: str) -> Json:
    names = [
        disease.title(),
        *(d.capitalize() for d in rng.choices(pools().diseases, k=int(rng.paretovariate(1.3)) - 1)),
    ]
    module = {"conditions": names[:12]}
    if rng.random() < 0.7:
        module["keywords"] = rng.choices(pools().terms, k=rng.randrange(1, 8))
    return module


def _design(rng: random.Random, observational: bool) -> Json:
    count = {"count": int(rng.lognormvariate(4.3, 1.4)), "type": rng.choice(("ACTUAL", "ESTIMATED"))}
    if observational:
        info: Json = {"observationalModel": "COHORT", "timePerspective": rng.choice(("PROSPECTIVE", "RETROSPECTIVE"))}
        return {"studyType": "OBSERVATIONAL", "patientRegistry": False, "designInfo": info, "enrollmentInfo": count}
    masking: Json = {"masking": rng.choice(("NONE", "SINGLE", "DOUBLE", "TRIPLE", "QUADRUPLE"))}
    if masking["masking"] != "NONE":
        masking["whoMasked"] = ["PARTICIPANT", "INVESTIGATOR"]
    info = {
        "allocation": rng.choice(("RANDOMIZED", "NON_RANDOMIZED", "NA")),
        "interventionModel": rng.choice(("PARALLEL", "SINGLE_GROUP", "CROSSOVER")),
        "primaryPurpose": rng.choice(("TREATMENT", "PREVENTION", "DIAGNOSTIC")),
        "maskingInfo": masking,
    }
    return {"studyType": "INTERVENTIONAL", "phases": rng.choice(_PHASES), "designInfo": info, "enrollmentInfo": count}


def _arms(rng: random.Random, drug: str) -> Json:
    kind = rng.choices(_KINDS, (50, 12, 8, 10, 2, 10, 4, 1, 2, 8))[0]
    doses = [f"{drug.capitalize()} {5 * 2**n} mg" for n in range(rng.randrange(1, 4))]
    names = [*doses, "Placebo"] if len(doses) < 3 else doses
    label = kind.replace("_", " ").title()
    groups = [
        {
            "label": f"Arm {chr(65 + n)}: {name}",
            "type": "PLACEBO_COMPARATOR" if name == "Placebo" else "EXPERIMENTAL",
            "description": prose(rng, rng.randrange(1, 4)),
            "interventionNames": [f"{label}: {name}"],
        }
        for n, name in enumerate(names)
    ]
    interventions: list[Json] = [
        {
            "type": kind,
            "name": name,
            "description": prose(rng, rng.randrange(1, 3)),
            "armGroupLabels": [groups[n]["label"]],
        }
        for n, name in enumerate(names)
    ]
    if rng.random() < 0.3:
        interventions[0]["otherNames"] = [f"{drug[:3].upper()}-{rng.randrange(1000)}", drug]
    return {"armGroups": groups, "interventions": interventions}


def _outcomes(rng: random.Random) -> Json:
    def outcomes(count: int) -> list[Json]:
        return [
            {
                "measure": f"Change From Baseline in {rng.choice(words.OUTCOMES)} ({rng.choice(pools().terms)})",
                "description": prose(rng, rng.randrange(1, 4)),
                "timeFrame": f"Baseline to Week {rng.randrange(2, 104)}",
            }
            for _ in range(count)
        ]

    module = {
        "primaryOutcomes": outcomes(rng.randrange(1, 3)),
        "secondaryOutcomes": outcomes(int(rng.gammavariate(1.5, 4))),
    }
    if rng.random() < 0.1:
        module["otherOutcomes"] = outcomes(rng.randrange(1, 6))
    return {name: value for name, value in module.items() if value}


def _eligibility(rng: random.Random) -> Json:
    inside, outside = (
        "\n".join(f"* {s}" for s in rng.choices(pools().sentences["methods"], k=rng.randrange(3, 14))) for _ in range(2)
    )
    return {
        "eligibilityCriteria": f"Inclusion Criteria:\n\n{inside}\n\nExclusion Criteria:\n\n{outside}",
        "healthyVolunteers": rng.random() < 0.25,
        "sex": rng.choice(("ALL", "ALL", "ALL", "FEMALE", "MALE")),
        "minimumAge": "18 Years",
        "stdAges": ["ADULT", "OLDER_ADULT"],
    }


def _contacts(rng: random.Random, locations: int | None) -> Json:
    count = int(rng.paretovariate(0.9)) if rng.random() < 0.9 else 0
    module: Json = {}
    if rng.random() < 0.3:
        module["centralContacts"] = [_contact(rng)]
    if rng.random() < 0.7:
        module["overallOfficials"] = [
            {"name": f"{_person(rng)}, MD", "affiliation": _place(rng), "role": "PRINCIPAL_INVESTIGATOR"}
        ]
    places = [_location(rng) for _ in range(min(count, 300) if locations is None else locations)]
    if places:
        module["locations"] = places
    return module


def _contact(rng: random.Random) -> Json:
    number = rng.randrange(10**7)
    return {
        "name": _person(rng),
        "role": "CONTACT",
        "phone": f"+1-555-{number:07d}",
        "email": f"trial{number % 9999}@example.org",
    }


def _location(rng: random.Random) -> Json:
    city, country = rng.choice(words.CITIES)
    town, _, state = city.partition(", ")
    place: Json = {"facility": _place(rng)}
    if rng.random() < 0.4:
        place["status"] = rng.choice(("RECRUITING", "COMPLETED", "WITHDRAWN"))
    place["city"] = town
    if state:
        place["state"] = state
    place["zip"] = f"{rng.randrange(100_000):05d}"
    place["country"] = country
    if rng.random() < 0.15:
        place["contacts"] = [_contact(rng)]
    if rng.random() < 0.96:
        place["geoPoint"] = {"lat": round(rng.uniform(-55, 65), 5), "lon": round(rng.uniform(-170, 170), 5)}
    return place


def _references(rng: random.Random, ordinal: int) -> Json:
    references: list[Json] = []
    if ordinal % 2 == 0:
        references.append(
            {"pmid": str(article_of(ordinal)), "type": rng.choice(("RESULT", "DERIVED")), "citation": _cited(rng)}
        )
    if rng.random() < 0.35:
        for _ in range(rng.randrange(1, 12)):
            reference: Json = {"type": "BACKGROUND", "citation": _cited(rng)}
            if rng.random() < 0.9:
                reference = {"pmid": str(FIRST_PMID + rng.randrange(30_000))} | reference
            references.append(reference)
    module: Json = {"references": references} if references else {}
    if rng.random() < 0.1:
        module["seeAlsoLinks"] = [{"label": "Study page", "url": f"https://example.org/trials/{ordinal}"}]
    return module


def _cited(rng: random.Random) -> str:
    return rng.choice(pools().references) % (1990 + rng.randrange(36))


def _document(rng: random.Random) -> Json:
    return {
        "typeAbbrev": "Prot_SAP",
        "hasProtocol": True,
        "hasSap": True,
        "hasIcf": False,
        "label": "Study Protocol and Statistical Analysis Plan",
        "date": "2021-11-03",
        "uploadDate": "2024-09-19T10:12",
        "filename": "Prot_SAP_000.pdf",
        "size": rng.randrange(10**5, 10**7),
    }
