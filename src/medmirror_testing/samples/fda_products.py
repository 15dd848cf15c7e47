"""FDA's lists about drug n: its identifiers, its NDC products and its application."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from medmirror_testing.samples.text import pools

Json = dict[str, Any]
_FORMS = [
    "TABLET",
    "TABLET, FILM COATED",
    "CAPSULE",
    "INJECTION, SOLUTION",
    "SOLUTION",
    "CREAM",
    "OINTMENT",
    "SUSPENSION",
    "PATCH",
    "AEROSOL, METERED",
]
_ROUTES = ["ORAL", "INTRAVENOUS", "TOPICAL", "SUBCUTANEOUS", "INTRAMUSCULAR", "RESPIRATORY", "OPHTHALMIC"]
_MAKERS = [
    "Example Pharma, Inc.",
    "Northfield Laboratories LLC",
    "Acme Generics Ltd",
    "Westbrook Therapeutics",
    "Delta & Sons Repackaging",
    "Blue Hill Drug Co.",
]


class Product(NamedTuple):
    """The identifiers that the labels, products, applications and reports of one drug share."""

    ordinal: int
    brand: str
    generic: str
    maker: str
    application: str
    set_id: str
    spl_id: str
    product_ndcs: tuple[str, ...]
    package_ndcs: tuple[str, ...]
    rxcui: str
    unii: str
    form: str
    route: str


def uuid(rng: random.Random) -> str:
    """A UUID as FDA prints it."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def product(ordinal: int, *, seed: int) -> Product:
    """The drug with this *ordinal*. Three drugs in a row share an application, as strengths and repackagers do."""
    rng = random.Random((seed << 44) ^ (ordinal << 8) ^ 11)
    family = random.Random((seed << 44) ^ (ordinal // 3 << 8) ^ 12)
    generic = family.choice(pools().drugs)
    kind = family.choice(("NDA", "ANDA", "ANDA", "BLA"))
    labeler = f"{10_000 + ordinal * 7 % 80_000:05d}"
    ndcs = tuple(f"{labeler}-{(ordinal * 13 + n) % 1000:03d}" for n in range(rng.randrange(1, 4)))
    return Product(
        ordinal,
        generic.capitalize() if kind == "ANDA" else f"{generic[:4].upper()}{generic[-2:].upper()}VA",
        generic.upper() + rng.choice(("", " HYDROCHLORIDE", " SODIUM")),
        _MAKERS[ordinal % len(_MAKERS)],
        f"{kind}{ordinal // 3 + 10_000:06d}",
        uuid(rng),
        uuid(rng),
        ndcs,
        tuple(f"{ndc}-{n + 1:02d}" for n, ndc in enumerate(ndcs)),
        str(100_000 + ordinal // 3),
        f"{family.getrandbits(50):010X}"[:10],
        rng.choice(_FORMS),
        rng.choice(_ROUTES),
    )


def openfda(drug: Product, rng: random.Random) -> Json:
    """The ``openfda`` object of a record: empty now and then, and never with all of its fields."""
    if rng.random() < 0.12:
        return {}
    fields: Json = {
        "application_number": [drug.application],
        "brand_name": [drug.brand],
        "generic_name": [drug.generic],
        "manufacturer_name": [drug.maker],
        "product_ndc": list(drug.product_ndcs),
        "product_type": ["HUMAN PRESCRIPTION DRUG"],
        "route": [drug.route],
        "substance_name": [drug.generic],
        "rxcui": [drug.rxcui],
        "spl_id": [drug.spl_id],
        "spl_set_id": [drug.set_id],
        "package_ndc": list(drug.package_ndcs),
        "unii": [drug.unii],
    }
    if rng.random() < 0.3:
        fields["is_original_packager"] = [True]
    if rng.random() < 0.4:
        fields |= {
            "nui": ["N0000175556"],
            "pharm_class_epc": [f"{drug.generic.title()} Inhibitor [EPC]"],
            "upc": [f"03{drug.ordinal:010d}"],
        }
    return fields


def ndc(ordinal: int, *, seed: int, revision: int = 0) -> Json:
    """A record of drug/ndc. Now and then two share a product_ndc and differ in product_id, as in the real file."""
    twin = ordinal % 100 == 51
    drug = product(ordinal - 1 if twin else ordinal, seed=seed)
    rng = random.Random((seed << 44) ^ (ordinal << 8) ^ 13)
    spl_id = uuid(rng) if twin else drug.spl_id
    record: Json = {
        "product_ndc": drug.product_ndcs[0],
        "generic_name": drug.generic.title(),
        "labeler_name": drug.maker + (" (formerly Other)" if revision else ""),
        "brand_name": drug.brand,
        "active_ingredients": [{"name": drug.generic, "strength": f"{5 * rng.randrange(1, 100)} mg/1"}],
        "finished": True,
        "packaging": [
            {
                "package_ndc": package,
                "description": f"100 {drug.form} in 1 BOTTLE ({package})",
                "marketing_start_date": _day(rng),
                "sample": False,
            }
            for package in drug.package_ndcs
        ],
        "listing_expiration_date": "20261231",
        "openfda": openfda(drug, rng),
        "marketing_category": drug.application.rstrip("0123456789"),
        "dosage_form": drug.form,
        "spl_id": spl_id,
        "product_type": "HUMAN PRESCRIPTION DRUG",
        "route": [drug.route],
        "marketing_start_date": _day(rng),
        "product_id": f"{drug.product_ndcs[0]}_{spl_id}",
        "application_number": drug.application,
        "brand_name_base": drug.brand,
    }
    if rng.random() < 0.1:
        record["marketing_end_date"] = "20271130"
    if rng.random() < 0.5:
        record["pharm_class"] = [f"{drug.generic.title()} Inhibitor [EPC]", "Enzyme Interactions [MoA]"]
    if rng.random() < 0.07:
        record["dea_schedule"] = rng.choice(("CII", "CIII", "CIV", "CV"))
    return record


def application(ordinal: int, *, seed: int, revision: int = 0) -> Json:
    """A record of drug/drugsfda: the application that drugs 3n to 3n + 2 share."""
    drug = product(ordinal * 3, seed=seed)
    rng = random.Random((seed << 44) ^ (ordinal << 8) ^ 14)
    submissions = [_submission(rng, n) for n in range(1 + int(rng.paretovariate(0.8)) % 40 + revision)]
    record: Json = {
        "submissions": submissions,
        "application_number": drug.application,
        "sponsor_name": drug.maker.upper(),
        "openfda": openfda(drug, random.Random(ordinal)),
        "products": [
            {
                "product_number": f"{n:03d}",
                "reference_drug": "No",
                "brand_name": drug.brand.upper(),
                "active_ingredients": [
                    {
                        "name": drug.generic,
                        "strength": f"{n * 50}MG **Federal Register determination**" if n > 2 else f"{n * 50}MG",
                    }
                ],
                "reference_standard": "Yes",
                "dosage_form": drug.form.split(",")[0],
                "route": drug.route,
                "marketing_status": rng.choice(("Prescription", "Discontinued", "Over-the-counter")),
                "te_code": "AB",
            }
            for n in range(1, rng.randrange(2, 6))
        ],
    }
    if rng.random() < 0.1:
        del record["openfda"]
    return record


def _submission(rng: random.Random, n: int) -> Json:
    submission: Json = {
        "submission_type": "SUPPL" if n else "ORIG",
        "submission_number": str(n or 1),
        "submission_status": "AP",
        "submission_status_date": _day(rng),
        "submission_class_code": "LABELING",
        "submission_class_code_description": "Labeling",
    }
    if rng.random() < 0.4:
        document = {
            "id": str(rng.randrange(10**5)),
            "url": f"https://www.example.org/docs/{rng.randrange(10**6)}lbl.pdf",
            "date": _day(rng),
            "type": "Label",
        }
        submission["application_docs"] = [document]
    return submission


def _day(rng: random.Random) -> str:
    return f"{1985 + rng.randrange(40)}{1 + rng.randrange(12):02d}{1 + rng.randrange(28):02d}"
