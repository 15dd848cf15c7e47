"""openFDA records read a second time: keys and columns as sql/sources/openfda.sql promises them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import json_reading
from json_reading import at, day, each, once

Record = dict[str, Any]
Values = dict[str, Any]


def records(path: Path) -> list[Record]:
    """The records of a partition, an answer of the API, or a bare record."""
    value = json_reading.read(path)
    found: list[Record] = value.get("results", [value])
    return found


class Feed(NamedTuple):
    key: str
    version: Callable[[Record], Any]
    columns: Callable[[Record], Values]


def texts(record: Record, *names: str) -> Values:
    return {name: record.get(name) for name in names}


def days(record: Record, *names: str) -> Values:
    return {name: day(record.get(name)) for name in names}


def added(record: Record, *names: str) -> Values:
    """What openFDA adds: lists."""
    return {name: at(record, "openfda", name) for name in names}


def label(record: Record) -> Values:
    return {
        **texts(record, "set_id", "id"),
        "version": int(record["version"]),
        **days(record, "effective_time"),
        **added(
            record, "application_number", "brand_name", "generic_name", "manufacturer_name", "package_ndc",
            "pharm_class_epc", "product_ndc", "product_type", "route", "rxcui", "spl_id", "spl_set_id",
            "substance_name", "unii",
        ),
    }  # fmt: skip


def drugsfda(record: Record) -> Values:
    products = record.get("products")
    ingredients = [one for product in products or () for one in product.get("active_ingredients", ())]
    approvals = [
        one["submission_status_date"]
        for one in record.get("submissions", ())
        if one.get("submission_type") == "ORIG" and one.get("submission_status") == "AP"
    ]
    return {
        **texts(record, "application_number", "sponsor_name"),
        "approved": day(min(approvals, default=None)),
        "dosage_forms": once(each(products, "dosage_form")),
        "marketing_statuses": once(each(products, "marketing_status")),
        "product_brand_names": once(each(products, "brand_name")),
        "active_ingredients": once(each(ingredients, "name")),
        **added(
            record, "brand_name", "generic_name", "manufacturer_name", "package_ndc", "pharm_class_epc", "product_ndc",
            "product_type", "route", "rxcui", "spl_id", "spl_set_id", "substance_name", "unii",
        ),
    }  # fmt: skip


def event(record: Record) -> Values:
    drugs = at(record, "patient", "drug")

    def harmonised(name: str) -> list[Any] | None:
        return once([one for some in each(drugs, "openfda", name) or () for one in some])

    def code(name: str) -> bool | None:
        value = record.get(name)
        return None if value is None else value == "1"

    return {
        **texts(record, "safetyreportid", "reporttype", "companynumb", "occurcountry", "primarysourcecountry"),
        "safetyreportversion": None if (given := record.get("safetyreportversion")) is None else int(given),
        **days(record, "receivedate", "receiptdate", "transmissiondate"),
        **{name: code(name) for name in ("serious", *(f"seriousness{kind}" for kind in _SERIOUS))},
        "patientsex": at(record, "patient", "patientsex"),
        "reactions": once(each(at(record, "patient", "reaction"), "reactionmeddrapt")),
        "drugs": once(each(drugs, "medicinalproduct")),
        "indications": once(each(drugs, "drugindication")),
        **{name: harmonised(name) for name in _HARMONISED},
    }


_SERIOUS = ("death", "hospitalization", "lifethreatening", "disabling", "congenitalanomali", "other")
_HARMONISED = ("application_number", "brand_name", "generic_name", "product_ndc", "rxcui", "substance_name", "unii")


def enforcement(record: Record) -> Values:
    return {
        **texts(
            record, "recall_number", "event_id", "status", "classification", "product_type", "recalling_firm",
            "product_description", "reason_for_recall", "voluntary_mandated", "city", "state", "country",
        ),
        **days(
            record, "recall_initiation_date", "center_classification_date", "termination_date", "report_date"
        ),
        **added(
            record, "application_number", "brand_name", "generic_name", "manufacturer_name", "package_ndc",
            "pharm_class_epc", "product_ndc", "route", "rxcui", "spl_id", "spl_set_id", "substance_name", "unii",
        ),
    }  # fmt: skip


FEEDS = {
    "label": Feed("set_id", lambda one: (int(one["version"]), one["effective_time"]), label),
    "drugsfda": Feed("application_number", lambda one: 0, drugsfda),
    "event": Feed("safetyreportid", lambda one: (int(one.get("safetyreportversion", 0)), one["receiptdate"]), event),
    "enforcement": Feed("recall_number", lambda one: one["report_date"], enforcement),
}


def feed(path: Path) -> str:
    """The feed of a file: its name says it."""
    return next(name for name in FEEDS if name in path.name)
