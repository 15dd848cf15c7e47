"""The facts that the manifest or the log of a Bulk Data export gives about the files beside it; the certificates."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from medmirror.errors import UnreadableFile
from medmirror.model import Certificate, Witness
from medmirror.readers import folders
from medmirror.readers.json.values import moment, moment_number
from medmirror.sources.base import Context
from medmirror.sources.fhir.places import export_base

MANIFEST, LOG = "manifest.json", "log.ndjson"
_LISTS = ("output", "deleted", "error")
_LIMITS = {
    "_since": "what changed since a time",
    "_until": "what changed until a time",
    "_typeFilter": "a selection of each type",
    "patient": "some patients",
}
_OF_PATIENTS = frozenset((
    "AllergyIntolerance", "Appointment", "CarePlan", "CareTeam", "Claim", "Condition", "Consent", "Coverage",
    "DiagnosticReport", "DocumentReference", "Encounter", "EpisodeOfCare", "ExplanationOfBenefit",
    "FamilyMemberHistory", "Goal", "Immunization", "MedicationAdministration", "MedicationDispense",
    "MedicationRequest", "MedicationStatement", "Observation", "Patient", "Procedure", "QuestionnaireResponse",
    "RelatedPerson", "ServiceRequest",
))  # fmt: skip
"""Types of which an export of all patients (/Patient/$export) holds every resource; of others only what those name."""
_MOST = 64 << 20  # bytes of a manifest or log that are read


class _File(NamedTuple):
    """A file as a manifest names it. *number* is None when it does not say how many resources are in it."""

    list: str
    type: str
    number: int | None


class _Manifest(NamedTuple):
    digest: str
    time: int
    server: str | None
    files: Mapping[str, _File]


def is_manifest(values: Mapping[str, Any]) -> bool:
    """Whether the values of an object are those of a manifest."""
    return "transactionTime" in values and isinstance(values.get("output"), list)


def facts(values: Mapping[str, Any]) -> Context:
    """The facts of a manifest for ``certify``: the numbers of files and resources of each type, and its limits."""
    types: dict[str, list[int]] = {name: [0, 0] for name in _asked(values)}
    for file in _files(values, "output"):
        totals = types.setdefault(file.type, [0, 0])
        totals[0] += 1
        totals[1] = -1 if file.number is None or totals[1] < 0 else totals[1] + file.number
    return {
        "manifest": _read_manifest(values).digest,
        "types": orjson.dumps(types, option=orjson.OPT_SORT_KEYS).decode(),
        "deletions": sum(1 for _ in _files(values, "deleted")),
        "lacks": "; ".join(_lacks(values)),
        "of_patients": int(unquote(urlsplit(_text(values.get("request"))).path).endswith("Patient/$export")),
    }


def _lacks(values: Mapping[str, Any]) -> Iterator[str]:
    """The reasons why the manifest does not cover all that a server holds."""
    request = urlsplit(_text(values.get("request")))
    parameters = parse_qs(request.query)
    for name, what in _LIMITS.items():
        if name in parameters:
            yield f"the export was asked for {what} ({name})"
    if "/Group/" in request.path:
        yield "the export is of a group: who left the group is not deleted"
    if values.get("deleted") and "_since" not in parameters:
        yield "the export names deletions, so it was asked for what changed since a time"
    if values.get("error"):
        yield "the export had errors: its error files say which"
    links = values.get("link")
    if any(link.get("relation") == "next" for link in _list(links)):
        yield "the manifest has a next page"


def _asked(values: Mapping[str, Any]) -> list[str]:
    """The types that the request of the export names; an empty list means all."""
    asked = parse_qs(urlsplit(_text(values.get("request"))).query).get("_type", [])
    return [name for names in asked for name in names.split(",") if name]


def _files(values: Mapping[str, Any], name: str) -> Iterator[_File]:
    for entry in _list(values.get(name)):
        count = entry.get("count")
        yield _File(name, _text(entry.get("type")), count if isinstance(count, int) else None)


def _list(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _read_manifest(values: Mapping[str, Any]) -> _Manifest:
    urls = [(_name(_text(entry.get("url"))), name) for name in _LISTS for entry in _list(values.get(name))]
    files = [file for name in _LISTS for file in _files(values, name)]
    met = Counter(name for name, _ in urls)
    named = {name: file for (name, _), file in zip(urls, files, strict=True) if met[name] == 1}
    digest = sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    server = export_base(_text(values.get("request")))
    return _Manifest(digest, moment_number(moment(values.get("transactionTime"))), server, named)


def _name(url: str) -> str:
    """The name of a file that was fetched from *url*."""
    return unquote(urlsplit(url).path).rpartition("/")[2].removesuffix(".gz")


def about(path: str, name: str) -> Context:
    """The facts that an export gives about the file called *name* (a member's name, in an archive) at *path*.

    ``time`` is the transactionTime of the export, in microseconds since 1970. When a manifest names the file, its
    digest is ``manifest``, and ``list``, ``type`` and ``count`` are those of its entry; ``server`` is the base of the
    server that was asked for the export. Empty without an export.
    """
    if not path:
        return {}
    folder = Path(path).parent
    manifest = _at(folder / MANIFEST, _manifest_at)
    called = name.rpartition("/")[2].removesuffix(".gz")
    file = manifest.files.get(called) if manifest else None
    if manifest is None or file is None:
        time = None if manifest else _at(folder / LOG, _log_at)
        return {"time": time} if time else {}
    facts: dict[str, int | str] = {"manifest": manifest.digest, "file": called, "list": file.list, "type": file.type}
    if file.number is not None:
        facts["count"] = file.number
    if manifest.server:
        facts["server"] = manifest.server
    return {**facts, "time": manifest.time} if manifest.time else facts


def _at(path: Path, read: Any) -> Any:
    """The result of *read* for the file at *path*, cached while the file stays the same; None when there is none."""
    try:
        facts = path.lstat()  # a link beside an export is not followed
    except OSError:
        return None
    if facts.st_size > _MOST or not stat.S_ISREG(facts.st_mode):
        return None
    return read(os.fspath(path), facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=8)
def _manifest_at(path: str, changed: int, size: int) -> _Manifest | None:
    values = _parsed(_bytes(path))
    return _read_manifest(values) if is_manifest(values) else None


@lru_cache(maxsize=8)
def _log_at(path: str, changed: int, size: int) -> int | None:
    """The transactionTime that a log names; None when it names none or, being of several exports, more than one."""
    events = [_parsed(line) for line in _bytes(path).split(b"\n") if b'"transactionTime"' in line]
    details = [event["eventDetail"] for event in events if isinstance(event.get("eventDetail"), dict)]
    times = {moment_number(moment(detail.get("transactionTime"))) for detail in details} - {0}
    return times.pop() if len(times) == 1 else None


def _bytes(path: str) -> bytes:
    try:
        with folders.open_file(Path(path), Path(path).parent) as file:
            return file.read(_MOST)
    except (OSError, UnreadableFile):
        return b""


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def certify(witnesses: Sequence[Witness]) -> list[Certificate]:
    """A certificate for each type of resource: whole when a manifest covers all of it and all its files were loaded.

    A kick-off by POST hides the request: an export of a selection then differs only by its deletions.
    """
    files = [witness for witness in witnesses if witness.context.get("layout") not in ("log", "manifest")]
    manifests = {
        str(witness.context["manifest"]): witness.context
        for witness in witnesses
        if witness.context.get("layout") == "manifest"
    }
    refused = sum(not witness.context for witness in files)
    certificates: list[Certificate] = []
    for digest, context in manifests.items():
        own_files = [witness for witness in files if witness.context.get("manifest") == digest]
        certificates += _of_manifest(context, own_files, refused)
    left = [witness for witness in files if witness.context.get("manifest") not in manifests]
    return certificates + ([_of_unnamed(left)] if left else [])


def _of_manifest(context: Context, files: Sequence[Witness], refused: int) -> Iterator[Certificate]:
    common = [reason for reason in str(context["lacks"]).split("; ") if reason]
    deleted = [file for file in files if file.context["list"] == "deleted"]
    common += _troubles(deleted, int(context["deletions"]), refused, "of deletions ")
    for kind, (number, count) in orjson.loads(str(context["types"])).items():
        own_files = [file for file in files if file.context["list"] == "output" and file.context["type"] == kind]
        reasons = [*common, *_troubles(own_files, number, refused, "")]
        if context["of_patients"] and kind not in _OF_PATIENTS:
            reasons.append("the export is of all patients: it holds only what these name")
        seen = sum(file.read for file in own_files)
        yield Certificate((kind,), not reasons, None if count < 0 else count, seen, tuple(reasons))


def _troubles(files: Sequence[Witness], number: int, refused: int, what: str) -> Iterator[str]:
    ordered = sorted(files, key=lambda file: str(file.context["file"]))
    names = [name for name, _ in groupby(file.context["file"] for file in ordered)]
    if len(names) < number:
        other = (
            f", or are among the {refused} that were refused before it could be told what they are" if refused else ""
        )
        yield f"{number - len(names)} of {number} files {what}that the manifest names were not given{other}"
    unread = {file.context["file"] for file in ordered if file.status not in ("done", "skipped")}
    if unread:
        yield f"{len(unread)} files {what}could not be read to their end"
    if rejected := sum(file.rejected for file in ordered):
        yield f"{rejected} records {what}were rejected"
    short = {file.context["file"] for file in ordered if _is_short(file)} - unread
    if short:
        yield f"{len(short)} files {what}do not hold as many records as the manifest says"


def _is_short(file: Witness) -> bool:
    count = int(file.context.get("count", file.read))
    # Of deletions a manifest counts the Bundles, in each of which there is one or more.
    return file.read < count if file.context["list"] == "deleted" else file.read != count


def _of_unnamed(files: Sequence[Witness]) -> Certificate:
    witnesses = [file for file in files if file.context]
    refused = len(files) - len(witnesses)
    kinds = sorted({str(file.context["type"]) for file in witnesses if file.context.get("type")})
    named = sum("manifest" in file.context for file in witnesses)
    reasons = []
    if named:
        reasons.append(f"{named} files are of an export whose {MANIFEST} was not given with them")
    if len(witnesses) > named:
        reasons.append(
            f"no {MANIFEST} beside them names {len(witnesses) - named} files: nothing says what should be there"
        )
    if refused:
        reasons.append(f"{refused} files were refused before it could be told what they are")
    return Certificate(tuple(kinds), False, None, sum(file.read for file in witnesses), tuple(reasons))
