"""Bulk exports of a made-up clinic's FHIR server, and its resources one a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from medmirror_testing.samples.fhir_basics import BASE, Clinic, Instance, Release, Resource, exported_at, text_of
from medmirror_testing.samples.fhir_records import KINDS, resource
from medmirror_testing.samples.fhir_states import current_resource, deletions, everything, state_of
from medmirror_testing.samples.packing import Packer

_TOGETHER = 3  # deletions in one Bundle


class FhirExport(NamedTuple):
    """An export that was written: its files, the number of resources of each type, the number of deletions."""

    folder: Path
    files: tuple[Path, ...]
    records: dict[str, int]
    deletions: int


def write_fhir(
    folder: Path,
    *,
    patients: int = 20,
    seed: int = 0,
    day: int = 0,
    release: Release = "R4",
    changed_only: bool = False,
    per_file: int = 1000,
    packed: bool = False,
) -> FhirExport:
    """Write the Bulk export of a clinic on *day* into *folder*: files, manifest, log; create the folder if need be.

    With *changed_only* it is that of a request with ``_since`` the day before: what has changed, and the deletions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clinic = Clinic(patients, seed, day, release)
    states = [(instance, state_of(instance, day)) for instance in everything(clinic)]
    fresh = [(instance, state) for instance, state in states if not changed_only or state.day == day]
    files: list[Path] = []
    output: list[dict[str, Any]] = []
    for kind in KINDS:
        living = (
            current_resource(clinic, instance)
            for instance, state in fresh
            if instance.kind == kind and not state.deleted
        )
        _write_lines(folder, kind, living, per_file, packed, files, output)
    gone = [instance for instance, state in fresh if state.deleted] if changed_only else []
    deleted: list[dict[str, Any]] = []
    bundles = (deletions(clinic, gone[start : start + _TOGETHER]) for start in range(0, len(gone), _TOGETHER))
    _write_lines(folder, "deleted", bundles, per_file, packed, files, deleted)
    asked = f"?_since={text_of(exported_at(day - 1))}" if changed_only else ""
    manifest = {
        "transactionTime": text_of(exported_at(day)),
        "request": f"{BASE}/$export{asked}",
        "requiresAccessToken": True,
        "output": output,
        "deleted": [{**listing, "type": "Bundle"} for listing in deleted],
        "error": [],
    }
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    event = {"exportId": f"day-{day}", "timestamp": manifest["transactionTime"]}
    details = [
        ("kickoff", {"exportUrl": manifest["request"]}),
        ("status_complete", {"transactionTime": text_of(exported_at(day))}),
    ]
    lines = [orjson.dumps({**event, "eventId": name, "eventDetail": detail}) for name, detail in details]
    (folder / "log.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    counts: dict[str, int] = {}
    for listing in output:
        counts[listing["type"]] = counts.get(listing["type"], 0) + listing["count"]
    return FhirExport(folder, (*files, folder / "manifest.json", folder / "log.ndjson"), counts, len(gone))


def _write_lines(
    folder: Path,
    kind: str,
    resources: Iterator[Resource],
    per_file: int,
    packed: bool,
    files: list[Path],
    named: list[dict[str, Any]],
) -> None:
    """Write *resources* to files of *per_file* lines; add them to *files* and to *named*, a list of the
    manifest."""
    while chunk := list(islice(resources, per_file)):
        called = f"{kind}.{len(named):03d}.ndjson" if kind == "deleted" else f"{kind}.{_number(named, kind):03d}.ndjson"
        path = folder / (called + (".gz" if packed else ""))
        with Packer(path) as file:
            for resource in chunk:
                file.write(orjson.dumps(resource, option=orjson.OPT_APPEND_NEWLINE))
        files.append(path)
        named.append({"type": kind, "url": f"https://files.example.org/bulk/{called}", "count": len(chunk)})


def _number(named: Sequence[dict[str, Any]], kind: str) -> int:
    return sum(listing["type"] == kind for listing in named)


def write_fhir_lines(
    path: Path,
    count: int,
    *,
    first: int = 0,
    day: int = 0,
    revision: int = 0,
    deletes: Sequence[int] = (),
    seed: int = 0,
) -> Path:
    """Write *count* resources of all types, one a line, numbered from *first* on and changed on *day*.

    Those in *deletes* are written as deletions. The same numbers are the same resources on every day.
    """
    clinic = Clinic(10, seed, day)
    kinds = list(KINDS)
    with Packer(path) as file:
        for number in range(first, first + count):
            instance = Instance(kinds[number % len(kinds)], number, number // len(kinds))
            body = resource(clinic, instance, revision=revision, changed=exported_at(day))
            file.write(orjson.dumps(deletions(clinic, [instance]) if number in deletes else body) + b"\n")
    return path
