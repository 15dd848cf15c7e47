"""ClinicalTrials.gov: every shape of a file, the order of copies, and what becomes of bad studies."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

import places
from medmirror.errors import InvalidRecord, LayoutChanged, RecordError
from medmirror.model import Block, Flaw, Item
from medmirror.sources.clinicaltrials import LEFT_OUT, SOURCE, STUDY

SHARED = places.DATA / "ctgov"
REAL = sorted(path for path in SHARED.rglob("*") if path.is_file()) or [SHARED]
absent = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data, the publishers' real files, is not there")


def study(nct_id: str = "NCT00000001", **changes: Any) -> dict[str, Any]:
    return {
        "protocolSection": {
            "identificationModule": {"nctId": nct_id, "briefTitle": "A Trial", "nctIdAliases": ["NCT09999999"]},
            "statusModule": {
                "overallStatus": "RECRUITING",
                "startDateStruct": {"date": "2023-05", "type": "ACTUAL"},
                "completionDateStruct": {"date": "2024-02-30"},
                "studyFirstPostDateStruct": {"date": "2023-06-01"},
                "lastUpdatePostDateStruct": {"date": "2023-06-28"},
            },
            "designModule": {"studyType": "INTERVENTIONAL", "phases": ["PHASE2", "PHASE3"]}
            | {"enrollmentInfo": {"count": 60, "type": "ESTIMATED"}},
            "conditionsModule": {"conditions": ["Asthma"], "keywords": ["lung"]},
            "armsInterventionsModule": {"interventions": [{"name": "Drug A"}, {"name": "Drug B"}, {"name": "Drug A"}]},
            "contactsLocationsModule": {"locations": [{"country": "Japan"}, {"country": "Japan"}]},
            "referencesModule": {"references": [{"pmid": "1", "type": "RESULT"}, {"citation": "no number"}]},
            "sponsorCollaboratorsModule": {"leadSponsor": {"name": "Someone", "class": "INDUSTRY"}},
        },
        "derivedSection": {"miscInfoModule": {"versionHolder": "2024-01-02"}},
        "hasResults": False,
    } | changes


def load(data: bytes, wanted: int = 1 << 20) -> tuple[list[tuple[Item, bytes]], list[Flaw], list[RecordError]]:
    """(items with their raw bytes, flaws, errors of rows) of a file."""
    facts = SOURCE.context("file.json", data[: 1 << 16], lambda: io.BytesIO(data), {})
    found, flaws, errors = [], [], []
    for block in SOURCE.split(io.BytesIO(data), facts, wanted, 1 << 26):
        if isinstance(block, Flaw):
            flaws.append(block)
            continue
        some = list(SOURCE.items(block.data, block.ordinal, facts))
        flaws += [one for one in some if isinstance(one, Flaw)]
        items = [one for one in some if isinstance(one, Item)]
        for item, row in zip(items, SOURCE.rows(STUDY, block.data, items), strict=True):
            if isinstance(row, bytes):
                found.append((item, block.data[item.start : item.end]))
                assert SOURCE.rows(STUDY, block.data, [item._replace(parsed=None)]) == [row]
            else:
                errors.append(row)
    return found, flaws, errors


def values(one: dict[str, Any]) -> dict[str, Any]:
    data = orjson.dumps(one)
    facts = {"layout": "bare", "array": ""}
    [item] = SOURCE.items(data, 0, facts)
    assert isinstance(item, Item), item
    return SOURCE.record(STUDY, data, item)


def version(one: dict[str, Any]) -> int:
    [item] = SOURCE.items(orjson.dumps(one), 0, {"layout": "bare", "array": ""})
    assert isinstance(item, Item), item
    return item.version


SHAPES = {
    "array": lambda many: json.dumps(many).encode(),
    "array as downloaded": lambda many: b"[\n" + b",\n".join(map(orjson.dumps, many)) + b"\n]",
    "pretty": lambda many: json.dumps(many, indent=2).encode(),
    "page": lambda many: json.dumps({"studies": many, "nextPageToken": "x"}).encode(),
    "page, keys in another order": lambda many: json.dumps({"totalCount": 3, "studies": many}, indent=1).encode(),
    "lines": lambda many: b"\n".join(map(orjson.dumps, many)),
    "byte order mark": lambda many: b"\xef\xbb\xbf" + json.dumps(many).encode(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_studies(shape: str) -> None:
    many = [study(f"NCT0000000{number}") for number in range(3)]
    data = SHAPES[shape](many)
    assert SOURCE.recognise("any name", data)
    for wanted in (1, 500, 1 << 20):
        found, flaws, errors = load(data, wanted)
        assert not flaws
        assert not errors
        assert [json.loads(raw) for _, raw in found] == many
        assert [item.key for item, _ in found] == [(f"NCT0000000{number}",) for number in range(3)]


def test_one_study_a_file() -> None:
    for data in (orjson.dumps(study()), json.dumps(study(), indent=2).encode()):
        [(item, raw)], flaws, _ = load(data)
        assert (item.key, json.loads(raw), flaws) == (("NCT00000001",), study(), [])


def test_empty_page_holds_nothing_and_is_no_error() -> None:
    assert load(b'{"studies": []}') == ([], [], [])


def test_columns_keep_what_was_given() -> None:
    row = values(study())
    assert row["study"] == study()
    assert (row["start_date"], row["start_day"]) == ("2023-05", datetime.date(2023, 5, 1))
    assert (row["completion_date"], row["completion_day"]) == ("2024-02-30", None)
    assert row["last_update_posted"] == datetime.date(2023, 6, 28)
    assert row["phases"] == ["PHASE2", "PHASE3"]
    assert (row["enrollment"], row["has_results"]) == (60, False)
    assert row["interventions"] == ["Drug A", "Drug B", "Drug A"]
    assert (row["countries"], row["pmids"]) == (["Japan"], ["1"])
    assert row["nct_id_aliases"] == ["NCT09999999"]
    assert set(row) == {column.name for column in STUDY.all_columns} - {"deleted"}
    assert LEFT_OUT == {}


def test_enrollment_that_is_no_count_leaves_its_column_empty() -> None:
    for count in (10**12, "many", None, 1.5):
        one = study()
        one["protocolSection"]["designModule"]["enrollmentInfo"]["count"] = count
        assert values(one)["enrollment"] is None


def test_newer_update_wins_then_newer_release_then_the_fuller_copy() -> None:
    older, newer, released, pruned = study(), study(), study(), study()
    newer["protocolSection"]["statusModule"]["lastUpdatePostDateStruct"]["date"] = "2023-06-29"
    newer["derivedSection"] = {}
    released["derivedSection"]["miscInfoModule"]["versionHolder"] = "2024-01-03"
    del pruned["protocolSection"]["contactsLocationsModule"]
    assert version(newer) > version(released) > version(older) > version(pruned)


@pytest.mark.parametrize("kept", [("identificationModule",), ("identificationModule", "statusModule")])
def test_pruned_copy_loses_to_the_whole_one(kept: tuple[str, ...]) -> None:
    modules = study()["protocolSection"]
    pruned = {"protocolSection": {name: modules[name] for name in kept}}
    assert 0 <= version(pruned) < version(study())


BAD: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no nctId": (lambda one: one["protocolSection"]["identificationModule"].pop("nctId"), "no protocolSection"),
    "short nctId": (
        lambda one: one["protocolSection"]["identificationModule"].update(nctId="NCT000001"),
        "eight digits",
    ),
    "digits of another script": (
        lambda one: one["protocolSection"]["identificationModule"].update(nctId="NCT0000000٣"),
        "eight digits",
    ),
    "boxed": (lambda one: one["protocolSection"]["identificationModule"].update(nctId=["NCT00000001"]), "converter"),
    "number": (lambda one: one["protocolSection"]["identificationModule"].update(nctId=1), "is a number, not text"),
    "section is text": (lambda one: one.update(protocolSection="x"), "not an object"),
}


@pytest.mark.parametrize("name", BAD)
def test_study_without_a_key_is_one_flaw(name: str) -> None:
    change, words = BAD[name]
    many = [study("NCT00000001"), study("NCT00000002"), study("NCT00000003")]
    change(many[1])
    found, flaws, _ = load(orjson.dumps(many))
    assert [item.key[0] for item, _ in found] == ["NCT00000001", "NCT00000003"]
    [flaw] = flaws
    assert (flaw.error, flaw.feed, flaw.ordinal) == ("InvalidRecord", "study", 1)
    assert words in flaw.reason


WRONG = {
    "title is an array": ("identificationModule", {"nctId": "NCT00000002", "briefTitle": ["x"]}, "briefTitle"),
    "conditions is text": ("conditionsModule", {"conditions": "Asthma"}, "conditions"),
    "locations is an object": ("contactsLocationsModule", {"locations": {}}, "locations"),
    "outcomes hold text": ("outcomesModule", {"primaryOutcomes": ["x"]}, "primaryOutcomes"),
    "NUL": ("conditionsModule", {"conditions": ["a\0b"]}, "NUL"),
}


@pytest.mark.parametrize("name", WRONG)
def test_study_of_wrong_types_is_one_error(name: str) -> None:
    module, content, words = WRONG[name]
    many = [study("NCT00000001"), study("NCT00000002"), study("NCT00000003")]
    many[1]["protocolSection"][module] = content
    found, flaws, [error] = load(orjson.dumps(many))
    assert ([item.key[0] for item, _ in found], flaws) == (["NCT00000001", "NCT00000003"], [])
    assert isinstance(error, InvalidRecord)
    assert words in error.message


def test_key_twice_is_one_error() -> None:
    data = orjson.dumps([study("NCT00000001"), study("NCT00000002")])
    data = data.replace(b'"hasResults":false', b'"hasResults":false,"hasResults":true', 1)
    found, _, [error] = load(data)
    assert [item.key[0] for item, _ in found] == ["NCT00000002"]
    assert "same key twice" in error.message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'[{"name":"protocolSection","piece":"ProtocolSection"}]', "the records have the keys name, piece"),
        (b'{"error":{"code":"NOT_FOUND","message":"x"}}', "an error message .NOT_FOUND."),
        (b'{"meta":{},"results":[]}', "the keys meta, results"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"openapi: 3.0.3\n", "not JSON"),
        (b"", "empty"),
    ],
)
def test_file_of_something_else_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(LayoutChanged, match=words):
        SOURCE.context("file.json", data, lambda: io.BytesIO(data), {})


NO_STUDIES = {"studies_metadata_v2.json", "ctg-oas-v2_2024.yaml", "ctg-oas-v2_2024-02.yaml"}


def ids(documents: list[Any]) -> list[Any]:
    return [one.get("protocolSection", {}).get("identificationModule", {}).get("nctId") for one in documents]


@pytest.mark.shared
@absent
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
@pytest.mark.parametrize("wanted", [1, 1 << 20])
def test_every_real_file_gives_its_studies_or_is_refused(path: Path, wanted: int) -> None:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if path.name in NO_STUDIES:
        with pytest.raises(LayoutChanged):
            load(data)
        assert not SOURCE.recognise(path.name, data[: 1 << 16])
        return
    assert SOURCE.recognise(path.name, data[: 1 << 16])
    document = json.loads(data)
    documents = document if isinstance(document, list) else document.get("studies", [document])
    found, flaws, errors = load(data, wanted)
    expected = [one for one, key in zip(documents, ids(documents), strict=True) if _is_id(key)]
    assert [json.loads(raw) for _, raw in found] == expected  # every field of every study, value for value
    assert [item.key[0] for item, _ in found] == ids(expected)
    assert len(flaws) == len(documents) - len(expected)
    assert not errors


def _is_id(key: Any) -> bool:
    return isinstance(key, str) and re.fullmatch(r"NCT\d{8}", key) is not None


def test_blocks_hold_whole_studies() -> None:
    data = orjson.dumps([study(f"NCT000000{number:02}") for number in range(40)])
    facts = SOURCE.context("x", data[: 1 << 16], lambda: io.BytesIO(data), {})
    blocks = list(SOURCE.split(io.BytesIO(data), facts, 3000, 1 << 20))
    assert len(blocks) > 5
    assert all(isinstance(block, Block) and len(block.data) <= 4500 for block in blocks)
