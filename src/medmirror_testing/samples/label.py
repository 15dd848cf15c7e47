"""One drug label (SPL) as openFDA gives it: long texts in arrays of strings, and fields that come and go."""

from __future__ import annotations

import random
from typing import Any

from medmirror_testing.samples.fda_products import openfda, product
from medmirror_testing.samples.text import prose

_SECTIONS = (
    # field, heading, how often, sentences of the middle size
    ("recent_major_changes", "Warnings and Precautions", 0.07, 2),
    ("boxed_warning", "WARNING:", 0.2, 3),
    ("indications_and_usage", "1 INDICATIONS AND USAGE", 0.93, 3),
    ("dosage_and_administration", "2 DOSAGE AND ADMINISTRATION", 0.93, 6),
    ("dosage_forms_and_strengths", "3 DOSAGE FORMS AND STRENGTHS", 0.2, 2),
    ("contraindications", "4 CONTRAINDICATIONS", 0.7, 2),
    ("warnings", "WARNINGS", 0.75, 8),
    ("warnings_and_cautions", "5 WARNINGS AND PRECAUTIONS", 0.2, 12),
    ("precautions", "PRECAUTIONS", 0.5, 8),
    ("adverse_reactions", "6 ADVERSE REACTIONS", 0.7, 10),
    ("drug_interactions", "7 DRUG INTERACTIONS", 0.6, 6),
    ("use_in_specific_populations", "8 USE IN SPECIFIC POPULATIONS", 0.2, 6),
    ("pregnancy", "8.1 Pregnancy", 0.6, 4),
    ("nursing_mothers", "Nursing Mothers", 0.5, 2),
    ("pediatric_use", "8.4 Pediatric Use", 0.5, 2),
    ("geriatric_use", "8.5 Geriatric Use", 0.4, 2),
    ("drug_abuse_and_dependence", "9 DRUG ABUSE AND DEPENDENCE", 0.1, 3),
    ("overdosage", "10 OVERDOSAGE", 0.6, 2),
    ("description", "11 DESCRIPTION", 0.65, 3),
    ("clinical_pharmacology", "12 CLINICAL PHARMACOLOGY", 0.6, 8),
    ("mechanism_of_action", "12.1 Mechanism of Action", 0.3, 2),
    ("pharmacokinetics", "12.3 Pharmacokinetics", 0.4, 6),
    ("nonclinical_toxicology", "13 NONCLINICAL TOXICOLOGY", 0.15, 3),
    ("clinical_studies", "14 CLINICAL STUDIES", 0.2, 12),
    ("how_supplied", "16 HOW SUPPLIED/STORAGE AND HANDLING", 0.75, 3),
    ("storage_and_handling", "Store at 25°C (77°F); excursions permitted to 15°–30°C.", 0.3, 1),
    ("information_for_patients", "17 PATIENT COUNSELING INFORMATION", 0.5, 5),
    ("spl_unclassified_section", "Distributed by:", 0.6, 1),
    ("inactive_ingredient", "Inactive ingredients", 0.3, 1),
    ("keep_out_of_reach_of_children", "Keep out of reach of children.", 0.25, 1),
)


def label(ordinal: int, *, seed: int, revision: int = 0) -> dict[str, Any]:
    """The label of drug *ordinal*: 11 kB as a rule, up to 110 kB. A *revision* above 0 is a later version of it."""
    drug = product(ordinal, seed=seed)
    rng = random.Random((seed << 44) ^ (ordinal << 8) ^ 15)
    length = min(9.0, rng.paretovariate(1.7) * 0.55)
    record: dict[str, Any] = {
        "spl_product_data_elements": [f"{drug.brand} {drug.generic} {drug.generic} {drug.unii} lactose monohydrate"]
    }
    for field, heading, share, sentences in _SECTIONS:
        if rng.random() < share:
            record[field] = [f"{heading} {drug.brand.upper()} ® {prose(rng, max(1, int(sentences * length)))}"]
            if sentences > 5 and rng.random() < 0.2:
                record[f"{field}_table"] = [_table(rng)]
    if revision:
        record["indications_and_usage"] = [f"1 INDICATIONS AND USAGE {drug.brand} {prose(random.Random(ordinal), 3)}"]
    record["package_label_principal_display_panel"] = [
        f"PRINCIPAL DISPLAY PANEL NDC {drug.package_ndcs[0]} {drug.brand} Rx only"
    ]
    record["set_id"] = drug.set_id
    record["id"] = drug.spl_id if not revision else drug.spl_id[:-4] + "0001"
    record["effective_time"] = f"2025{1 + ordinal % 12:02d}{1 + ordinal % 28:02d}" if not revision else "20260120"
    record["version"] = str(1 + ordinal % 30 + revision)
    record["openfda"] = openfda(drug, rng)
    return record


def _table(rng: random.Random) -> str:
    cells = "".join(
        f"<tr><td>{prose(rng, 1)}</td><td>{rng.random() * 30:.1f}%</td></tr>" for _ in range(rng.randrange(2, 8))
    )
    return (
        '<table width="100%" styleCode="Noautorules"><caption>Table 1: Adverse Reactions</caption>'
        f"<tbody>{cells}</tbody></table>"
    )
