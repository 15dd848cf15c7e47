"""openFDA: partitions of bulk downloads (``{"meta": ..., "results": [...]}``), pages of the API, records one a line.

``meta`` does not say which endpoint a file is from, so each record's feed is told from its own keys.

**Keys.** A shortage has no number of its own, and a package can be in more than one: its key is the package's NDC
(empty when it has none) and a digest of what stays the same while a shortage lasts: first day posted, company, generic
name, dosage form, presentation.

**Version.** Three numbers in one integer, the first counting most: the record's own version number (labels, reports of
adverse events), its own day (a label's effective_time, a report's receiptdate, a recall's report_date, a shortage's
update_date), and the day of the export (``meta.last_updated``). What is missing counts as 0. Products and applications
carry neither number nor day: there the export alone decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, BinaryIO

from medmirror.errors import InvalidRecord, LayoutChanged, RecordError
from medmirror.model import Block, Column, Flaw, Item
from medmirror.readers.json import Field, Layout, Records, blocks, outlines
from medmirror.readers.json.values import day_number, first_day
from medmirror.sources.base import Context, Feed, Given, Source

LEFT_OUT: Mapping[str, str] = {}
"""Fields of a record that are not stored, and why: none, the column ``record`` holds them all."""


def _identifiers(*left_out: str) -> tuple[Field, ...]:
    """The fields that openFDA adds to every record whose drug it can identify, without those that the record has."""
    names = (
        "application_number brand_name generic_name manufacturer_name package_ndc pharm_class_epc product_ndc "
        "product_type route rxcui spl_id spl_set_id substance_name unii"
    )
    return tuple(_from("openfda", name) for name in names.split() if name not in left_out)


def _from(parent: str, name: str) -> Field:
    return Field(name, f"{parent}.{name}", "loose texts")


def _text(name: str) -> Field:
    return Field(name, name, "loose text")


def _texts(name: str) -> Field:
    return Field(name, name, "loose texts")


def _day(name: str) -> Field:
    return Field(name, name, "loose day")


def _code(name: str) -> Field:
    return Field(name, name, "code")


def _listed(name: str, path: str) -> Field:
    return Field(name, path, "loose texts")


_INDEXED = frozenset(
    {"active_ingredients", "application_number", "brand_name", "drugs", "generic_name", "package_ndc"}
    | {"product_ndc", "reactions", "rxcui", "spl_set_id", "substance_name", "unii"}
)
"""Columns that an index holds where they are arrays."""


def _layout(
    name: str, marks: Sequence[str], fields: Sequence[Field], *, key: str = "", number: str = "", day: str = ""
) -> Layout:
    """*key*, *number* and *day*: the fields of the record's key, of its own version number and of its own day."""
    identity = (Field("key", key, "text"),) if key else _SHORTAGE
    identity += (Field("number", number, "number"),) if number else ()
    identity += (Field("day", day, "any day"),) if day else ()

    def identify(values: Sequence[Any], context: Context) -> tuple[tuple[int | str, ...], int]:
        by_name = dict(zip([field.name for field in identity], values, strict=True))
        own = min(max(by_name.get("number") or 0, 0), (1 << 22) - 1)
        version = (own << 40) | (by_name.get("day", 0) << 20) | int(context.get("exported", 0))
        if not key:
            return _shortage_key(values), version
        if not by_name["key"]:
            raise InvalidRecord(f"The record has no {key}.")
        return (by_name["key"],), version

    indexed = frozenset(field.name for field in fields if field.name in _INDEXED and field.column.kind == "text[]")
    return Layout(
        name, tuple(fields), identity, identify, tuple(frozenset(mark.split()) for mark in marks), indexed=indexed
    )


_LASTING = ("initial_posting_date", "company_name", "generic_name", "dosage_form", "presentation")
_SHORTAGE = (*(Field(name, name, "loose text") for name in _LASTING), Field("package_ndc", "package_ndc", "text"))


def _shortage_key(values: Sequence[Any]) -> tuple[str, str]:
    *parts, package = [value or "" for value in values[: len(_SHORTAGE)]]
    if not package and not any(parts[1:]):
        raise InvalidRecord("The record has no package_ndc, and nothing else that says what is short.")
    return package, sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


_APPROVAL = (("submission_type", "ORIG"), ("submission_status", "AP"))  # of the original application

_LAYOUTS = (
    _layout(
        "label",
        ("set_id", "spl_product_data_elements", "effective_time"),
        (
            _text("id"),
            Field("version", "version", "number"),
            _day("effective_time"),
            *_identifiers(),
        ),
        key="set_id",
        number="version",
        day="effective_time",
    ),
    _layout(
        "ndc",
        ("product_id", "product_ndc packaging", "product_ndc marketing_start_date"),
        (
            _text("product_ndc"),
            _text("spl_id"),
            _text("product_type"),
            Field("finished", "finished", "loose flag"),
            _text("brand_name"),
            _text("generic_name"),
            _text("labeler_name"),
            _text("dosage_form"),
            _texts("route"),
            _text("marketing_category"),
            _text("application_number"),
            _day("marketing_start_date"),
            _day("marketing_end_date"),
            _day("listing_expiration_date"),
            _text("dea_schedule"),
            _listed("active_ingredients", "active_ingredients[].name"),
            _listed("package_ndc", "packaging[].package_ndc"),
            _texts("pharm_class"),
            *(_from("openfda", name) for name in ("manufacturer_name", "rxcui", "spl_set_id", "unii", "upc")),
        ),
        key="product_id",
    ),
    _layout(
        "event",
        ("safetyreportid", "patient receivedate"),
        (
            Field("safetyreportversion", "safetyreportversion", "number"),
            _day("receivedate"),
            _day("receiptdate"),
            _day("transmissiondate"),
            _code("serious"),
            _code("seriousnessdeath"),
            _code("seriousnesshospitalization"),
            _code("seriousnesslifethreatening"),
            _code("seriousnessdisabling"),
            _code("seriousnesscongenitalanomali"),
            _code("seriousnessother"),
            _text("reporttype"),
            _text("companynumb"),
            _text("occurcountry"),
            _text("primarysourcecountry"),
            Field("patientsex", "patient.patientsex", "loose text"),
            _listed("reactions", "patient.reaction[].reactionmeddrapt"),
            _listed("drugs", "patient.drug[].medicinalproduct"),
            _listed("indications", "patient.drug[].drugindication"),
            *(
                _from("patient.drug[].openfda", name)
                for name in ("application_number", "brand_name", "generic_name", "product_ndc")
            ),
            *(
                _from("patient.drug[].openfda", name)  # of any drug of the report
                for name in ("rxcui", "substance_name", "unii")
            ),
        ),
        key="safetyreportid",
        number="safetyreportversion",
        day="receiptdate",
    ),
    _layout(
        "enforcement",
        ("recall_number", "recalling_firm reason_for_recall"),
        (
            _text("event_id"),
            _text("status"),
            _text("classification"),
            _text("product_type"),
            _text("recalling_firm"),
            _text("product_description"),
            _text("reason_for_recall"),
            _text("voluntary_mandated"),
            _text("city"),
            _text("state"),
            _text("country"),
            _day("recall_initiation_date"),
            _day("center_classification_date"),
            _day("termination_date"),
            _day("report_date"),
            *_identifiers("product_type"),
        ),
        key="recall_number",
        day="report_date",
    ),
    _layout(
        "shortage",
        ("initial_posting_date", "package_ndc update_type", "package_ndc shortage_reason", "package_ndc availability"),
        (
            _text("generic_name"),
            _text("proprietary_name"),
            _text("company_name"),
            _text("presentation"),
            _text("dosage_form"),
            _texts("strength"),
            _text("status"),
            _text("availability"),
            _text("shortage_reason"),
            _text("update_type"),
            _texts("therapeutic_category"),
            _day("initial_posting_date"),
            _day("update_date"),
            _day("discontinued_date"),
            *_identifiers("generic_name", "package_ndc"),
        ),
        day="update_date",
    ),
    _layout(
        "drugsfda",
        (
            "application_number submissions",
            "application_number products",
            "application_number sponsor_name",
            "submissions sponsor_name",
        ),
        (
            _text("sponsor_name"),
            Field("approved", "submissions[].submission_status_date", "earliest day", _APPROVAL),
            _listed("dosage_forms", "products[].dosage_form"),
            _listed("marketing_statuses", "products[].marketing_status"),
            _listed("product_brand_names", "products[].brand_name"),
            _listed("active_ingredients", "products[].active_ingredients[].name"),
            *_identifiers("application_number"),
        ),
        key="application_number",
    ),
)


def _keys(layout: Layout) -> tuple[Column, ...]:
    own = layout.identity[0].path
    return (Column(own, "text"),) if layout.name != "shortage" else _SHORTAGE_KEYS


_SHORTAGE_KEYS = (Column("package_ndc", "text"), Column("shortage_key", "text"))
FEEDS = tuple(Feed(one.name, _keys(one), (Column("record", "jsonb"), *one.columns)) for one in _LAYOUTS)

_ARRAY = "results"
_KEYS = frozenset((_ARRAY,))
_LOOKED_AT = 1 << 20  # bytes of a file's first records that must show one that is known
_SIGNS = re.compile(
    rb'"(?:results|meta)"\s*:\s*[\[{]|"submissions"\s*:\s*\[|^\s*\{\s*"error"\s*:|'
    rb'"(?:safetyreportid|set_id|product_id|recall_number|initial_posting_date|shortage_reason)"\s*:\s*"'
)


def recognise(name: str, head: bytes) -> bool:
    """Whether *head* begins a file of openFDA: its ``meta`` or ``results``, or a key of one of its records."""
    return outlines.looks_like_json(head) and bool(_SIGNS.search(head.removeprefix(outlines.BOM)))


def context(name: str, head: bytes, reopen: Callable[[], BinaryIO], given: Given) -> Context:
    """The file's layout and the day of its export. Raises LayoutChanged, with what it holds, for no bulk records."""
    outlines.check_text(head)
    with outlines.whole_stream(head, reopen) as stream:
        outline = outlines.outline(stream, _KEYS, frozenset(), pages=True)
    if outline.kind == "bare" and RECORDS.layout_of(outline.values) is None:
        raise LayoutChanged(f"No openFDA records: {_describe(outline)}.", file=name)
    with outlines.whole_stream(head, reopen) as stream:
        key_sets = blocks.first_keys(stream, outline, _LOOKED_AT, _about)
    if key_sets and not any(map(_has_key, key_sets)):
        keys = outlines.name_keys(key_sets[0])
        raise LayoutChanged(f"No openFDA records of a feed known here: they have the keys {keys}.", file=name)
    values = dict(outline.values) if outline.kind == "key" else {}
    if outline.kind == "key" and "meta" not in values:  # JSON promises no order: it may stand behind the records
        with outlines.whole_stream(head, reopen) as stream:
            values["meta"] = outlines.value_at(stream, "meta")
    return {"layout": outline.kind, "array": outline.key, **_about(values)}


def _has_key(keys: set[str]) -> bool:
    """Whether a record with *keys* is of a feed, and has what its key is made of."""
    layout = RECORDS.layout_of(keys)
    return layout is not None and (layout.name == "shortage" or layout.identity[0].path in keys)


def _about(values: Mapping[str, Any]) -> Context:
    """The day of the export that a page is of."""
    meta = values.get("meta")
    exported = meta.get("last_updated") if isinstance(meta, dict) else None
    return {"exported": day_number(first_day(exported) if isinstance(exported, str) else None)}


def _describe(outline: outlines.Outline) -> str:
    if isinstance(outline.values.get("results"), dict):
        return "results is an object, not an array (so is openFDA's list of downloads: load the files that it names)"
    if "$schema" in outline.values:
        return "the file is a JSON schema, not data"
    return outlines.describe(outline)


def split(stream: BinaryIO, context: Context, wanted: int, most: int) -> Iterator[Block | Flaw]:
    """Blocks of whole records (``readers.json``)."""
    return blocks.split(stream, str(context["layout"]), _ARRAY, wanted, most, _about)


def items(data: bytes, ordinal: int, context: Context) -> Iterator[Item | Flaw]:
    """The records of a block, each with its feed, key and version; a record without them is a flaw."""
    return RECORDS.items(data, context)


def _unknown(record: Mapping[str, Any]) -> str:
    return f"The record is of no feed known here; it has the keys {outlines.name_keys(record)}."


RECORDS = Records([(layout, _keys(layout), "record") for layout in _LAYOUTS], _unknown)


def rows(feed: Feed, data: bytes, items: Sequence[Item]) -> list[bytes | RecordError]:
    """The COPY tuple of each record, or its error, in order."""
    return RECORDS.rows(feed.name, data, items)


def record(feed: Feed, data: bytes, item: Item) -> dict[str, Any]:
    """The record's values by column."""
    return RECORDS.record(feed.name, data, item)


SOURCE = Source("openfda", FEEDS, recognise, context, split, items, rows, record)
