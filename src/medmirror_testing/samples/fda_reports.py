"""Reports about drugs: adverse events, recalls and shortages."""

from __future__ import annotations

import random
from typing import Any

from medmirror_testing.samples.fda_products import openfda, product
from medmirror_testing.samples.text import pools, prose

Json = dict[str, Any]


def event(ordinal: int, *, seed: int, revision: int = 0) -> Json:
    """A record of drug/event. Every 50th has an old report number (``1234567-8``) and no version."""
    rng = random.Random((seed << 44) ^ (ordinal << 8) ^ 16)
    number, day = 10_000_000 + ordinal, _day(rng)
    record: Json = {"safetyreportversion": str(1 + rng.randrange(4) + revision), "safetyreportid": str(number)}
    if ordinal % 50 == 7:
        record = {"safetyreportid": f"{4_000_000 + ordinal}-{ordinal % 10}"}
    record |= {
        "primarysourcecountry": rng.choice(("US", "US", "GB", "JP", "DE", "FR")),
        "occurcountry": "US",
        "transmissiondateformat": "102",
        "transmissiondate": "20260121",
        "reporttype": str(1 + rng.randrange(3)),
        "serious": str(1 + rng.randrange(2)),
        "receivedateformat": "102",
        "receivedate": day,
        "receiptdateformat": "102",
        "receiptdate": "20260119" if revision else day,
        "fulfillexpeditecriteria": "1",
        "companynumb": f"US-EXAMPLE-{number}",
        "primarysource": {"reportercountry": "US", "qualification": str(1 + rng.randrange(5))},
        "sender": {"sendertype": "2", "senderorganization": "FDA-Public Use"},
        "receiver": None if rng.random() < 0.05 else {"receivertype": "6", "receiverorganization": "FDA"},
        "patient": {
            "patientonsetage": str(rng.randrange(1, 99)),
            "patientonsetageunit": "801",
            "patientsex": str(1 + rng.randrange(2)),
            "reaction": [
                {
                    "reactionmeddraversionpt": "27.1",
                    "reactionmeddrapt": term.capitalize(),
                    "reactionoutcome": str(1 + rng.randrange(6)),
                }
                for term in rng.choices(pools().diseases, k=1 + int(rng.expovariate(0.4)))
            ],
            "drug": [_drug(rng, seed) for _ in range(1 + int(rng.expovariate(0.35)))],
            "summary": {"narrativeincludeclinical": f"CASE EVENT DATE: {day}"},
        },
    }
    if record["serious"] == "1":
        record["seriousnesshospitalization"] = "1"
    if rng.random() < 0.1:
        record |= {
            "duplicate": "1",
            "reportduplicate": {"duplicatesource": "EXAMPLE", "duplicatenumb": f"US-EXAMPLE-{number}"},
        }
    return record


def _drug(rng: random.Random, seed: int) -> Json:
    drug = product(rng.randrange(2_000), seed=seed)
    record: Json = {
        "drugcharacterization": str(1 + rng.randrange(3)),
        "medicinalproduct": drug.brand.upper(),
        "drugauthorizationnumb": drug.application[-6:],
        "drugdosagetext": f"{rng.randrange(1, 500)} MG, QD",
        "drugadministrationroute": "048",
        "drugindication": rng.choice(pools().diseases).upper(),
        "activesubstance": {"activesubstancename": drug.generic},
    }
    if rng.random() < 0.4:
        record |= {"drugstartdateformat": "610", "drugstartdate": _day(rng)[:6]}
    if rng.random() < 0.7:
        record["openfda"] = openfda(drug, rng)
    return record


def enforcement(ordinal: int, *, seed: int, revision: int = 0) -> Json:
    """A record of drug/enforcement: a recall."""
    drug = product(ordinal, seed=seed)
    rng = random.Random((seed << 44) ^ (ordinal << 8) ^ 17)
    day = _day(rng)
    return {
        "status": "Terminated" if revision else rng.choice(("Ongoing", "Completed", "Terminated")),
        "city": "Example",
        "state": rng.choice(("NJ", "CA", "TX", "")),
        "country": "United States",
        "classification": rng.choice(("Class I", "Class II", "Class III")),
        "openfda": openfda(drug, rng),
        "product_type": "Drugs",
        "event_id": str(80_000 + ordinal // 3),
        "recalling_firm": drug.maker,
        "address_1": f"{rng.randrange(1, 9999)} Main Street",
        "address_2": "",
        "postal_code": f"{rng.randrange(10**5):05d}",
        "voluntary_mandated": "Voluntary: Firm initiated",
        "initial_firm_notification": "Letter",
        "distribution_pattern": "Nationwide in the USA & Puerto Rico.\nNo foreign distribution.",
        "recall_number": f"D-{ordinal % 2_000 + 1:04d}-{2012 + ordinal // 2_000}",
        "product_description": f"{drug.brand} ({drug.generic}) {drug.form}, 100-count bottle, Rx only, "
        f"NDC {drug.package_ndcs[0]}",
        "product_quantity": f"{rng.randrange(10, 99_999):,} bottles",
        "reason_for_recall": prose(rng, 1),
        "recall_initiation_date": day,
        "center_classification_date": day,
        "report_date": day,
        "code_info": f"Lot #: {rng.randrange(10**6)}, Exp. 12/26",
        "more_code_info": None if rng.random() < 0.5 else "",
    }


def shortage(ordinal: int, *, seed: int, revision: int = 0) -> Json:
    """A record of drug/shortages. Now and then two presentations share a package_ndc, and one has none."""
    drug = product(ordinal - 1 if ordinal % 80 == 41 else ordinal, seed=seed)
    rng = random.Random((seed << 44) ^ (ordinal << 8) ^ 18)
    record: Json = {
        "package_ndc": drug.package_ndcs[0],
        "generic_name": f"{drug.generic.title()} {drug.form.title()}",
        "company_name": drug.maker,
        "contact_info": "555-0100",
        "presentation": f"{drug.generic.title()}, {drug.form}, {5 * (1 + ordinal % 90)} mg "
        f"(NDC {drug.package_ndcs[0]})",
        "status": "Resolved" if revision else rng.choice(("Current", "To Be Discontinued", "Resolved")),
        "availability": rng.choice(("Available", "Limited Availability", "Unavailable")),
        "shortage_reason": rng.choice(("Demand increase for the drug", "Other", "Shortage of an active ingredient")),
        "therapeutic_category": ["Cardiovascular", "Other"],
        "dosage_form": drug.form.title(),
        "initial_posting_date": "03/15/2023",
        "update_date": "01/20/2026" if revision else "11/02/2025",
        "update_type": "Revised" if revision else "New",
        "openfda": openfda(drug, rng),
    }
    if ordinal % 200 == 77:
        del record["package_ndc"]
    return record


def _day(rng: random.Random) -> str:
    return f"{2004 + rng.randrange(22)}{1 + rng.randrange(12):02d}{1 + rng.randrange(28):02d}"
