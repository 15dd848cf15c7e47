"""FHIR: files of every shape, keys and versions of resources, deletions, exports and what they certify."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from medmirror.errors import LayoutChanged, RecordError
from medmirror.model import Block, Certificate, Flaw, Item, Witness
from medmirror.readers import files
from medmirror.sources.fhir import SOURCE
from medmirror.sources.fhir.members import member, members
from medmirror.sources.fhir.reading import PROGRAM, read
from medmirror_testing import samples

FEED = SOURCE.feeds[0]
TIME = "2026-03-04T05:06:07.123456+01:00"
MICROS = int(datetime(2026, 3, 4, 4, 6, 7, 123456, UTC).timestamp() * 1_000_000)
PATIENT: dict[str, Any] = {"resourceType": "Patient", "id": "p1", "meta": {"versionId": "7", "lastUpdated": TIME}}
PLAIN: dict[str, Any] = {"resourceType": "Patient", "id": "p1"}


def text(value: Any, **options: Any) -> bytes:
    return json.dumps(value, **options).encode()


def lines(*values: Any) -> bytes:
    return b"".join(text(value) + b"\n" for value in values)


def bundle(*entries: Any, **members: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "transaction", **members, "entry": list(entries)}


def deletion(url: str, **members: Any) -> dict[str, Any]:
    return {"request": {"method": "DELETE", "url": url}, **members}


def context(data: bytes, name: str = "file.json", path: str = "") -> dict[str, Any]:
    head = data[: files.HEAD]
    assert SOURCE.recognise(name, head)
    given = {"organization": "org", "path": path}
    return {**SOURCE.context(name, head, lambda: io.BytesIO(data), given), "organization": "org"}


def load(data: bytes, name: str = "file.json", path: str = "", wanted: int = 1 << 20) -> tuple[list[Item], list[Flaw]]:
    """Items and flaws of a file; the living ones have made their rows. ``parsed`` is what a user's function sees."""
    facts = context(data, name, path)
    found: list[Item] = []
    flaws: list[Flaw] = []
    for block in SOURCE.split(io.BytesIO(data), facts, wanted, 1 << 26):
        if isinstance(block, Flaw):
            flaws.append(block)
            continue
        for item in SOURCE.items(block.data, block.ordinal, facts):
            place = {
                "start": item.start + block.start,
                "end": item.end + block.start,
                "ordinal": item.ordinal + block.ordinal,
            }
            if isinstance(item, Flaw):
                flaws.append(item._replace(**place))
            elif item.deleted:
                found.append(item._replace(**place))
            else:
                [row] = SOURCE.rows(FEED, block.data, [item])
                assert isinstance(row, bytes)
                found.append(item._replace(parsed=SOURCE.record(FEED, block.data, item), **place))
    return found, flaws


def keys(data: bytes, **options: Any) -> list[tuple[Any, ...]]:
    found, flaws = load(data, **options)
    assert flaws == []
    return [item.key[1:] for item in found]


def one(data: bytes, **options: Any) -> Item:
    [found], flaws = load(data, **options)
    assert flaws == []
    return found


def reason(data: bytes, **options: Any) -> str:
    found, [flaw] = load(data, **options)
    assert found == []
    return flaw.reason


SHAPES = {
    "one resource": text(PATIENT),
    "one resource, printed": text(PATIENT, indent=2),
    "a line": lines(PATIENT),
    "an array": text([PATIENT]),
    "a Bundle": text(bundle({"resource": PATIENT})),
    "a Bundle, printed": text(bundle({"resource": PATIENT}), indent=2),
    "a Bundle with its keys sorted": text(bundle({"resource": PATIENT}), sort_keys=True),
    "a Bundle with a byte order mark": b"\xef\xbb\xbf" + text(bundle({"resource": PATIENT})),
    "a Bundle in an array": text([bundle({"resource": PATIENT})]),
    "a Bundle in a line": lines(bundle({"resource": PATIENT}), bundle()),
    "a Bundle in a Bundle": text(bundle({"resource": bundle({"resource": PATIENT}, type="searchset")})),
}


@pytest.mark.parametrize("data", SHAPES.values(), ids=SHAPES)
def test_a_resource_is_the_same_in_every_shape(data: bytes) -> None:
    item = one(data)
    assert (item.feed, item.key, item.version, item.deleted) == ("resource", ("org", "Patient", "p1"), MICROS, False)
    assert item.parsed == {
        "organization_id": "org",
        "resource_type": "Patient",
        "id": "p1",
        "resource": PATIENT,
        "version": "7",
        "last_updated": datetime.fromtimestamp(MICROS / 1e6, UTC),
        "full_url": None,
    }


def test_the_row_holds_the_resource_alone_as_it_stands() -> None:
    raw = b'{ "id":"p1", "resourceType":"Patient", "x": 1.50 }'
    data = b'{"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:p1", "resource": ' + raw + b', "request":{}}]}'
    facts = context(data)
    [block] = SOURCE.split(io.BytesIO(data), facts, 1 << 20, 1 << 20)
    assert isinstance(block, Block)
    [item] = SOURCE.items(block.data, 0, facts)
    assert isinstance(item, Item)
    [row] = SOURCE.rows(FEED, block.data, [item])
    assert isinstance(row, bytes)
    assert (len(raw) + 1).to_bytes(4, "big") + b"\x01" + raw in row
    assert row.endswith(b"urn:uuid:p1")


def test_what_mapping_reads_is_the_resource_alone(tmp_path: Path) -> None:
    samples.write_bundle(tmp_path / "b.json")
    data = (tmp_path / "b.json").read_bytes()
    facts = context(data)
    assert SOURCE.document is not None
    for block in SOURCE.split(io.BytesIO(data), facts, 5_000, 1 << 20):
        assert isinstance(block, Block)
        for item in SOURCE.items(block.data, 0, facts):
            assert isinstance(item, Item)
            document = SOURCE.document(FEED, block.data, item)
            assert document == SOURCE.record(FEED, block.data, item)["resource"]
            assert document["id"] == item.key[2]


def test_both_readers_tell_the_same_of_every_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {**PATIENT, "meta": {"versionId": 3, "lastUpdated": "yesterday"}, "name": '\u00e9 \\ "', "n": [1.50, -0.0]}
    entries = [{"fullUrl": "urn:uuid:q", "resource": odd}, deletion("Patient/1"), {"resource": {}}, {"request": {}}]
    answer = {"response": {"lastModified": TIME, "status": "200"}}
    for release in ("R4", "STU3"):
        samples.write_bundle(tmp_path / "b.json", release=release, kind="history", day=3)
        entries += orjson.loads((tmp_path / "b.json").read_bytes())["entry"]
    data = text([*entries, odd, PLAIN, answer, deletion("Patient/1", **answer)])[:-1]  # as a block: without its end
    quickly = read(data, "array")
    monkeypatch.setattr(PROGRAM, "items", lambda data, kind: None)
    slowly = read(data, "array")
    assert [one._replace(columns=b"") for one in quickly] == [one._replace(columns=b"") for one in slowly]
    assert len(quickly) > 100


def test_rows_of_both_readers_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = samples.write_fhir_lines(tmp_path / "lines.ndjson", 40)
    samples.write_bundle(tmp_path / "bundle.json")
    for data in (path.read_bytes(), (tmp_path / "bundle.json").read_bytes()):
        with monkeypatch.context() as patch:
            quickly = rows(data)
            patch.setattr(PROGRAM, "items", lambda data, kind: None)
            assert rows(data) == quickly
            assert len(quickly) >= 40


def rows(data: bytes) -> list[bytes | RecordError]:
    facts = context(data)
    blocks = list(SOURCE.split(io.BytesIO(data), facts, 1 << 24, 1 << 24))
    found = [(block.data, list(SOURCE.items(block.data, 0, facts))) for block in blocks if isinstance(block, Block)]
    return [row for raw, items in found for row in SOURCE.rows(FEED, raw, items)]  # type: ignore[arg-type]


def test_what_comes_first_orders_copies() -> None:
    stated = {"response": {"lastModified": "2026-01-01T00:00:00Z"}}
    dated = bundle({"resource": PLAIN, **stated}, timestamp="2025-01-01T00:00:00Z")
    assert one(text(bundle({"resource": PATIENT, **stated}))).version == MICROS
    assert one(text(dated)).version == moment("2026-01-01T00:00:00Z")
    assert one(text(bundle({"resource": PLAIN}, timestamp="2025-01-01T00:00:00Z"))).version == moment(
        "2025-01-01T00:00:00Z"
    )
    assert one(text(bundle({"resource": PLAIN}, meta={"lastUpdated": TIME}))).version == MICROS
    assert one(text({**PLAIN, "meta": {"versionId": "7"}})).version == 7
    assert one(text({**PLAIN, "meta": {"versionId": "a7", "lastUpdated": "never"}})).version == 0


def moment(said: str) -> int:
    return int(datetime.fromisoformat(said).timestamp()) * 1_000_000


def test_a_bundle_says_when_whatever_the_order_of_its_keys() -> None:
    said = bundle({"resource": PLAIN}, timestamp="2025-01-01T00:00:00Z")
    assert one(text(said, sort_keys=True)).version == one(text(said)).version == moment("2025-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("url", "kind", "expected"),
    [
        ("urn:uuid:abc", "Patient", "abc"),
        ("urn:oid:1.2.3", "Patient", "1.2.3"),
        ("https://host/fhir/Patient/abc", "Patient", "abc"),
        ("https://host/fhir/Patient/abc/_history/2", "Patient", "abc"),
        ("https://host/fhir/Group/abc", "Patient", None),
        ("https://host/abc", "Patient", None),
    ],
)
def test_an_entry_without_id_has_it_from_its_full_url(url: str, kind: str, expected: str | None) -> None:
    data = text(bundle({"fullUrl": url, "resource": {"resourceType": kind}}))
    if expected is None:
        assert reason(data) == "The resource has no id, and its entry no fullUrl that tells it."
    else:
        assert one(data).key == ("org", kind, expected)
        assert one(data).parsed["full_url"] == url


def test_an_outcome_without_id_is_called_by_its_text() -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"code": "processing"}]}
    (kind, name), (_, other), (_, again) = keys(lines(outcome, {**outcome, "issue": []}, outcome), name="errors.ndjson")
    assert (kind, len(str(name)), again) == ("OperationOutcome", 32, name)
    assert other != name


def test_a_bundle_that_is_a_document_is_a_resource() -> None:
    document = {**bundle({"resource": PATIENT}, type="document"), "id": "d1"}
    assert keys(text(document)) == keys(lines(document, document))[:1] == [("Bundle", "d1")]
    assert keys(text(bundle({"resource": document}))) == [("Bundle", "d1")]
    behind = {"entry": [{"resource": PATIENT}], "id": "d1", "resourceType": "Bundle", "type": "document"}
    assert keys(text(behind)) == [("Bundle", "d1")]


def test_contained_resources_stay_where_they_are() -> None:
    inner = {"resourceType": "Medication", "id": "m"}
    assert one(text({**PLAIN, "contained": [inner]})).parsed["resource"]["contained"] == [inner]


def test_a_list_has_entries_but_is_no_bundle() -> None:
    assert keys(text({"resourceType": "List", "id": "l", "entry": [{"item": {"reference": "Patient/1"}}]})) == [
        ("List", "l")
    ]


def test_an_empty_bundle_is_no_error() -> None:
    assert keys(text({"resourceType": "Bundle", "type": "searchset", "total": 0})) == []
    assert keys(text(bundle())) == []
    assert keys(lines(bundle(), {"resourceType": "Bundle", "type": "searchset"}, PLAIN)) == [("Patient", "p1")]


DELETIONS = {
    "relative": (deletion("Patient/9"), ("Patient", "9")),
    "absolute": (deletion("https://host/fhir/Patient/9"), ("Patient", "9")),
    "of a version": (deletion("Patient/9/_history/3"), ("Patient", "9")),
    "with the resource": ({**deletion("Patient/9"), "resource": {**PATIENT, "id": "9"}}, ("Patient", "9")),
    "by full url": (deletion("Patient", fullUrl="https://host/Patient/9"), ("Patient", "9")),
}


@pytest.mark.parametrize(("entry", "key"), DELETIONS.values(), ids=DELETIONS)
def test_a_deletion_names_what_it_deletes(entry: dict[str, Any], key: tuple[str, str]) -> None:
    item = one(text(bundle(entry, meta={"lastUpdated": TIME})))
    assert (item.key[1:], item.deleted, item.version) == (key, True, MICROS)


def test_deletions_of_a_line_have_places_of_their_own() -> None:
    some = [bundle(deletion(f"Patient/{n}"), deletion(f"Patient/x{n}"), meta={"lastUpdated": TIME}) for n in range(3)]
    data = lines(*some)
    found, flaws = load(data)
    assert flaws == []
    assert [item.key[2] for item in found] == ["0", "x0", "1", "x1", "2", "x2"]
    assert [item.ordinal for item in found] == [0, 0, 1, 1, 2, 2]
    for item in found:
        assert json.loads(data[item.start : item.end]) == deletion(f"Patient/{item.key[2]}")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (deletion("Patient?identifier=x"), "names no resource"),
        (deletion("Patient"), "names no resource"),
        ({"request": {"method": "GET", "url": "Patient/1"}}, "no resource"),
        ({"resource": {"id": "1"}}, "without resourceType"),
        ({"resource": {"resourceType": "no type", "id": "1"}}, "no name of a type"),
        ({"resource": {"resourceType": "Patient"}}, "no id"),
        ({"resource": {"resourceType": "Patient", "id": 5}}, "id is a number"),
        ({"resource": {"resourceType": "Patient", "id": "a\u0000"}}, "NUL"),
        ({"resource": [1]}, "resource is an array"),
    ],
)
def test_a_bad_entry_costs_one_reject_and_quotes_nothing(entry: dict[str, Any], words: str) -> None:
    said = [{"resource": {**PLAIN, "id": name}} for name in "ab"]
    for data in (
        text(bundle(said[0], entry, said[1], meta={"lastUpdated": TIME})),
        lines(bundle(said[0], entry, said[1], meta={"lastUpdated": TIME}), PLAIN),
    ):
        found, [flaw] = load(data)
        assert [item.key[2] for item in found][:2] == ["a", "b"]
        assert words in flaw.reason
        assert flaw.error == "InvalidRecord"
        assert json.loads(data[flaw.start : flaw.end]) == entry


def test_a_deletion_without_any_time_is_rejected() -> None:
    assert "no time" in reason(text(bundle(deletion("Patient/1"))))


def test_a_key_twice_in_an_object_is_a_reject() -> None:
    assert "same key twice" in reason(b'{"resourceType":"Patient","id":"1","active":true,"active":false}')


def test_a_broken_line_costs_itself() -> None:
    data = lines(PLAIN) + b'{"resourceType":"Patient", "id":\n' + lines({**PLAIN, "id": "p2"})
    found, [flaw] = load(data)
    assert [item.key[2] for item in found] == ["p1", "p2"]
    assert (flaw.error, flaw.ordinal) == ("ParseError", 1)


def test_lines_longer_than_the_head_are_lines() -> None:
    long = {**PLAIN, "text": {"div": "x" * files.HEAD}}
    assert keys(lines(long, {**long, "id": "p2"})) == [("Patient", "p1"), ("Patient", "p2")]
    some = [bundle(deletion(f"Patient/{n}"), text="x" * files.HEAD, timestamp="2026-01-01T00:00:00Z") for n in range(2)]
    assert keys(lines(*some)) == [("Patient", "0"), ("Patient", "1")]


@pytest.mark.parametrize("wanted", [1, 300, 5_000])
def test_size_of_blocks_does_not_matter(wanted: int, tmp_path: Path) -> None:
    samples.write_bundle(tmp_path / "b.json", kind="history", day=3)
    data = (tmp_path / "b.json").read_bytes()
    found = load(data, wanted=wanted)
    assert found == load(data)
    assert len(found[0]) > 60


LOG = {"exportId": "e", "timestamp": TIME, "eventId": "kickoff", "eventDetail": {"exportUrl": "https://host/$export"}}


@pytest.mark.parametrize("data", [lines(LOG), lines(LOG, LOG)])
def test_the_log_of_an_export_is_known_and_holds_nothing(data: bytes) -> None:
    assert context(data, "log.ndjson")["layout"] == "log"
    assert load(data, "log.ndjson") == ([], [])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (text({"resourceType": "OperationOutcome", "issue": []}), "something went wrong"),
        (text({"resourceType": 5, "transactionTime": "x"}), "No FHIR resource"),
        (lines({"exportId": "x"}, {"exportId": "y"}), "keys exportId"),
        (text([{"exportId": "x"}]), "keys exportId"),
    ],
)
def test_what_is_no_fhir_is_refused_with_a_reason(data: bytes, words: str) -> None:
    data = data.replace(b'"transactionTime": "x"', b'"transactionTime":"x","resourceType":5')
    with pytest.raises(LayoutChanged, match=words):
        context(data)


def test_other_publishers_files_are_not_taken_for_ours() -> None:
    for head in (b'{"meta":{},"results":[{"set_id":"x"}]}', b'[{"protocolSection":{}}]', b"<Bundle/>", b"a,b"):
        assert not SOURCE.recognise("file.json", head)


def test_the_name_of_a_bulk_file_is_enough_to_recognise_it() -> None:
    head = b'{"contained":[{"data":"' + b"x" * files.HEAD
    for name in ("Patient.000.ndjson", "1.Patient.ndjson", "Patient.ndjson", "folder/Patient.000.ndjson.gz"):
        assert SOURCE.recognise(name, head)
    assert not SOURCE.recognise("other.json", head)


def test_members_stand_where_they_are_said_to() -> None:
    data = b' { "a" : "x\\"}" , "b\\u0063":[1,{"resource":2}], "resource" : {"c":{}} ,"n":null }'
    found = {key: data[start:end] for key, start, end in members(data, 1)}
    assert found == {"a": b'"x\\"}"', "bc": b'[1,{"resource":2}]', "resource": b'{"c":{}}', "n": b"null"}
    start, end = member(data, 1, "resource")
    assert data[start:end] == b'{"c":{}}'
    assert member(data, 1, "absent") == (1, 1)


# --- exports ----------------------------------------------------------------------------------------------------------


def witnesses(paths: Iterable[Path]) -> list[Witness]:
    """What a run knows of *paths* after it has loaded them."""
    made = []
    for path in paths:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found, flaws = load(data, path.name, str(path))
        made.append(Witness(str(path), context(data, path.name, str(path)), "done", len(found + flaws), len(flaws)))
    return made


def by_kind(certificates: list[Certificate]) -> dict[str, Certificate]:
    return {kind: one for one in certificates for kind in one.kinds}


def test_a_whole_export_is_certified_type_by_type(tmp_path: Path) -> None:
    export = samples.write_fhir(tmp_path, patients=30, per_file=10, packed=True)
    found = by_kind(SOURCE.certify(witnesses(export.files)))  # type: ignore[misc]
    assert {kind: (one.whole, one.expected, one.seen) for kind, one in found.items()} == {
        kind: (True, count, count) for kind, count in export.records.items()
    }


def spoiled(tmp_path: Path, **changes: Any) -> dict[str, Certificate]:
    """The certificates of an export whose manifest was changed."""
    export = samples.write_fhir(tmp_path, patients=12)
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | changes))
    return by_kind(SOURCE.certify(witnesses(export.files)))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"request": "https://host/$export?_since=2026-01-01T00:00:00Z"}, "since a time"),
        ({"request": "https://host/$export?_typeFilter=Patient%3Factive%3Dtrue"}, "selection"),
        ({"request": "https://host/Group/5/$export"}, "of a group"),
        ({"link": [{"relation": "next", "url": "x"}]}, "next page"),
        ({"error": [{"type": "OperationOutcome", "url": "https://host/errors.ndjson"}]}, "had errors"),
        ({"deleted": [{"type": "Bundle", "url": "https://host/deleted.ndjson"}]}, "names deletions"),
    ],
)
def test_an_export_of_less_than_all_is_not_whole(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    found = spoiled(tmp_path, **changes)
    assert found["Patient"].whole is found["Slot"].whole is False
    assert any(words in reason for reason in found["Patient"].reasons)


@pytest.mark.parametrize("operation", ["$export", "%24export?_outputFormat=ndjson"])
def test_an_export_of_all_patients_is_whole_of_what_is_theirs_alone(operation: str, tmp_path: Path) -> None:
    found = spoiled(tmp_path, request=f"https://host/Patient/{operation}")
    assert {kind for kind, one in found.items() if one.whole} >= {"Patient", "Condition", "Encounter"}
    for kind in ("Practitioner", "Organization", "Location", "Slot"):
        assert not found[kind].whole
        assert any("all patients" in reason for reason in found[kind].reasons)


def test_a_type_that_was_asked_for_and_is_not_there_is_wholly_absent(tmp_path: Path) -> None:
    found = spoiled(tmp_path, request="https://host/$export?_type=Patient,Device")
    assert found["Device"] == Certificate(("Device",), True, 0, 0)


def test_a_missing_file_a_reject_and_a_wrong_count_each_keep_their_type_from_being_whole(tmp_path: Path) -> None:
    export = samples.write_fhir(tmp_path, patients=30, per_file=10)
    (tmp_path / "Slot.001.ndjson").write_bytes(
        b"".join((tmp_path / "Slot.001.ndjson").read_bytes().splitlines(True)[:-1])
    )
    (tmp_path / "Coverage.000.ndjson").write_bytes(
        (tmp_path / "Coverage.000.ndjson").read_bytes().replace(b'"id"', b'"di"', 1)
    )
    given = [one for one in witnesses(export.files) if "Patient.001" not in one.path]
    given = [one._replace(status="refused") if "Location" in one.path else one for one in given]
    found = by_kind(SOURCE.certify(given))  # type: ignore[misc]
    assert {kind for kind, one in found.items() if not one.whole} == {"Patient", "Slot", "Coverage", "Location"}
    assert found["Patient"].reasons == ("1 of 3 files that the manifest names were not given",)
    assert found["Slot"].reasons == ("1 files do not hold as many records as the manifest says",)
    assert found["Coverage"].reasons == ("1 records were rejected",)
    assert found["Location"].reasons == ("1 files could not be read to their end",)


def test_without_a_manifest_nothing_is_whole(tmp_path: Path) -> None:
    export = samples.write_fhir(tmp_path, patients=3)
    seen = witnesses(export.files)
    [alone] = SOURCE.certify([one for one in seen if not one.path.endswith("manifest.json")])  # type: ignore[misc]
    assert not alone.whole
    assert "Patient" in alone.kinds
    assert alone.reasons == ("13 files are of an export whose manifest.json was not given with them",)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "manifest.json").touch()
    paths = [path for path in export.files if "manifest" not in path.name]
    [alone] = SOURCE.certify(witnesses(paths))  # type: ignore[misc]
    assert (alone.whole, alone.seen) == (False, sum(export.records.values()))
    assert alone.reasons[0].startswith("no manifest.json beside them names 13 files")


def test_a_file_that_was_refused_is_not_said_to_be_missing(tmp_path: Path) -> None:
    export = samples.write_fhir(tmp_path, patients=30, per_file=10)
    refused = Witness(str(tmp_path / "Patient.001.ndjson"), {}, "refused", 0, 0)
    given = [one for one in witnesses(export.files) if "Patient.001" not in one.path]
    found = by_kind(SOURCE.certify([*given, refused]))  # type: ignore[misc]
    assert found["Patient"].reasons == (
        "1 of 3 files that the manifest names were not given, or are among the 1 that were refused before it could be"
        " told what they are",
    )
    assert found["Slot"].whole
    [alone] = SOURCE.certify([refused])  # type: ignore[misc]
    assert (alone.whole, alone.reasons) == (False, ("1 files were refused before it could be told what they are",))


def test_a_manifest_behind_a_link_is_not_read(tmp_path: Path) -> None:
    export = samples.write_fhir(tmp_path / "in", patients=3)
    (tmp_path / "in" / "manifest.json").rename(tmp_path / "manifest.json")
    (tmp_path / "in" / "manifest.json").symlink_to(tmp_path / "manifest.json")
    paths = [path for path in export.files if path.name != "manifest.json"]
    [alone] = SOURCE.certify(witnesses(paths))  # type: ignore[misc]
    assert alone.reasons[0].startswith("no manifest.json beside them names")


def test_the_time_of_an_export_orders_what_has_no_other(tmp_path: Path) -> None:
    manifest = {
        "transactionTime": TIME,
        "output": [{"type": "Patient", "url": "https://host/a%20b/Patient.0.ndjson?x=1"}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    named, other = str(tmp_path / "Patient.0.ndjson.gz"), str(tmp_path / "Patient.1.ndjson")
    assert one(lines(PLAIN), name="Patient.0.ndjson.gz", path=named).version == MICROS
    assert one(lines(PLAIN), name="Patient.1.ndjson", path=other).version == 0
    (tmp_path / "manifest.json").unlink()
    assert one(lines(PLAIN), name="Patient.0.ndjson", path=named).version == 0
    done = {**LOG, "eventId": "status_complete", "eventDetail": {"transactionTime": TIME}}
    (tmp_path / "log.ndjson").write_bytes(lines(LOG, done))
    assert one(lines(PLAIN), name="Patient.1.ndjson", path=other).version == MICROS


def test_a_log_of_two_exports_orders_nothing(tmp_path: Path) -> None:
    times = (TIME, "2026-05-01T00:00:00Z")
    (tmp_path / "log.ndjson").write_bytes(lines(*({**LOG, "eventDetail": {"transactionTime": time}} for time in times)))
    assert one(lines(PLAIN), path=str(tmp_path / "x.ndjson")).version == 0


def test_a_deletion_is_newer_than_what_it_deletes_and_older_than_what_is_made_anew(tmp_path: Path) -> None:
    versions: dict[Any, list[tuple[int, bool]]] = {}
    for day, changed_only in ((0, False), (1, True), (3, True)):
        export = samples.write_fhir(tmp_path / str(day), patients=25, day=day, changed_only=changed_only)
        for path in export.files:
            for item in load(path.read_bytes(), path.name, str(path))[0]:
                versions.setdefault(item.key, []).append((item.version, item.deleted))
    histories = [history for history in versions.values() if any(deleted for _, deleted in history)]
    assert all(history == sorted(history) for history in histories)
    assert {tuple(deleted for _, deleted in history) for history in histories} == {(False, True), (False, True, False)}


@pytest.mark.parametrize("release", ["R4", "STU3"])
def test_samples_are_the_same_every_time(release: Any, tmp_path: Path) -> None:
    for name in "ab":
        samples.write_fhir(tmp_path / name, patients=5, day=2, release=release)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize(
    "behind", ['{"resourceType": "Bundle", "type": "searchset", "entry": []}', "<html>504</html>", "}"]
)
@pytest.mark.parametrize(
    "document",
    [
        {"resourceType": "Bundle", "type": "searchset", "total": 0},
        {"transactionTime": "2026-01-01T00:00:00Z", "output": []},
    ],
)
def test_what_stands_behind_a_document_without_records_is_noticed(document: dict[str, Any], behind: str) -> None:
    text = json.dumps(document, indent=1)
    for data, clean in ((text.encode(), True), (f"{text}\n{behind}".encode(), False)):
        context = SOURCE.context("a.json", data, lambda data=data: io.BytesIO(data), {})  # type: ignore[misc]
        try:
            pieces = list(SOURCE.split(io.BytesIO(data), context, 1 << 20, 1 << 20))
        except LayoutChanged:
            assert not clean
        else:
            assert [type(piece) for piece in pieces] == ([] if clean else [Flaw])
