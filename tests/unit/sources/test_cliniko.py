"""Cliniko: every shape of a saved page, ids of any size, links, keys that repeat, deletions, and what makes a list
whole."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmirror import native
from medmirror.errors import LayoutChanged, RecordError
from medmirror.model import Block, Certificate, Flaw, Item, Witness
from medmirror.readers import files
from medmirror.readers.json import cut as jsoncut
from medmirror.readers.json.native import Columns, Program
from medmirror.readers.json.values import exactly, link_id, moment, moment_number
from medmirror.sources.base import Context
from medmirror.sources.cliniko import ANY, OF, SOURCE
from medmirror.sources.cliniko.pages import Page, behind, page
from medmirror_testing.samples import write_cliniko
from medmirror_testing.samples.people import person

API = "https://api.au1.cliniko.com/v1"
WHO = person(7)
SECOND = 1_000_000


def patient(own: Any = "82", **changes: Any) -> dict[str, Any]:
    return {
        "id": own,
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2024-05-06T07:08:09Z",
        "archived_at": "",
        "deleted_at": None,
        "first_name": WHO.given,
        "last_name": WHO.family,
        "date_of_birth": str(WHO.birth_date),
        "email": "",
        "patient_phone_numbers": [{"phone_type": "Mobile", "number": WHO.phone}],
        "appointments": {"links": {"self": f"{API}/patients/{own}/appointments"}},
        "links": {"self": f"{API}/patients/{own}"},
    } | changes


def appointment(own: Any = "900", **changes: Any) -> dict[str, Any]:
    links = {"patient": "patients/82", "practitioner": "practitioners/9007199254740993", "business": "businesses/1"}
    return {
        "id": own,
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2024-05-06T07:08:09Z",
        "starts_at": "2024-06-01T01:00:00Z",
        "ends_at": "2024-06-01T01:30:00Z",
        "cancelled_at": None,
        "deleted_at": "",
        "did_not_arrive": False,
        "patient_arrived": "",
        "patient_name": f"{WHO.given} {WHO.family}",
        **{name: {"links": {"self": f"{API}/{path}"}} for name, path in links.items()},
        "appointment_type": None,
        "links": {"self": f"{API}/individual_appointments/{own}"},
    } | changes


def saved(
    array: str, many: Sequence[Any], *, of: str = "", number: int = 1, total: Any = None, more: bool = False
) -> dict[str, Any]:
    """A page as the API gives it."""
    links = {"self": f"{API}/{of or array}?page={number}&per_page=50"}
    links |= {"next": f"{API}/{of or array}?page={number + 1}&per_page=50"} if more else {}
    return {array: list(many), "total_entries": len(many) if total is None else total, "links": links}


def context(data: bytes, path: str = "x.json") -> Context:
    head, name = data[: 1 << 16], path.rpartition("/")[2]
    facts = SOURCE.context(name, head, lambda: io.BytesIO(data), {"organization": "org_1", "path": path})
    return {**facts, "organization": "org_1"}


def load(
    data: bytes, path: str = "x.json", wanted: int = 1 << 20
) -> tuple[list[tuple[Item, dict[str, Any]]], list[Flaw | RecordError]]:
    """(items with their values by column, what is wrong) of a file."""
    facts = context(data, path)
    found, wrong = [], []
    for block in SOURCE.split(io.BytesIO(data), facts, wanted, 1 << 26):
        if isinstance(block, Flaw):
            wrong.append(block)
            continue
        for item in SOURCE.items(block.data, block.ordinal, facts):
            if isinstance(item, Flaw):
                wrong.append(item)
                continue
            feed = SOURCE.feed(item.feed)
            (row,) = SOURCE.rows(feed, block.data, [item])
            if isinstance(row, RecordError):
                wrong.append(row)
                continue
            assert SOURCE.rows(feed, block.data, [item._replace(parsed=None)]) == [row]
            assert SOURCE.document
            values = SOURCE.record(feed, block.data, item)
            assert SOURCE.document(feed, block.data, item) == values["record"]
            found.append((item, values))
    return found, wrong


def one(record: Any, path: str = "x.json") -> tuple[Item, dict[str, Any]]:
    """The only item of a page of that one record (given as JSON text or value)."""
    text = record if isinstance(record, bytes) else json.dumps(record).encode()
    array = b"individual_appointments" if b"starts_at" in text else b"patients"
    [found], wrong = load(b'{"%s":[%s]}' % (array, text), path)
    assert not wrong
    return found


@contextmanager
def without_library() -> Iterator[None]:
    off = {"return_value": None}
    with mock.patch.object(jsoncut, "library", **off), mock.patch.object(Program, "_state", **off):
        yield


# --- shapes of files

PATIENTS = [patient(str(number)) for number in (1, 2, 3)]
SHAPES: dict[str, Any] = {
    "page": lambda many: json.dumps(saved("patients", many)).encode(),
    "page, printed": lambda many: json.dumps(saved("patients", many), indent=2).encode(),
    "page, facts first": lambda many: json.dumps(dict(reversed(saved("patients", many).items()))).encode(),
    "page, nothing around": lambda many: json.dumps({"patients": many}).encode(),
    "array": lambda many: json.dumps(many).encode(),
    "lines": lambda many: b"\n".join(map(orjson.dumps, many)),
    "byte order mark": lambda many: b"\xef\xbb\xbf" + json.dumps(saved("patients", many)).encode(),
    "slashes escaped": lambda many: json.dumps(saved("patients", many)).replace("/", "\\/").encode(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_records(shape: str) -> None:
    data = SHAPES[shape](PATIENTS)
    assert SOURCE.recognise("any name", data)
    for wanted in (1, 700, 1 << 20):
        found, wrong = load(data, wanted=wanted)
        assert not wrong
        assert [item.key for item, _ in found] == [("org_1", "1"), ("org_1", "2"), ("org_1", "3")]
        assert [row["record"] for _, row in found] == PATIENTS


@pytest.mark.parametrize("indent", [None, 2])
def test_one_bare_record(indent: int | None) -> None:
    for record, feed in ((patient(), "patient"), (appointment(), "appointment")):
        [(item, row)], wrong = load(json.dumps(record, indent=indent).encode())
        assert (item.feed, row["record"], wrong) == (feed, record, [])


def test_a_bare_record_of_few_keys_is_known_by_its_link() -> None:
    [(item, _)], _ = load(json.dumps({"id": 5, "first_name": "", "links": {"self": f"{API}/patients/5"}}).encode())
    assert (item.feed, item.key, item.version) == ("patient", ("org_1", "5"), 0)


def test_an_array_may_hold_records_of_several_kinds() -> None:
    gone = {"deleted_at": "2024-01-01T00:00:00Z", "links": {"self": f"{API}/patients/4"}}
    business = {"id": "1", "business_name": "Clinic", "links": {"self": f"{API}/businesses/1"}}
    found, wrong = load(json.dumps([patient(), appointment(), business, gone, {"what": 1}]).encode())
    assert [item.feed for item, _ in found] == ["patient", "appointment", "business", "deletion"]
    (flaw,) = wrong
    assert isinstance(flaw, Flaw)
    assert (flaw.error, flaw.reason) == (
        "InvalidRecord",
        "The record is of no feed known here; it has the keys what.",
    )


@pytest.mark.parametrize(
    "data",
    [
        b'{"message": "Unauthorized", "status": 401}',
        json.dumps({"users": [{"id": 1}], "links": {"self": f"{API}/users"}}).encode(),
        json.dumps({"id": 1, "starts_at": "", "patient": None, "links": {"self": f"{API}/bookings/1"}}).encode(),
        json.dumps([saved("patients", PATIENTS), saved("patients", PATIENTS)]).encode(),
        b'[{"resourceType": "Patient", "id": "1"}]',
        b"<html></html>",
        b"",
    ],
)
def test_what_is_no_list_known_here_is_refused(data: bytes) -> None:
    with pytest.raises(LayoutChanged):
        context(data)


def test_packed_files_are_read_like_plain_ones(tmp_path: Path) -> None:
    data = SHAPES["page"](PATIENTS)
    (tmp_path / "patients-0001.json.gz").write_bytes(gzip.compress(data))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("patients/1.json", data)
    for path in tmp_path.iterdir():
        for stream in files.streams(path, 200):
            facts = SOURCE.context(stream.name, files.head(stream), stream.open, {"path": str(path)})
            assert (facts["feed"], facts["list"], facts["total"], facts["last"]) == ("patient", "patients", 3, 1)


# --- values


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("82", "82"),
        (82, "82"),
        ((1 << 53) + 1, "9007199254740993"),
        ((1 << 64) + 1, "18446744073709551617"),
        (-(1 << 64), "-18446744073709551616"),
        (10**50, "1" + "0" * 50),
        ("007", "007"),
    ],
)
def test_ids_stay_exact(given: Any, read: str) -> None:
    item, row = one(patient(given))
    assert item.key == ("org_1", read)
    assert row["record"]["id"] == given
    with without_library():
        again, same = one(patient(given))
    assert (again.key, same) == (item.key, row)


@pytest.mark.parametrize("bad", [1.5, True, [1], {}])
def test_an_id_that_is_none_is_a_reject(bad: Any) -> None:
    found, (flaw,) = load(json.dumps({"patients": [patient(bad), patient()]}).encode())
    assert [item.key[1] for item, _ in found] == ["82"]
    assert isinstance(flaw, Flaw)
    assert flaw.error == "InvalidRecord"


def test_a_record_without_an_id_has_that_of_its_link() -> None:
    for missing in (None, ""):
        item, _ = one(patient(missing, links={"self": f"{API}/patients/77"}))
        assert item.key == ("org_1", "77")


def test_an_empty_text_is_null() -> None:
    _, row = one(patient(archived_at="", deleted_at="", first_name="", last_name=None, date_of_birth=""))
    names = ("archived_at", "deleted_at", "first_name", "last_name", "email", "date_of_birth")
    assert [row[name] for name in names] == [None] * 6
    _, row = one(appointment(patient="", practitioner={}, business={"links": ""}, appointment_type=None))
    assert [row[f"{name}_id"] for name in ("patient", "practitioner", "business", "appointment_type")] == [None] * 4
    assert (row["patient_arrived"], row["did_not_arrive"]) == (None, False)


def test_columns_are_typed() -> None:
    _, row = one(appointment())
    assert row["starts_at"] == datetime(2024, 6, 1, 1, tzinfo=UTC)
    assert row["ends_at"].minute == 30
    assert (row["patient_id"], row["practitioner_id"], row["business_id"]) == ("82", "9007199254740993", "1")
    _, row = one(patient())
    assert row["date_of_birth"] == WHO.birth_date
    assert isinstance(row["date_of_birth"], date)


def test_a_key_that_stands_twice_has_the_last_value() -> None:
    text = orjson.dumps(patient(patient_phone_numbers=[]))
    twice = text[:-1] + b',"patient_phone_numbers":[{"number":"2"}],"first_name":"Z"}'
    twice = b'{"first_name":"A","links":{"self":"x/1"},' + twice[1:]
    item, row = one(twice)
    assert row["record"]["patient_phone_numbers"] == [{"number": "2"}]
    assert (row["first_name"], item.key[1]) == ("Z", "82")
    with without_library():
        assert one(twice) == (item._replace(parsed=mock.ANY), row)


def test_a_trailing_comma_is_one_reject() -> None:
    broken = orjson.dumps(patient("2"))[:-1] + b",}"
    records = b",".join([orjson.dumps(patient("1")), broken, orjson.dumps(patient("3"))])
    found, (flaw,) = load(b'{"patients":[%s],"total_entries":3}' % records)
    assert [item.key[1] for item, _ in found] == ["1", "3"]
    assert isinstance(flaw, Flaw)
    assert (flaw.ordinal, flaw.error) == (1, "ParseError")


def test_trailing_commas_around_the_records_cost_nothing_but_what_the_page_says() -> None:
    data = b'{"patients":[%s],"total_entries":1,"links":{"self":"x",},}' % orjson.dumps(patient())
    found, wrong = load(data)
    assert (len(found), wrong) == (1, [])
    assert context(data)["total"] == -1


# --- versions and deletions


def test_a_version_is_the_latest_of_a_records_times() -> None:
    assert one(patient(updated_at="1970-01-01T00:00:01Z"))[0].version == SECOND
    assert one(patient(updated_at="1970-01-01T00:00:01.25+01:00", archived_at="1970-01-01T00:00:05Z"))[0].version == (
        5 * SECOND
    )
    gone = appointment(updated_at="1970-01-01T00:00:02Z", deleted_at="1970-01-01T00:00:03.000001Z")
    assert one(gone)[0].version == 3 * SECOND + 1
    assert one(appointment(updated_at="yesterday"))[0].version == 0


def deletion(link: str, **more: Any) -> dict[str, Any]:
    return {"deleted_at": "2024-02-03T04:05:06Z", "links": {"self": link}} | more


@pytest.mark.parametrize(
    ("record", "key"),
    [
        (deletion(f"{API}/patients/82"), ("patient", "82")),
        (deletion(f"{API}/patients/82", id=82), ("patient", "82")),
        (deletion(f"{API}/individual_appointments/1152921504606846976"), ("appointment", "1152921504606846976")),
        (deletion(f"{API}/invoices/9/"), ("invoice", "9")),
        (deletion("82"), ("patient", "82")),
    ],
)
def test_a_bare_deletion_names_what_was_deleted(record: dict[str, Any], key: tuple[str, str]) -> None:
    item, row = one(record)
    assert (item.feed, item.key) == ("deletion", ("org_1", *key))
    assert item.version == moment_number(row["deleted_at"]) > 0


def test_a_record_of_few_keys_is_a_record_unless_it_says_little_else_than_that_it_is_gone() -> None:
    whole = {"id": "5", "deleted_at": "2024-01-01T00:00:00Z", "links": {"self": f"{API}/patients/5"}}
    for more in ({"updated_at": ""}, {"created_at": ""}, {"date_of_birth": ""}, {"patient_phone_numbers": []}):
        assert one(whole | more)[0].feed == "patient"
    assert one(whole)[0].feed == "deletion"
    assert one({"id": "5"})[0].feed == one({"links": whole["links"]})[0].feed == "patient"


@pytest.mark.parametrize(
    "record", [deletion(""), {"deleted_at": "", "links": {"self": f"{API}/patients/1"}}, deletion(f"{API}/users/1")]
)
def test_a_deletion_of_nothing_or_of_no_time_is_a_reject(record: dict[str, Any]) -> None:
    for data in ({"patients": [record]}, [record, patient()]):
        _, (flaw, *_) = load(json.dumps(data).encode())
        assert isinstance(flaw, Flaw)
        assert (flaw.feed, flaw.error) == ("deletion", "InvalidRecord")


def test_a_deleted_record_that_is_there_in_full_is_a_record() -> None:
    data = saved("individual_appointments", [appointment(deleted_at="2024-08-08T00:00:00Z")])
    [(item, row)], _ = load(json.dumps(data).encode())
    assert (item.feed, row["deleted_at"]) == ("appointment", datetime(2024, 8, 8, tzinfo=UTC))


# --- points in time, links


def test_moments() -> None:
    assert moment("2024-02-29T23:59:59.1234567-09:30") == datetime(2024, 3, 1, 9, 29, 59, 123456, UTC)
    assert moment("1969-12-31T23:59:59Z") == datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)
    for bad in ("2023-02-29T00:00:00Z", "2024-01-01", "2024-01-01T24:00:00Z", "2024-01-01T00:00:60Z", 5, None, ""):
        assert moment(bad) is None


MOMENTS = st.one_of(
    st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat),
    st.from_regex(
        r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:?[0-6][0-9])?\Z"
    ),
    st.sampled_from(["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "2024-01-01T00:00:00.Z", "T" * 19]),
    st.text(max_size=30),
)
LINKS = st.one_of(
    st.sampled_from(["", "/", "a", "a/", "a/b?c/d", "a#b/c", "?", "//", f"{API}/patients/82", "a/é"]),
    st.text(alphabet="a1/?#\\é", max_size=12),
)
IDS = st.one_of(
    st.integers(-(10**25), 10**45),
    st.text(max_size=5),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)


@settings(max_examples=400, deadline=None)
@given(MOMENTS, LINKS, IDS, st.booleans(), st.sampled_from([None, 1, 2]))
def test_both_readers_make_the_same_rows(time: str, link: str, own: Any, twice: bool, indent: int | None) -> None:
    record = appointment(own, updated_at=time, starts_at=time, patient={"links": {"self": link}})
    text = json.dumps(record, indent=indent)
    text = text[:-1] + ',"patient_name": 1, "repeats": 2' + (',"ends_at": ""}' if twice else "}")
    data = b'{"individual_appointments":[%s]}' % text.encode()
    told = outcome(data)
    with without_library():
        assert outcome(data) == told


def outcome(data: bytes) -> list[Any]:
    facts, told = context(data), []
    for block in SOURCE.split(io.BytesIO(data), facts, 1 << 20, 1 << 26):
        assert isinstance(block, Block)
        for item in SOURCE.items(block.data, 0, facts):
            if isinstance(item, Flaw):
                told.append(item)
                continue
            (row,) = SOURCE.rows(SOURCE.feed(item.feed), block.data, [item])
            told.append((item._replace(parsed=None), row if isinstance(row, bytes) else (type(row), str(row))))
    return told


def test_links_and_long_numbers() -> None:
    assert link_id({"a": f"{API}/patients/82/?page=1"}, "a") == "82"
    assert exactly(b'{"a":18446744073709551617}', {"a": 1.8446744073709552e19}) == {"a": (1 << 64) + 1}
    long = b'{"a":%s}' % (b"1" * 5000)
    assert exactly(long, {"a": 1.0}) == {"a": 1.0}


# --- what a page says of itself


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("patients?page=3&per_page=100", Page("patients", 3, 100)),
        ("patients", Page("patients", 1)),
        ("patients/deleted?page=2", Page("patients/deleted", 2)),
        ("individual_appointments/cancelled?page=1", Page("individual_appointments/cancelled", 1)),
        ("practitioners/inactive", Page("practitioners/inactive", 1)),
        (
            "individual_appointments?q%5B%5D=archived_at:*&page=1",
            Page("individual_appointments", 1, including="archived"),
        ),
        ("individual_appointments?q[]=updated_at:>2024-01-01T00:00:00Z", Page("individual_appointments", 1, partial=1)),
        ("patients/82/invoices?page=1", Page("invoices", 1, partial=1)),
        ("users?page=1", Page("users", 1)),
    ],
)
def test_a_link_tells_the_list_and_the_page(link: str, told: Page) -> None:
    assert page({"links": {"self": f"{API}/{link}"}, "total_entries": "7"}, "x") == told._replace(total=7, last=1)


@pytest.mark.parametrize(
    ("path", "kind", "number"),
    [
        ("export/patients-deleted-0001.json", "patients/deleted", 1),
        ("export/patients/deleted/12.json", "patients/deleted", 12),
        ("individual_appointments_cancelled_page_3.json", "individual_appointments/cancelled", 3),
        ("individual_appointments/7.json", "individual_appointments", 7),
        ("2024/patients/invoices.json", "invoices", -1),
        ("my.patients.0042.json", "patients", 42),
        ("outpatients-1.json", "", -1),
    ],
)
def test_without_links_a_name_tells_the_list_and_the_page(path: str, kind: str, number: int) -> None:
    told = page({}, path)
    assert (told.part_of, told.number) == (kind, number)


def test_a_name_tells_what_was_deleted() -> None:
    item, _ = one({"deleted_at": "2024-01-01T00:00:00Z", "id": 5}, "patients/deleted/1.json")
    assert item.key == ("org_1", "patient", "5")


def test_what_stands_behind_the_records_is_found_in_a_file_of_any_size() -> None:
    decoy = patient(notes='],"total_entries":9,"links":{}}', custom_fields={"sections": [1], "links": {}})
    big = saved("patients", [decoy] * 400, total=12345)
    for data in (json.dumps(big).encode(), json.dumps(big, indent=1).encode()):
        assert behind(io.BytesIO(data)) == {"total_entries": 12345, "links": big["links"]}
        assert (context(data)["total"], context(data)["page"]) == (12345, 1)
        assert behind(io.BytesIO(data[:-3])) == {}


# --- whole lists


def witnesses(folder: Path) -> list[Witness]:
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        facts = context(data, str(path))
        read = sum(len(list(SOURCE.items(block.data, 0, facts))) for block in blocks(data, facts))  # type: ignore[union-attr]
        found.append(Witness(str(path), facts, "done", read, 0))
    return found


def blocks(data: bytes, facts: Context) -> list[Block | Flaw]:
    return list(SOURCE.split(io.BytesIO(data), facts, 1 << 26, 1 << 26))


def certified(some: Sequence[Witness]) -> dict[str, Certificate]:
    assert SOURCE.certify
    return {one.kinds[0]: one for one in SOURCE.certify(some)}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of a small clinic, a day after its first export."""
    return write_cliniko(tmp_path_factory.mktemp("export"), patients=200, appointments=400, day=1, per_page=50).folder


def test_every_page_of_every_list_is_whole(export: Path) -> None:
    found = certified(witnesses(export))
    assert {name: one.reasons for name, one in found.items()} == dict.fromkeys(
        ["appointment", "appointment_type", "attachment", "business", "invoice", "patient", "practitioner"], ()
    )
    assert all(one.whole and one.expected == one.seen for one in found.values())
    # Deleted ones are no part of what is there, whatever their list holds of them.
    assert found["patient"].seen == 202 - 7


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        ("patients-0002.json", "patients: pages are missing, the first of them page 2"),
        ("patients-0004.json", "patients: the last page is not there, or does not say that it is the last"),
        ("patients-archived-0001.json", "No list of the pages loaded holds records that are archived."),
    ],
)
def test_a_list_with_a_page_lost_is_not_whole(export: Path, lost: str, reason: str) -> None:
    found = certified([one for one in witnesses(export) if not one.path.endswith("/" + lost)])
    assert not found["patient"].whole
    assert reason in found["patient"].reasons
    assert found["appointment"].whole


def test_deleted_records_are_not_missed(export: Path) -> None:
    found = certified([one for one in witnesses(export) if "deleted" not in one.path])
    assert all(one.whole for one in found.values())


@pytest.mark.parametrize(
    "change",
    [
        {"read": 49},
        {"rejected": 1},
        {"status": "refused"},
        {"status": "open"},
        {"context": {"page": 2}},
        {"context": {"total": 180}},
        {"context": {"total": -1}},
        {"context": {"last": 1, "page": 9}},
        {"context": {"list": ""}},
        {"context": {"partial": 1}},
    ],
)
def test_anything_amiss_with_a_page_is_told(export: Path, change: dict[str, Any]) -> None:
    some = witnesses(export)
    place = next(number for number, one in enumerate(some) if one.path.endswith("/patients-0001.json"))
    facts = {**some[place].context, **change.pop("context", {})}
    some[place] = some[place]._replace(context=facts, **change)
    assert not certified(some)["patient"].whole
    assert certified(some)["appointment"].whole


def test_a_list_that_leaves_archived_ones_out_is_not_whole(export: Path) -> None:
    some = [one._replace(context={**one.context, "including": ""}) for one in witnesses(export)]
    assert certified(some)["appointment"].reasons == (
        "No list of the pages loaded holds records that are archived.",
        "No list of the pages loaded holds records that are archived and cancelled.",
    )


def test_a_file_that_could_not_be_told_leaves_nothing_certain(export: Path) -> None:
    found = certified([*witnesses(export), Witness("broken.json", {}, "refused", 0, 0)])
    assert not any(one.whole for one in found.values())


def test_pages_that_say_no_total_are_not_said_to_disagree(export: Path) -> None:
    some = witnesses(export)
    first = next(number for number, one in enumerate(some) if one.path.endswith("/patients-0001.json"))

    def with_total(total: int | None) -> Certificate:
        facts = {name: value for name, value in some[first].context.items() if name != "total"}
        facts = facts if total is None else {**facts, "total": total}
        return certified([*some[:first], some[first]._replace(context=facts), *some[first + 1 :]])["patient"]

    assert with_total(None).reasons == ("patients: some of its pages do not say how many records there are",)
    changed = with_total(1).reasons
    assert "patients: its pages do not agree on how many records there are: it changed while it was saved" in changed


def test_records_without_pages_certify_nothing() -> None:
    data = json.dumps([patient()]).encode()
    assert certified([Witness("x.json", context(data), "done", 1, 0)]) == {}


# --- generated exports


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    sizes: dict[str, int] = {"patients": 120, "appointments": 200, "day": 2, "seed": 5}
    first, second = (write_cliniko(tmp_path / name, **sizes) for name in "ab")
    assert first.records == second.records
    packed = write_cliniko(tmp_path / "c", **sizes, packed=True)
    for one, other, small in zip(first.files, second.files, packed.files, strict=True):
        assert one.read_bytes() == other.read_bytes() == gzip.decompress(small.read_bytes())


@pytest.mark.skipif(not native.available(), reason="the compiled reader was not built, or is switched off")
def test_the_compiled_reader_takes_every_record_of_an_export(export: Path) -> None:
    flagged = [records.program.flagged.total() for records in (ANY, *OF.values())]
    feeds: Counter[str] = Counter()
    for path in export.iterdir():
        data = path.read_bytes()
        facts = context(data, str(path))
        for block in blocks(data, facts):
            assert isinstance(block, Block)
            for item in SOURCE.items(block.data, 0, facts):
                assert isinstance(item, Item)
                assert isinstance(item.parsed, Columns)
                feeds[item.feed] += 1
    assert set(feeds) == {feed.name for feed in SOURCE.feeds}
    assert flagged == [records.program.flagged.total() for records in (ANY, *OF.values())]


def test_quirks_are_in_every_export(export: Path) -> None:
    text = b"".join(path.read_bytes() for path in export.iterdir())
    pages = [context(path.read_bytes(), str(path)) for path in export.iterdir()]
    assert b'"archived_at":""' in text
    assert b'"archived_at":null' in text
    assert text.count(b'"patient_phone_numbers"') > sum(1 for _ in range(202))
    assert b'"total_entries":"' in text
    assert {facts["last"] for facts in pages} == {0, 1}
    found = [item for path in export.iterdir() for item, _ in load(path.read_bytes(), str(path))[0]]
    ids = [int(str(item.key[-1])) for item in found if item.feed == "patient"]
    assert {own > 1 << 53 for own in ids} == {True, False}
    assert len({item.key for item in found if item.feed == "appointment"}) > 390


def test_a_merged_patients_appointments_are_the_other_ones(tmp_path: Path) -> None:
    before, after = (write_cliniko(tmp_path / str(day), patients=200, appointments=2000, day=day) for day in (0, 1))
    gone, stays = merged(before.folder, after.folder)
    assert gone
    assert stays == dict.fromkeys(gone, True)


def merged(before: Path, after: Path) -> tuple[set[str], dict[str, bool]]:
    """The appointments of patient 97 in the export *before*; whether each is patient 96's, and newer, *after*."""
    (old, new) = ({item.key[1]: (item, row) for item, row in appointments(folder)} for folder in (before, after))
    gone = {str(own) for own, (_, row) in old.items() if row["patient_id"] == str((1 << 53) + 1 + 97)}
    return gone, {
        own: new[own][1]["patient_id"] == "1096" and new[own][0].version > old[own][0].version for own in gone
    }


def appointments(folder: Path) -> Iterator[tuple[Item, dict[str, Any]]]:
    paths = sorted(folder.glob("individual_appointments*"))
    random.Random(3).shuffle(paths)
    for path in paths:
        yield from (found for found in load(path.read_bytes(), str(path))[0] if found[0].feed == "appointment")
