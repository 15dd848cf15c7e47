"""openFDA: feeds told by their records' own keys, the order of copies, and what becomes of bad records."""

from __future__ import annotations

import datetime
import gzip
import io
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

import places
from medmirror.errors import InvalidRecord, LayoutChanged, RecordError
from medmirror.model import Flaw, Item
from medmirror.sources.openfda import LEFT_OUT, SOURCE

SHARED = places.DATA / "openfda"
REAL = sorted(path for path in SHARED.rglob("*") if path.is_file()) or [SHARED]
absent = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data, the publishers' real files, is not there")

META = {"last_updated": "2025-02-08", "results": {"skip": 0, "limit": 1, "total": 1}}
ADDED = {"rxcui": ["1", "2"], "product_ndc": ["0001-0002"], "application_number": ["NDA000001"], "unii": ["U"]}
RECORDS: dict[str, dict[str, Any]] = {
    "label": {
        "set_id": "s-1",
        "id": "i-1",
        "version": "3",
        "effective_time": "20240408",
        "warnings": ["Mind."],
        "openfda": ADDED,
    },
    "ndc": {
        "product_id": "0001-0002_x",
        "product_ndc": "0001-0002",
        "finished": True,
        "generic_name": "Drug",
        "application_number": "NDA000001",
        "marketing_start_date": "20200101",
        "listing_expiration_date": "20230231",
        "active_ingredients": [{"name": "A", "strength": "1 mg"}, {"name": "B"}],
        "packaging": [{"package_ndc": "0001-0002-01"}],
        "route": ["ORAL"],
        "openfda": {"spl_set_id": ["s-1"], "is_original_packager": [True]},
    },
    "event": {
        "safetyreportid": "100",
        "safetyreportversion": "2",
        "receivedate": "20200101",
        "receiptdate": "20200102",
        "serious": "1",
        "seriousnessdeath": "2",
        "patient": {
            "patientsex": "2",
            "reaction": [{"reactionmeddrapt": "Nausea"}, {"reactionmeddrapt": "Nausea"}],
            "drug": [{"medicinalproduct": "X", "openfda": {"rxcui": ["1", "2"]}}, {"openfda": {"rxcui": ["2", "3"]}}],
        },
    },
    "enforcement": {
        "recall_number": "D-1-2020",
        "product_type": "Drugs",
        "report_date": "20200301",
        "recalling_firm": "Firm",
        "openfda": {},
    },
    "shortage": {
        "package_ndc": "0001-0002-01",
        "generic_name": "Drug Injection",
        "company_name": "Firm",
        "presentation": "Vial",
        "initial_posting_date": "03/15/2023",
        "update_date": "11/02/2025",
        "status": "Current",
        "therapeutic_category": ["Other"],
    },
    "drugsfda": {
        "application_number": "NDA000001",
        "sponsor_name": "Firm",
        "products": [
            {"brand_name": "D", "active_ingredients": [{"name": "A"}, {"name": "A"}], "dosage_form": "TABLET"}
        ],
        "submissions": [
            {"submission_type": "SUPPL", "submission_status": "AP", "submission_status_date": "19790101"},
            {"submission_type": "ORIG", "submission_status": "AP", "submission_status_date": "19800101"},
        ],
        "openfda": ADDED,
    },
}


def partition(*records: Any, meta: Any = META, first: bool = True) -> bytes:
    outside, inside = {"meta": meta}, {"results": list(records)}
    return json.dumps({**outside, **inside} if first else {**inside, **outside}, indent=2).encode()


def context(data: bytes) -> dict[str, Any]:
    return dict(SOURCE.context("file.json", data[: 1 << 16], lambda: io.BytesIO(data), {}))


def load(data: bytes, wanted: int = 1 << 20) -> tuple[list[tuple[Item, bytes]], list[Flaw], list[RecordError]]:
    """(items with their raw bytes, flaws, errors of rows) of a file."""
    facts = context(data)
    found, flaws, errors = [], [], []
    for block in SOURCE.split(io.BytesIO(data), facts, wanted, 1 << 26):
        if isinstance(block, Flaw):
            flaws.append(block)
            continue
        for item in SOURCE.items(block.data, block.ordinal, facts):
            if isinstance(item, Flaw):
                flaws.append(item)
                continue
            [row] = SOURCE.rows(SOURCE.feed(item.feed), block.data, [item])
            if isinstance(row, bytes):
                found.append((item, block.data[item.start : item.end]))
            else:
                errors.append(row)
    return found, flaws, errors


def one(record: Any, exported: int = 0) -> Item | Flaw:
    [item] = SOURCE.items(orjson.dumps(record), 0, {"layout": "bare", "array": "", "exported": exported})
    return item


def values(record: dict[str, Any]) -> dict[str, Any]:
    item = one(record)
    assert isinstance(item, Item), item
    return SOURCE.record(SOURCE.feed(item.feed), orjson.dumps(record), item)


def test_mixed_file_is_told_apart_by_keys() -> None:
    found, flaws, errors = load(partition(*RECORDS.values()), 300)
    assert not flaws
    assert not errors
    assert [item.feed for item, _ in found] == list(RECORDS)
    assert [json.loads(raw) for _, raw in found] == list(RECORDS.values())
    assert {feed.name for feed in SOURCE.feeds} == set(RECORDS)


@pytest.mark.parametrize("name", RECORDS)
def test_every_layout_of_a_feed(name: str) -> None:
    record = RECORDS[name]
    for data in (
        partition(record, record),
        json.dumps([record, record]).encode(),
        orjson.dumps(record) + b"\n" + orjson.dumps(record),
        partition(record, record, first=False),
    ):
        found, flaws, _ = load(data)
        assert [item.feed for item, _ in found] == [name, name]
        assert not flaws
        assert SOURCE.recognise("any name", data)
    assert [item.feed for item, _ in load(orjson.dumps(record))[0]] == [name]


def test_columns_hold_what_people_filter_by() -> None:
    label = values(RECORDS["label"])
    assert (label["set_id"], label["version"]) == ("s-1", 3)
    assert label["effective_time"] == datetime.date(2024, 4, 8)
    assert (label["rxcui"], label["application_number"]) == (["1", "2"], ["NDA000001"])
    ndc = values(RECORDS["ndc"])
    assert (ndc["active_ingredients"], ndc["package_ndc"]) == (["A", "B"], ["0001-0002-01"])
    assert (ndc["marketing_start_date"], ndc["listing_expiration_date"]) == (datetime.date(2020, 1, 1), None)
    event = values(RECORDS["event"])
    assert (event["serious"], event["seriousnessdeath"], event["seriousnessother"]) == (True, False, None)
    assert (event["reactions"], event["rxcui"], event["drugs"]) == (["Nausea"], ["1", "2", "3"], ["X"])
    assert values(RECORDS["enforcement"])["product_type"] == "Drugs"
    shortage = values(RECORDS["shortage"])
    assert shortage["initial_posting_date"] == datetime.date(2023, 3, 15)
    application = values(RECORDS["drugsfda"])
    assert (application["approved"], application["active_ingredients"]) == (datetime.date(1980, 1, 1), ["A"])
    assert LEFT_OUT == {}


@pytest.mark.parametrize("name", RECORDS)
def test_record_names_every_column(name: str) -> None:
    feed = SOURCE.feed(name)
    row = values(RECORDS[name])
    assert set(row) == {column.name for column in feed.all_columns} - {"deleted"}
    assert row["record"] == RECORDS[name]


def version(name: str, exported: int = 0, **changes: Any) -> int:
    item = one(RECORDS[name] | changes, exported)
    assert isinstance(item, Item), item
    return item.version


def test_own_version_counts_before_own_day_before_export() -> None:
    assert version("label", version="10", effective_time="20010101") > version("label", version="9", exported=730_000)
    assert version("label", effective_time="20240409") > version("label", exported=730_000)
    assert version("label", exported=730_001) > version("label", exported=730_000) > version("label")
    assert version("event", safetyreportversion="3") > version("event", receiptdate="20250101")
    assert version("enforcement", report_date="20200302") > version("enforcement", exported=730_000)
    assert version("shortage", update_date="11/03/2025") > version("shortage")
    assert version("ndc", exported=2) > version("ndc", exported=1) > version("ndc") == 0
    assert version("label", version="none", effective_time="20230231") == 0
    assert version("label", version=str(10**15)) < 1 << 63


@pytest.mark.parametrize("first", [True, False])
def test_export_day_is_found_on_either_side(first: bool) -> None:
    many = [RECORDS["label"] | {"text": "x" * 1000}] * 100
    assert context(partition(*many, first=first))["exported"] == datetime.date(2025, 2, 8).toordinal()
    assert context(partition(*many, meta={"last_updated": 5}))["exported"] == 0


def key(**changes: Any) -> Any:
    item = one(RECORDS["shortage"] | changes)
    return item.key if isinstance(item, Item) else item


def test_shortage_keeps_its_key_while_it_lasts() -> None:
    assert key() == key(status="Resolved", update_date="01/01/2026", availability="Available")
    assert len({key(), key(presentation="Bag"), key(initial_posting_date="01/01/2024"), key(package_ndc="x")}) == 4
    assert key(package_ndc=None)[0] == ""
    assert isinstance(one({"package_ndc": None, "initial_posting_date": "03/15/2023"}), Flaw)


BAD = {
    "label": ("set_id", ["s-1"], "converter"),
    "ndc": ("product_id", 5, "a number"),
    "event": ("safetyreportid", None, "no safetyreportid"),
    "enforcement": ("recall_number", "", "no recall_number"),
    "shortage": ("package_ndc", {}, "an object"),
    "drugsfda": ("application_number", [], "an array"),
}


@pytest.mark.parametrize("name", BAD)
def test_record_without_a_good_key_is_one_flaw(name: str) -> None:
    field, value, words = BAD[name]
    record = RECORDS[name]
    found, [flaw], _ = load(partition(record, record | {field: value}, record))
    assert len(found) == 2
    assert (flaw.error, flaw.feed, flaw.ordinal) == ("InvalidRecord", name, 1)
    assert words in flaw.reason


@pytest.mark.parametrize("name", ["label", "event", "enforcement", "drugsfda"])
def test_record_that_lost_its_key_is_still_known(name: str) -> None:
    record = (
        RECORDS[name] | {"recalling_firm": "F", "reason_for_recall": "R"} if name == "enforcement" else RECORDS[name]
    )
    lost = {field: value for field, value in record.items() if field != BAD[name][0]}
    flaw = one(lost)
    assert isinstance(flaw, Flaw)
    assert flaw.feed == name


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "openfda is text": ("label", {"openfda": "x"}, "openfda is text"),
    "rxcui holds numbers": ("label", {"openfda": {"rxcui": [1]}}, "rxcui holds a number"),
    "packaging holds text": ("ndc", {"packaging": ["x"]}, "packaging holds text"),
    "patient is an array": ("event", {"patient": []}, "patient is an array"),
    "NUL": ("label", {"warnings": ["\0"]}, "NUL"),
}


@pytest.mark.parametrize("name", WRONG)
def test_record_of_wrong_types_is_one_error(name: str) -> None:
    feed, changes, words = WRONG[name]
    found, flaws, [error] = load(partition(RECORDS[feed], RECORDS[feed] | changes, RECORDS[feed]))
    assert (len(found), flaws) == (2, [])
    assert isinstance(error, InvalidRecord)
    assert words in error.message


def test_unknown_record_among_others_is_one_flaw() -> None:
    found, [flaw], _ = load(partition(RECORDS["label"], {"mdr_report_key": "1"}, RECORDS["ndc"]))
    assert len(found) == 2
    assert flaw.feed is None
    assert "mdr_report_key" in flaw.reason


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"error":{"code":"NOT_FOUND","message":"No matches found!"}}', "an error message .NOT_FOUND."),
        (b'{"meta":{},"results":{"drug":{"label":{"partitions":[]}}}}', "list of downloads"),
        (b'{"$schema":"http://json-schema.org/draft-03/schema","properties":{}}', "JSON schema"),
        (partition({"mdr_report_key": "1"}), "feed known here"),
        (b'[{"protocolSection":{}}]', "protocolSection"),
        (b"<ichicsr>", "XML"),
        (b"", "empty"),
    ],
)
def test_file_of_something_else_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(LayoutChanged, match=words):
        context(data)


NO_RECORDS = {"fields", "schemas", "site_examples"}
REFUSED = {"download.json", "event.sgm", "harmonized.small.json", "raw_badutf8.txt"}


@pytest.mark.shared
@absent
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
@pytest.mark.parametrize("wanted", [1, 1 << 20])
def test_every_real_file_gives_its_records_or_is_refused(path: Path, wanted: int) -> None:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if path.parent.name in NO_RECORDS or path.name in REFUSED:
        with pytest.raises(LayoutChanged):
            load(data, wanted)
        return
    assert SOURCE.recognise(path.name, data[: 1 << 16])
    document = json.loads(data)
    found, flaws, errors = load(data, wanted)
    assert [json.loads(raw) for _, raw in found] == document.get("results", [document])  # every field, value for value
    assert not flaws
    assert not errors
    feeds = {"drugsfda", "event", "label", "enforcement"}
    assert {item.feed for item, _ in found} < feeds
    assert all(item.feed in path.name for item, _ in found)
