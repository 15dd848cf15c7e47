"""Converters from a source's value to a canonical value, and back.

A field's own converter is that of its kind; ``converter = "..."`` names another one. Each takes options from the rule:

    text                    text, trimmed; numbers and booleans as JSON writes them
    int, decimal            decimal = "," and grouping = "." for numbers written so; number = true: a JSON number back
    bool                    true = ["Y"], false = ["N"]: the source's words (else JSON booleans and the usual words)
    date                    format = "%d/%m/%Y" (or a list: the first that fits; the first one is written), pivot;
                            placeholders = ["1970-01-01"]: days that stand for none, besides those of all systems
    time                    the same; zone = "Australia/Sydney"; also format = "epoch", "epoch_ms", "epoch_us"
    enum                    enum = { Mobile = "MOBILE" }: the source's words, whatever their case, to codes
    reference               feed = "patient": an id alone
    link_id                 feed = "patient", link = ".../patients/{id}": the last piece of a URL
    fhir_reference          a FHIR Reference, or its text; feed = the type of what a urn:uuid: names
    full_name               order = "family, given" | "given family" | "family given": one text to a whole name
    json                    as it is
    python:MODULE:NAME      a pair (up, down) of functions of this package, or of a module that the operator allows

A converter raises ValueError for what it cannot read or write; its message is shown to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medmirror.mapping.convert import moments, names, references, scalars
from medmirror.mapping.convert.pairs import Converter, Pair, text_of
from medmirror.mapping.schema.kinds import Field


def _full_name(options: Mapping[str, Any], field: Field) -> Pair:
    order = options.get("order", names.ORDERS[0])
    if order not in names.ORDERS:
        raise ValueError(f"order must be one of: {' | '.join(names.ORDERS)}")
    return Pair(
        lambda value, scope: names.apart(text_of(value), order) if text_of(value).strip() else None,
        lambda value, scope: names.together(value, order),
    )


_NUMBERS = frozenset({"decimal", "grouping"})
_DATES = frozenset({"format", "pivot", "placeholders"})
CONVERTERS: dict[str, Converter] = {
    "text": Converter(frozenset({"text", "json"}), frozenset(), scalars.text),
    "int": Converter(frozenset({"int", "json"}), _NUMBERS, scalars.whole),
    "decimal": Converter(frozenset({"decimal", "json"}), _NUMBERS | {"number"}, scalars.decimal),
    "bool": Converter(frozenset({"bool", "json"}), frozenset({"true", "false"}), scalars.boolean),
    "date": Converter(frozenset({"date", "json"}), _DATES, moments.date, 2),
    "time": Converter(frozenset({"time", "json"}), _DATES | {"zone"}, moments.time, 2),
    "enum": Converter(frozenset({"enum"}), frozenset({"enum"}), scalars.enum),
    "reference": Converter(frozenset({"reference", "json"}), frozenset({"feed"}), references.reference),
    "link_id": Converter(frozenset({"reference", "json"}), frozenset({"feed", "link"}), references.link_id),
    "fhir_reference": Converter(frozenset({"reference", "json"}), frozenset({"feed"}), references.fhir_reference, 2),
    "full_name": Converter(frozenset({"name"}), frozenset({"order"}), _full_name),
    "json": Converter(frozenset({"json"}), frozenset(), scalars.json),
}
NEEDS_FEED = frozenset({"reference", "link_id"})
"""Converters that cannot do without ``feed``."""
