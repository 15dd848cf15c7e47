"""Bundles of a made-up clinic's resources: transactions, searches, collections, histories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import orjson

from medmirror_testing.samples.fhir_basics import BASE, Clinic, Made, Release, Resource, exported_at, name_of, text_of
from medmirror_testing.samples.fhir_records import KINDS
from medmirror_testing.samples.fhir_states import as_it_is, changed_at, everything, state_of
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
    entries = [entry for made in everything(clinic) for entry in _entries(clinic, made, kind, ids)]
    if kind == "searchset":
        said = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-supported"}]}
        entries.append({"resource": said, "search": {"mode": "outcome"}})
    bundle: Resource = {"resourceType": "Bundle", "type": kind}
    if kind == "searchset":
        bundle |= {"timestamp": text_of(exported_at(day)), "total": len(entries) - 1}
    bundle["entry"] = entries
    with Packer(path) as file:
        file.write(orjson.dumps(bundle, option=orjson.OPT_INDENT_2))
    return len(entries)


def _entries(clinic: Clinic, made: Made, kind: BundleKind, ids: bool) -> Iterator[Resource]:
    name = name_of(clinic.seed, made.kind, made.number)
    url = {"fullUrl": f"{BASE}/{made.kind}/{name}"}
    if kind == "history":
        for day in sorted({state_of(made, one).day for one in range(clinic.day + 1)}, reverse=True):
            yield _version(clinic._replace(day=day), made, url)
        return
    if state_of(made, clinic.day).deleted:
        return
    record = as_it_is(clinic, made)
    if kind == "transaction":
        record = _with_urns(record)
        if not ids:
            del record["id"]
        request = {"method": "POST", "url": made.kind}
        yield {"fullUrl": f"urn:uuid:{name}", "resource": record, "request": request}
    else:
        yield {**url, "resource": record, **({"search": {"mode": "match"}} if kind == "searchset" else {})}


def _version(clinic: Clinic, made: Made, url: Resource) -> Resource:
    state, named = state_of(made, clinic.day), f"{made.kind}/{name_of(clinic.seed, made.kind, made.number)}"
    answer = {"status": "200", "lastModified": text_of(changed_at(made, state))}
    if state.deleted:
        return {**url, "request": {"method": "DELETE", "url": named}, "response": answer}
    return {**url, "resource": as_it_is(clinic, made), "request": {"method": "PUT", "url": named}, "response": answer}


def _with_urns(value: Any) -> Any:
    """*value* with relative references as those of a transaction, that go by fullUrl."""
    if isinstance(value, list):
        return [_with_urns(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {key: _with_urns(one) for key, one in value.items()}
    said = value.get("reference")
    if isinstance(said, str) and said.partition("/")[0] in KINDS and said.count("/") == 1:
        made["reference"] = f"urn:uuid:{said.partition('/')[2]}"
    return made
