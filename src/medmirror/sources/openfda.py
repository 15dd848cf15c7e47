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
from typing import Any, BinaryIO, NamedTuple

from medmirror.copyformat import RawJson, encoder
from medmirror.errors import InvalidRecord, LayoutChanged, ParseError, RecordError
from medmirror.model import Block, Column, Flaw, Item
from medmirror.readers import json as jsonreader
from medmirror.readers import jsonoutline
from medmirror.readers.jsonfacts import (
    Fact,
    as_code,
    as_day,
    as_flag,
    as_listed,
    as_number,
    as_text,
    as_texts,
    distinct,
    from_child,
    loose_text,
)
from medmirror.readers.jsonpieces import NOT_AN_OBJECT, parse
from medmirror.readers.jsonvalues import check, child, children, day_number, first_day, text, whole_number
from medmirror.sources.base import Context, Feed, Source

LEFT_OUT: Mapping[str, str] = {}
"""Fields of a record that are not stored, and why: none, the column ``record`` holds them all."""


class _Kind(NamedTuple):
    """A feed, how its records are known, keyed and ordered, and what is read from them."""

    feed: Feed
    marks: tuple[frozenset[str], ...]  # a record with all keys of one of these is of this feed
    key: Callable[[Mapping[str, Any]], tuple[str, ...]]
    number: str  # the field of the record's own version number, or ""
    day: str  # the field of the record's own day, or ""
    facts: tuple[Fact, ...]


def _kind(
    name: str, marks: Sequence[str], facts: Sequence[Fact], *, key: str = "", number: str = "", day: str = ""
) -> _Kind:
    keys = (Column(key, "text"),) if key else (Column("package_ndc", "text"), Column("shortage_key", "text"))
    columns = (Column("record", "jsonb"), *(fact.column for fact in facts))
    find = (lambda record: _own_key(record, key)) if key else _shortage_key
    return _Kind(
        Feed(name, keys, columns), tuple(frozenset(mark.split()) for mark in marks), find, number, day, tuple(facts)
    )


def _own_key(record: Mapping[str, Any], name: str) -> tuple[str]:
    value = text(record, name)
    if not value:
        raise InvalidRecord(f"The record has no {name}.")
    return (value,)


_LASTING = ("initial_posting_date", "company_name", "generic_name", "dosage_form", "presentation")


def _shortage_key(record: Mapping[str, Any]) -> tuple[str, str]:
    parts = [loose_text(record, name) or "" for name in _LASTING]
    package = text(record, "package_ndc") or ""
    if not package and not any(parts[1:]):
        raise InvalidRecord("The record has no package_ndc, and nothing else that says what is short.")
    return package, sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _identifiers(*left_out: str) -> tuple[Fact, ...]:
    """What openFDA adds to every record that it can tell the drug of, but for fields that the record has itself."""
    names = (
        "application_number brand_name generic_name manufacturer_name package_ndc pharm_class_epc product_ndc "
        "product_type route rxcui spl_id spl_set_id substance_name unii"
    )
    return tuple(from_child("openfda", name) for name in names.split() if name not in left_out)


def _of_drugs(name: str) -> Fact:
    """An identifier that openFDA gives for any drug of a report."""
    return Fact(
        Column(name, "text[]"),
        lambda record: distinct([child(drug, "openfda") for drug in children(child(record, "patient"), "drug")], name),
    )


def _of_patient(name: str, array: str, source: str) -> Fact:
    return Fact(Column(name, "text[]"), lambda record: distinct(children(child(record, "patient"), array), source))


def _ingredients(record: Mapping[str, Any]) -> list[str] | None:
    every = [one for product in children(record, "products") for one in children(product, "active_ingredients")]
    return distinct(every, "name")


def _approved(record: Mapping[str, Any]) -> Any:
    """The day of the first approval of the original application."""
    days = [
        first_day(loose_text(one, "submission_status_date"))
        for one in children(record, "submissions")
        if one.get("submission_type") == "ORIG" and one.get("submission_status") == "AP"
    ]
    return min((day for day in days if day), default=None)


_KINDS = (
    _kind(
        "label",
        ("set_id", "spl_product_data_elements", "effective_time"),
        (
            as_text("id"),
            as_number("version"),
            as_day("effective_time"),
            *_identifiers(),
        ),
        key="set_id",
        number="version",
        day="effective_time",
    ),
    _kind(
        "ndc",
        ("product_id", "product_ndc packaging", "product_ndc marketing_start_date"),
        (
            as_text("product_ndc"),
            as_text("spl_id"),
            as_text("product_type"),
            as_flag("finished"),
            as_text("brand_name"),
            as_text("generic_name"),
            as_text("labeler_name"),
            as_text("dosage_form"),
            as_texts("route"),
            as_text("marketing_category"),
            as_text("application_number"),
            as_day("marketing_start_date"),
            as_day("marketing_end_date"),
            as_day("listing_expiration_date"),
            as_text("dea_schedule"),
            as_listed("active_ingredients", "active_ingredients", "name"),
            as_listed("package_ndc", "packaging", "package_ndc"),
            as_texts("pharm_class"),
            *(from_child("openfda", name) for name in ("manufacturer_name", "rxcui", "spl_set_id", "unii", "upc")),
        ),
        key="product_id",
    ),
    _kind(
        "event",
        ("safetyreportid", "patient receivedate"),
        (
            as_number("safetyreportversion"),
            as_day("receivedate"),
            as_day("receiptdate"),
            as_day("transmissiondate"),
            as_code("serious"),
            as_code("seriousnessdeath"),
            as_code("seriousnesshospitalization"),
            as_code("seriousnesslifethreatening"),
            as_code("seriousnessdisabling"),
            as_code("seriousnesscongenitalanomali"),
            as_code("seriousnessother"),
            as_text("reporttype"),
            as_text("companynumb"),
            as_text("occurcountry"),
            as_text("primarysourcecountry"),
            Fact(Column("patientsex", "text"), lambda record: loose_text(child(record, "patient"), "patientsex")),
            _of_patient("reactions", "reaction", "reactionmeddrapt"),
            _of_patient("drugs", "drug", "medicinalproduct"),
            _of_patient("indications", "drug", "drugindication"),
            *map(_of_drugs, ("application_number", "brand_name", "generic_name", "product_ndc")),
            *map(_of_drugs, ("rxcui", "substance_name", "unii")),
        ),
        key="safetyreportid",
        number="safetyreportversion",
        day="receiptdate",
    ),
    _kind(
        "enforcement",
        ("recall_number", "recalling_firm reason_for_recall"),
        (
            as_text("event_id"),
            as_text("status"),
            as_text("classification"),
            as_text("product_type"),
            as_text("recalling_firm"),
            as_text("product_description"),
            as_text("reason_for_recall"),
            as_text("voluntary_mandated"),
            as_text("city"),
            as_text("state"),
            as_text("country"),
            as_day("recall_initiation_date"),
            as_day("center_classification_date"),
            as_day("termination_date"),
            as_day("report_date"),
            *_identifiers("product_type"),
        ),
        key="recall_number",
        day="report_date",
    ),
    _kind(
        "shortage",
        ("initial_posting_date", "package_ndc update_type", "package_ndc shortage_reason", "package_ndc availability"),
        (
            as_text("generic_name"),
            as_text("proprietary_name"),
            as_text("company_name"),
            as_text("presentation"),
            as_text("dosage_form"),
            as_texts("strength"),
            as_text("status"),
            as_text("availability"),
            as_text("shortage_reason"),
            as_text("update_type"),
            as_texts("therapeutic_category"),
            as_day("initial_posting_date"),
            as_day("update_date"),
            as_day("discontinued_date"),
            *_identifiers("generic_name", "package_ndc"),
        ),
        day="update_date",
    ),
    _kind(
        "drugsfda",
        (
            "application_number submissions",
            "application_number products",
            "application_number sponsor_name",
            "submissions sponsor_name",
        ),
        (
            as_text("sponsor_name"),
            Fact(Column("approved", "date"), _approved),
            as_listed("dosage_forms", "products", "dosage_form"),
            as_listed("marketing_statuses", "products", "marketing_status"),
            as_listed("product_brand_names", "products", "brand_name"),
            Fact(Column("active_ingredients", "text[]"), _ingredients),
            *_identifiers("application_number"),
        ),
        key="application_number",
    ),
)
_BY_NAME = {kind.feed.name: kind for kind in _KINDS}
_ENCODERS = {kind.feed.name: encoder(kind.feed.all_columns) for kind in _KINDS}

_KEYS = frozenset(("results",))
_LOOKED_AT = 1 << 20  # bytes of a file's first records that must show one that is known
_SIGNS = re.compile(
    rb'"(?:results|meta)"\s*:\s*[\[{]|"submissions"\s*:\s*\[|^\s*\{\s*"error"\s*:|'
    rb'"(?:safetyreportid|set_id|product_id|recall_number|initial_posting_date|shortage_reason)"\s*:\s*"'
)


def recognise(name: str, head: bytes) -> bool:
    """Whether *head* begins a file of openFDA: its ``meta`` or ``results``, or a key of one of its records."""
    return jsonoutline.looks_like_json(head) and bool(_SIGNS.search(head.removeprefix(jsonoutline.BOM)))


def context(name: str, head: bytes, reopen: Callable[[], BinaryIO]) -> Context:
    """The file's layout and the day of its export. Raises LayoutChanged when it holds no bulk records, saying what."""
    jsonoutline.check_text(head)
    with jsonoutline.begin(head, reopen) as stream:
        outline = jsonoutline.outline(stream, _KEYS, frozenset(), wanted="meta")
    if outline.kind == "bare" and _kind_of(outline.values) is None:
        raise LayoutChanged(f"No openFDA records: {_describe(outline)}.", file=name)
    with jsonoutline.begin(head, reopen) as stream:
        found = jsonreader.first_keys(stream, outline, _LOOKED_AT)
    if found and not any(_kind_of(keys) for keys in found):
        keys = jsonoutline.name_some(found[0])
        raise LayoutChanged(f"No openFDA records of a feed known here: they have the keys {keys}.", file=name)
    meta = outline.values.get("meta") if outline.kind == "key" else None
    exported = meta.get("last_updated") if isinstance(meta, dict) else None
    day = first_day(exported) if isinstance(exported, str) else None
    return {"layout": outline.kind, "array": outline.key, "exported": day_number(day)}


def _describe(outline: jsonoutline.Outline) -> str:
    if isinstance(outline.values.get("results"), dict):
        return "results is an object, not an array (so is openFDA's list of downloads: load the files that it names)"
    if "$schema" in outline.values:
        return "the file is a JSON schema, not data"
    return jsonoutline.describe(outline)


def split(stream: BinaryIO, context: Context, wanted: int, most: int) -> Iterator[Block | Flaw]:
    """Blocks of whole records (``readers.json``)."""
    return jsonreader.split(stream, str(context["layout"]), str(context["array"]), wanted, most)


def _kind_of(record: Mapping[str, Any] | set[str]) -> _Kind | None:
    """What *record* is, by its keys: by the first mark that fits, all feeds' keys before all other marks."""
    keys = record.keys() if isinstance(record, Mapping) else record
    for mark, kind in _MARKS:
        if mark <= keys:
            return kind
    return None


_MARKS = sorted(
    ((mark, kind) for kind in _KINDS for mark in kind.marks),
    key=lambda pair: pair[1].marks.index(pair[0]),
)


def items(data: bytes, ordinal: int, context: Context) -> Iterator[Item | Flaw]:
    """Every record of a block with its feed, key and version, parsed; what has none is a flaw."""
    exported = int(context.get("exported", 0))
    for number, piece in enumerate(jsonreader.items(data, str(context["layout"]))):
        kind = _kind_of(piece.value) if isinstance(piece.value, dict) else None
        name = kind.feed.name if kind else None
        if piece.reason:
            yield Flaw(None, number, piece.start, piece.end, ParseError.__name__, piece.reason)
            continue
        try:
            if kind is None:
                raise InvalidRecord(_unknown(piece.value))
            key = kind.key(piece.value)
            version = _version(kind, piece.value, exported)
        except InvalidRecord as error:
            yield Flaw(name, number, piece.start, piece.end, InvalidRecord.__name__, error.message)
        else:
            yield Item(kind.feed.name, key, version, number, piece.start, piece.end, False, piece.value)


def _unknown(value: Any) -> str:
    if not isinstance(value, dict):
        return NOT_AN_OBJECT
    return f"The record is of no feed known here; it has the keys {jsonoutline.name_some(value)}."


def _version(kind: _Kind, record: Mapping[str, Any], exported: int) -> int:
    number = whole_number(record.get(kind.number)) if kind.number else None
    day = record.get(kind.day) if kind.day else None
    own = day_number(first_day(day)) if isinstance(day, str) else 0
    return (min(max(number or 0, 0), (1 << 22) - 1) << 40) | (own << 20) | exported


def rows(feed: Feed, data: bytes, some: Sequence[Item]) -> list[bytes | RecordError]:
    """The COPY tuple of each record, or what is wrong with it."""
    kind, encode = _BY_NAME[feed.name], _ENCODERS[feed.name]
    made: list[bytes | RecordError] = []
    for item in some:
        try:
            raw = data[item.start : item.end]
            record = _parsed(raw, item)
            made.append(encode((*item.key, False, RawJson(raw), *[fact.read(record) for fact in kind.facts])))
        except RecordError as error:
            made.append(error)
    return made


def record(feed: Feed, data: bytes, item: Item) -> dict[str, Any]:
    """The record's values by column."""
    parsed = _parsed(data[item.start : item.end], item)
    keys = zip((column.name for column in feed.key), item.key, strict=True)
    facts = {fact.column.name: fact.read(parsed) for fact in _BY_NAME[feed.name].facts}
    return {**dict(keys), "record": parsed, **facts}


def _parsed(raw: bytes, item: Item) -> dict[str, Any]:
    parsed, reason = (item.parsed, "") if item.parsed is not None else parse(raw)
    if reason:
        raise ParseError(reason)
    check(raw, parsed)
    checked: dict[str, Any] = parsed
    return checked


SOURCE = Source("openfda", tuple(kind.feed for kind in _KINDS), recognise, context, split, items, rows, record)
