"""Canonical records of older schema versions, brought up to this one.

Version 1 had one phone and one email, as texts; enums were bare codes, times bare UTC texts; a country was what the
source wrote. What version 1 did not keep (raw words, zones, extensions, enums of silent sources) is null or absent
afterwards: mapping the record anew gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medmirror.mapping.convert import addresses, phones
from medmirror.mapping.schema.kinds import SCHEMA_VERSION

_ENUMS_1 = ("status", "sex", "gender", "setting", "intent", "relationship", "kind", "marital_status")
_TIMES_1 = ("starts", "ends", "cancelled_at", "authored", "created")


def upgrade(record: Mapping[str, Any], version: int) -> dict[str, Any]:
    """*record* of schema *version*, upgraded to today's schema. Raises ValueError for a version that never existed."""
    if not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"there is no schema version {version}")
    upgraded = dict(record)
    for step in _STEPS[version - 1 :]:
        upgraded = step(upgraded)
    return upgraded


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    upgraded = _with_enums(record, _ENUMS_1)
    if phone := upgraded.pop("phone", None):
        part = {"raw": phone}
        phones.finish(part, None)
        upgraded["phones"] = [part]
    if email := upgraded.pop("email", None):
        upgraded["emails"] = [{"address": email}]
    for name in _TIMES_1:
        # A coverage's and a prescription's first and last day are dates, in both versions.
        if isinstance(upgraded.get(name), str) and "T" in upgraded[name]:
            upgraded[name] = {"utc": upgraded[name], "zone": "UTC"}
    for name in ("names", "identifiers"):
        if name in upgraded:
            upgraded[name] = [_with_enums(old, ("use",)) for old in upgraded[name]]
    if "addresses" in upgraded:
        upgraded["addresses"] = [_address_from_1(old) for old in upgraded["addresses"]]
    return upgraded


def _with_enums(part: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: {"code": value, "raw": None} if name in names and isinstance(value, str) else value
        for name, value in part.items()
    }


def _address_from_1(address: Mapping[str, Any]) -> dict[str, Any]:
    upgraded = _with_enums(address, ("use",))
    if country := upgraded.pop("country", None):
        upgraded["country_text"] = country
    addresses.finish(upgraded)
    return upgraded


_STEPS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (_from_1,)
