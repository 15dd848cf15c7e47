"""The results and the derived section of a study."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from medmirror_testing.samples import wordlists as words
from medmirror_testing.samples.text import pools, prose

Json = dict[str, Any]


def results_section(rng: random.Random, arms: Sequence[str], drug: str) -> Json:
    """The posted results of a trial of *drug* with these *arms*: some 25 kB."""
    sizes = [rng.randrange(20, 400) for _ in arms]
    return {
        "participantFlowModule": _flow(rng, arms, sizes),
        "baselineCharacteristicsModule": _baseline(rng, arms, sizes),
        "outcomeMeasuresModule": {
            "outcomeMeasures": [_measure(rng, arms, sizes, n) for n in range(rng.randrange(2, 14))]
        },
        "adverseEventsModule": _events(rng, arms, sizes),
        "moreInfoModule": {
            "certainAgreement": {"piSponsorEmployee": False, "restrictiveAgreement": rng.random() < 0.5},
            "pointOfContact": {
                "title": "Medical Director",
                "organization": f"{drug.capitalize()} Research Group",
                "email": "contact@example.org",
                "phone": "555-0100",
            },
        },
    }


def _groups(rng: random.Random, arms: Sequence[str], prefix: str) -> list[Json]:
    return [{"id": f"{prefix}{n:03d}", "title": arm, "description": prose(rng, 1)} for n, arm in enumerate(arms)]


def _counts(sizes: Sequence[int], prefix: str) -> list[Json]:
    return [
        {
            "units": "Participants",
            "counts": [{"groupId": f"{prefix}{n:03d}", "value": str(v)} for n, v in enumerate(sizes)],
        }
    ]


def _flow(rng: random.Random, arms: Sequence[str], sizes: Sequence[int]) -> Json:
    def achieved(share: float) -> list[Json]:
        return [{"groupId": f"FG{n:03d}", "numSubjects": str(int(v * share))} for n, v in enumerate(sizes)]

    lost = [{"groupId": f"FG{n:03d}", "numSubjects": str(v - int(v * 0.9))} for n, v in enumerate(sizes)]
    milestones = [
        {"type": kind, "achievements": achieved(share)} for kind, share in (("STARTED", 1.0), ("COMPLETED", 0.9))
    ]
    period = {
        "title": "Overall Study",
        "milestones": milestones,
        "dropWithdraws": [{"type": "Lost to Follow-up", "reasons": lost}],
    }
    return {"recruitmentDetails": prose(rng, 2), "groups": _groups(rng, arms, "FG"), "periods": [period]}


def _baseline(rng: random.Random, arms: Sequence[str], sizes: Sequence[int]) -> Json:
    def row(values: Sequence[float], spread: bool) -> list[Json]:
        return [
            {"groupId": f"BG{n:03d}", "value": f"{v:.1f}"} | ({"spread": f"{rng.random() * 20:.2f}"} if spread else {})
            for n, v in enumerate(values)
        ]

    def draw() -> list[float]:
        return [rng.random() * size for size in sizes]

    age = {
        "title": "Age, Continuous",
        "paramType": "MEAN",
        "dispersionType": "STANDARD_DEVIATION",
        "unitOfMeasure": "years",
    }
    age_class = [{"categories": [{"measurements": row([40 + rng.random() * 30 for _ in arms], True)}]}]
    sex = [{"title": name, "measurements": row(draw(), False)} for name in ("Female", "Male")]
    races = (
        "American Indian or Alaska Native",
        "Asian",
        "Black or African American",
        "White",
        "More than one race",
        "Unknown or Not Reported",
    )
    race = [{"title": name, "measurements": row(draw(), False)} for name in races]
    count = {"paramType": "COUNT_OF_PARTICIPANTS", "unitOfMeasure": "Participants"}
    return {
        "groups": _groups(rng, arms, "BG"),
        "denoms": _counts(sizes, "BG"),
        "measures": [
            age | {"classes": age_class},
            {"title": "Sex: Female, Male"} | count | {"classes": [{"categories": sex}]},
            {"title": "Race (NIH/OMB)"} | count | {"classes": [{"categories": race}]},
        ],
    }


def _measure(rng: random.Random, arms: Sequence[str], sizes: Sequence[int], n: int) -> Json:
    classes = [
        {
            "title": f"Week {week}",
            "denoms": _counts(sizes, "OG"),
            "categories": [
                {
                    "measurements": [
                        {
                            "groupId": f"OG{k:03d}",
                            "value": f"{rng.gauss(0, 10):.2f}",
                            "spread": f"{rng.random() * 9:.3f}",
                        }
                        for k in range(len(arms))
                    ]
                }
            ],
        }
        for week in (4, 12, 24)[: rng.randrange(1, 4)]
    ]
    analysis = {
        "groupIds": [f"OG{k:03d}" for k in range(min(2, len(arms)))],
        "nonInferiorityType": "SUPERIORITY",
        "pValue": rng.choice(("<0.001", f"{rng.random():.4f}", "= .05")),
        "statisticalMethod": "ANCOVA",
        "paramType": "Mean Difference (Net)",
        "paramValue": f"{rng.gauss(0, 3):.2f}",
        "ciPctValue": "95",
        "ciNumSides": "TWO_SIDED",
        "ciLowerLimit": f"{-4 - rng.random():.2f}",
        "ciUpperLimit": f"{4 + rng.random():.2f}",
    }
    return {
        "type": "PRIMARY" if not n else "SECONDARY",
        "title": f"Change From Baseline in {rng.choice(words.OUTCOMES)}",
        "description": prose(rng, 3),
        "populationDescription": prose(rng, 1),
        "reportingStatus": "POSTED",
        "paramType": "MEAN",
        "dispersionType": "Standard Deviation",
        "unitOfMeasure": "score on a scale",
        "timeFrame": "Baseline to Week 24",
        "groups": _groups(rng, arms, "OG"),
        "denoms": _counts(sizes, "OG"),
        "classes": classes,
        "analyses": [analysis],
    }


def _events(rng: random.Random, arms: Sequence[str], sizes: Sequence[int]) -> Json:
    def events(count: int) -> list[Json]:
        return [
            {
                "term": rng.choice(pools().diseases).capitalize(),
                "organSystem": "Cardiac disorders",
                "sourceVocabulary": "MedDRA (25.1)",
                "assessmentType": "SYSTEMATIC_ASSESSMENT",
                "stats": [
                    {
                        "groupId": f"EG{n:03d}",
                        "numEvents": rng.randrange(9),
                        "numAffected": rng.randrange(9),
                        "numAtRisk": size,
                    }
                    for n, size in enumerate(sizes)
                ],
            }
            for _ in range(count)
        ]

    groups = [
        group
        | {
            "deathsNumAffected": 0,
            "deathsNumAtRisk": size,
            "seriousNumAffected": 2,
            "seriousNumAtRisk": size,
            "otherNumAffected": 9,
            "otherNumAtRisk": size,
        }
        for group, size in zip(_groups(rng, arms, "EG"), sizes, strict=True)
    ]
    return {
        "frequencyThreshold": "5",
        "timeFrame": "Through Week 24",
        "eventGroups": groups,
        "seriousEvents": events(rng.randrange(1, 20)),
        "otherEvents": events(rng.randrange(3, 40)),
    }


def derived_section(rng: random.Random, disease: str, drug: str) -> Json:
    """The part that the registry works out: the headings of *disease* and *drug* and their ancestors."""

    def browse(name: str, letter: str, abbreviation: str, branch: str) -> Json:
        own = rng.randrange(10**6)
        others = rng.choices(pools().headings, k=rng.randrange(2, 9))
        leaves = [{"id": f"M{own % 30_000}", "name": name.capitalize(), "asFound": name, "relevance": "HIGH"}]
        leaves += [{"id": f"M{int(h.ui[1:]) % 30_000}", "name": h.name, "relevance": "LOW"} for h in others]
        return {
            "meshes": [{"id": f"{letter}{own:06d}", "term": name.capitalize()}],
            "ancestors": [{"id": h.ui, "term": h.name} for h in others],
            "browseLeaves": leaves,
            "browseBranches": [{"abbrev": abbreviation, "name": branch}, {"abbrev": "All", "name": "All Conditions"}],
        }

    misc: Json = {"versionHolder": "2026-01-23"}
    if rng.random() < 0.1:
        misc["modelPredictions"] = {"bmiLimits": {"minBmi": 0.0, "maxBmi": 101.0}}
    if rng.random() < 0.02:
        misc["removedCountries"] = ["Swaziland"]
    return {
        "miscInfoModule": misc,
        "conditionBrowseModule": browse(disease, "D", "BC14", "Heart and Blood Diseases"),
        "interventionBrowseModule": browse(drug, "C", "Infl", "Anti-Inflammatory Agents"),
    }
