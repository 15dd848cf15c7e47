"""Bundles of a made-up clinic's resources: transactions, searches, collections, histories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import orjson

from medmirror_testing.samples.fhir_basics import (
    BASE,
    Clinic,
    Instance,
    Release,
    Resource,
    exported_at,
    name_of,
    text_of,
)
from medmirror_testing.samples.fhir_records import KINDS
from medmirror_testing.samples.fhir_states import changed_at, current_resource, everything, state_of
from medmirror_testing.samples.packing import Packer

BundleKind = Literal["transaction", "searchset", "collection", "history"]


def write_bundle(
    path: Path,
    *,
    patients: int = 3,
    seed: int = 0,
    day: int = 0,
    release: Release = "R4",
    kind: BundleKind = "transaction",
    ids: bool = True,
) -> int:
    """Write a Bundle with a whole clinic to *path*; return the number of its entries.

    In a transaction resources refer to one another by ``urn:uuid``; with *ids* false they have no id but that. A search
    says of itself how it went, in an entry more; a history has every version since day 0, and deletions.
    """
    clinic = Clinic(patients, seed, day, release)
    entries = [entry for instance in everything(clinic) for entry in _entries(clinic, instance, kind, ids)]
    if kind == "searchset":
        warning = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-supported"}]}
        entries.append({"resource": warning, "search": {"mode": "outcome"}})
    bundle: Resource = {"resourceType": "Bundle", "type": kind}
    if kind == "searchset":
        bundle |= {"timestamp": text_of(exported_at(day)), "total": len(entries) - 1}
    bundle["entry"] = entries
    with Packer(path) as file:
        file.write(orjson.dumps(bundle, option=orjson.OPT_INDENT_2))
    return len(entries)


def _entries(clinic: Clinic, instance: Instance, kind: BundleKind, ids: bool) -> Iterator[Resource]:
    name = name_of(clinic.seed, instance.kind, instance.number)
    url = {"fullUrl": f"{BASE}/{instance.kind}/{name}"}
    if kind == "history":
        for day in sorted({state_of(instance, earlier).day for earlier in range(clinic.day + 1)}, reverse=True):
            yield _version(clinic._replace(day=day), instance, url)
        return
    if state_of(instance, clinic.day).deleted:
        return
    record = current_resource(clinic, instance)
    if kind == "transaction":
        record = _with_urns(record)
        if not ids:
            del record["id"]
        request = {"method": "POST", "url": instance.kind}
        yield {"fullUrl": f"urn:uuid:{name}", "resource": record, "request": request}
    else:
        yield {**url, "resource": record, **({"search": {"mode": "match"}} if kind == "searchset" else {})}


def _version(clinic: Clinic, instance: Instance, url: Resource) -> Resource:
    state, named = (
        state_of(instance, clinic.day),
        f"{instance.kind}/{name_of(clinic.seed, instance.kind, instance.number)}",
    )
    answer = {"status": "200", "lastModified": text_of(changed_at(instance, state))}
    if state.deleted:
        return {**url, "request": {"method": "DELETE", "url": named}, "response": answer}
    return {
        **url,
        "resource": current_resource(clinic, instance),
        "request": {"method": "PUT", "url": named},
        "response": answer,
    }


def _with_urns(value: Any) -> Any:
    """*value* with references to the clinic's own server turned into those of a transaction, which go by fullUrl."""
    if isinstance(value, list):
        return [_with_urns(member) for member in value]
    if not isinstance(value, dict):
        return value
    members = {key: _with_urns(member) for key, member in value.items()}
    reference = value.get("reference")
    if isinstance(reference, str):
        reference = reference.removeprefix(f"{BASE}/")
    if isinstance(reference, str) and reference.partition("/")[0] in KINDS and reference.count("/") == 1:
        members["reference"] = f"urn:uuid:{reference.partition('/')[2]}"
    return members
