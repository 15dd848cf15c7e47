"""The source csv: keys, versions, deletions, line numbers, hostile files, certificates."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from medmirror.errors import TruncatedFile
from medmirror.model import Block, Flaw, Item, Witness
from medmirror.readers import files
from medmirror.sources import csv
from medmirror_testing.samples import PMS_MAPPINGS, write_pms_csv

KEYED = '[file]\nkind = "patient"\nkey = ["Id"]\n'
ROWWISE = '[file]\nkind = "payment"\nkey = "row"\n'
Found = tuple[list[Item], list[Flaw], str]


def context(data: bytes, mapping: str = KEYED, name: str = "x.csv") -> dict[str, int | str]:
    given = {"mapping": orjson.dumps([mapping]).decode()}
    made = csv.context(name, data[: files.HEAD], lambda: io.BytesIO(data), given)
    return {**made, "organization": "org_1"}


def load(
    data: bytes, mapping: str = KEYED, *, wanted: int = 1 << 20, most: int = 1 << 20, name: str = "x.csv"
) -> Found:
    """Items and flaws with offsets and ordinals of the stream, and the error at its end."""
    facts = context(data, mapping, name)
    items: list[Item] = []
    flaws: list[Flaw] = []
    ended = ""
    count = 0
    try:
        for block in csv.split(io.BytesIO(data), facts, wanted, most):
            assert block.ordinal == count
            if isinstance(block, Flaw):
                flaws.append(block)
                count += 1
                continue
            for item in csv.items(block.data, block.ordinal, {**facts, **block.facts}):
                moved = item._replace(
                    start=item.start + block.start, end=item.end + block.start, ordinal=item.ordinal + block.ordinal
                )
                assert moved.ordinal == count
                count += 1
                (items if isinstance(moved, Item) else flaws).append(moved)  # type: ignore[arg-type]
    except TruncatedFile as error:
        ended = error.message
    return items, flaws, ended


def test_newest_wins_by_the_declared_column() -> None:
    mapping = KEYED + 'updated = {column = "Changed", format = ["%d/%m/%Y %H:%M", "iso"], zone = "Australia/Sydney"}\n'
    data = b"Id,Changed\n1,01/02/2026 14:00\n2,2026-02-01T03:00:00Z\n3,\n4,soon\n"
    items, (flaw,), _ = load(data, mapping)
    day = int(datetime(2026, 2, 1, 3, tzinfo=UTC).timestamp() * 1_000_000)
    assert [item.version for item in items] == [day, day, 0]
    assert flaw.reason == "Line 5: the row has no time in column 2 (Changed) as the mapping file declares it."
    assert flaw.error == "InvalidRecord"


def test_the_files_own_day_orders_records_without_one() -> None:
    mapping = KEYED + 'dated = "patients_%Y%m%d*.csv"\n'
    old, new = (load(b"Id\n1\n", mapping, name=f"patients_202602{day}_x.csv")[0][0] for day in ("01", "02"))
    assert new.version - old.version == 86_400 * 1_000_000
    assert load(b"Id\n1\n")[0][0].version == 0


def test_a_deleted_row_is_a_tombstone() -> None:
    mapping = KEYED + 'deleted = {column = "Status", values = ["D", "gone"]}\n'
    items, _, _ = load(b"Id,Status\n1,D\n2,\n3,d\n4,gone\n", mapping)
    assert [item.deleted for item in items] == [True, False, False, True]


def test_the_kind_and_the_organisation_are_part_of_the_key() -> None:
    assert load(b"Id\n1\n")[0][0].key == ("org_1", "patient", "1")


def test_the_row_of_a_copy_tuple_holds_what_the_record_holds() -> None:
    data = 'Id,Name\n1,"Jörg ""x"""\n'.encode()
    (item,), _, _ = load(data)
    (row,) = csv.rows(csv.FEED, data, [item])
    assert isinstance(row, bytes)
    assert row.endswith(b'\x01{"Id":"1","Name":"J\xc3\xb6rg \\"x\\""}')
    assert csv.record(csv.FEED, data, item) == {
        "organization_id": "org_1",
        "kind": "patient",
        "id": "1",
        "record": {"Id": "1", "Name": 'Jörg "x"'},
    }


@pytest.mark.parametrize("wanted", [1, 40, 1 << 20])
def test_equal_rows_of_a_file_without_a_key_are_a_record_each(wanted: int) -> None:
    data = b"Day,Sum\n" + b"1,10\n2,20\n1,10\n3,30\n1,10\n2,20\n"
    items, _, _ = load(data, ROWWISE, wanted=wanted)
    keys = [str(item.key[2]) for item in items]
    assert len(set(keys)) == 6
    assert keys[2] == keys[0] + "~2"
    assert keys[4] == keys[0] + "~3"
    assert keys[5] == keys[1] + "~2"


def test_a_row_keeps_its_key_when_the_file_grows() -> None:
    before, _, _ = load(b"Day,Sum\n1,10\n2,20\n", ROWWISE)
    after, _, _ = load(b"Day,Sum\n0,5\n1,10\n2,20\n2,20\n", ROWWISE)
    assert {item.key for item in before} < {item.key for item in after}


def test_every_flaw_tells_the_line_it_begins_on_whatever_the_blocks() -> None:
    rng = random.Random(3)
    lines = [b"Id,Note"]
    bad = []
    for number in range(400):
        if rng.random() < 0.1:
            bad.append(len(lines) + 1)
            lines.append(b"%d,x,y" % number)
        elif rng.random() < 0.3:
            lines += [b'%d,"first' % number, b'second, ""quoted"""']
        elif rng.random() < 0.1:
            lines.append(b"")
        else:
            lines.append(b"%d,plain" % number)
    data = b"\r\n".join(lines) + b"\r\n"
    for wanted in (1, 100, 1_000, 1 << 20):
        _, flaws, _ = load(data, wanted=wanted)
        assert [flaw.reason for flaw in flaws] == [f"Line {line}: the row has 3 cells, the header 2." for line in bad]


def test_a_row_tried_again_alone_says_no_more_than_is_known() -> None:
    data = b"Id,Note\n" + b"1,x\n" * 50 + b"2,y,z\n"
    facts = context(data)
    (block,) = csv.split(io.BytesIO(data), facts, 1 << 20, 1 << 20)
    assert isinstance(block, Block)
    (again,) = csv.items(b"2,y,z", 50, {**facts, **block.facts})
    assert isinstance(again, Flaw)
    assert again.reason == "The row (line 2 or later) has 3 cells, the header 2."


@pytest.mark.parametrize("wanted", [50, 1 << 20])
def test_a_last_row_that_is_cut_off_is_told_and_the_rest_loaded(wanted: int) -> None:
    good = b"Id,Name,Note\n" + b"".join(b"%d,a,b\n" % number for number in range(30))
    for cut in (b"30,a", b'30,"a', b'30,"a\nb,c', b'30,"a\nb\n', b'30,"a"x'):
        items, flaws, ended = load(good + cut, wanted=wanted)
        assert len(items) == 30
        assert [(flaw.reason, flaw.end) for flaw in flaws] == [
            ("Line 32: the file ends within this row.", len(good) + len(cut))
        ]
        assert "trailer" in ended
    assert load(good + b"30,a,b", wanted=wanted)[2] == ""


@pytest.mark.parametrize("wanted", [50, 1 << 20])
def test_a_quote_that_is_never_closed_costs_one_row_of_a_large_file(wanted: int) -> None:
    rows = [b"%d,a,b\n" % number for number in range(5_000)]
    rows[1_000] = b'1000,"open,b\n'
    items, flaws, ended = load(b"Id,Name,Note\n" + b"".join(rows), wanted=wanted, most=10_000)
    assert (len(items), len(flaws), ended) == (4_999, 1, "")
    assert flaws[0].reason.startswith("Line 1002: ")


def test_a_line_without_end_is_read_past_and_not_held() -> None:
    data = b"Id,Note\n1,a\n2," + b"x" * 300_000 + b"\r\n3,c\n4," + b"y" * 300_000
    items, flaws, _ = load(data, wanted=1_000, most=5_000)
    assert [item.key[2] for item in items] == ["1", "3"]
    assert [(flaw.error, flaw.end - flaw.start) for flaw in flaws] == [
        ("RecordTooLarge", 300_003),
        ("RecordTooLarge", 300_002),
    ]
    assert flaws[0].reason.startswith("Line 3: the row has more than 5000 bytes")
    assert flaws[1].reason.startswith("Line 5: ")


def test_a_record_over_the_limit_is_a_flaw_of_its_own() -> None:
    cell = b'"' + b'a line of a ""note"", and words\n' * 50_000 + b'"'
    data = b"Id,Note\n1,a\n2," + cell + b"\n3,c,\n4,d\n"
    for wanted in (1_000, 3_000_000):
        items, flaws, _ = load(data, most=1 << 20, wanted=wanted)
        assert [item.key[2] for item in items] == ["1", "4"]
        assert [flaw.error for flaw in flaws] == ["RecordTooLarge", "ParseError"]
        assert [flaw.reason.partition(":")[0] for flaw in flaws] == ["Line 3", "Line 50004"]
        assert flaws[0].end - flaws[0].start == len(cell) + 2
    items, flaws, _ = load(data, most=1 << 24)
    assert ([item.key[2] for item in items], len(flaws)) == (["1", "2", "4"], 1)


def test_escaped_quotes_do_not_end_a_record_that_is_too_large() -> None:
    cell = b'"' + b'a line of a \\"note, and words\n' * 50_000 + b'"'
    data = b'Id,Note\n1,"x \\" y"\n2,' + cell + b"\n3,c\n"
    items, flaws, _ = load(data, KEYED + "escape = '\\'\n", most=1 << 20, wanted=1_000)
    assert [item.key[2] for item in items] == ["1", "3"]
    assert [(flaw.error, flaw.end - flaw.start) for flaw in flaws] == [("RecordTooLarge", len(cell) + 2)]


def test_a_quote_that_nothing_closes_and_no_row_follows_is_given_up_in_the_end() -> None:
    rows = b"".join(b"%d,a\n" % number for number in range(3, 500_000))
    data = b'Id,Note\n1,a\n2,"' + b"words, and, more\n" * 40_000 + rows
    items, flaws, _ = load(data, most=1 << 19, wanted=100_000)
    assert flaws[0].error == "RecordTooLarge"
    assert flaws[0].end - flaws[0].start < 4 * (1 << 19) + (1 << 20)
    assert items[-1].key[2] == "499999"
    assert len(items) > 250_000


def test_a_utf_16_file_is_cut_into_blocks_that_can_be_cut_again(tmp_path: Path) -> None:
    path = write_pms_csv(tmp_path / "patient.csv", "patient", 60, encoding="utf-16").path
    data = path.read_bytes()
    items, flaws, _ = load(data, PMS_MAPPINGS["patient"], wanted=2_000, name=path.name)
    assert (len(items), flaws) == (60, [])
    facts = context(data, PMS_MAPPINGS["patient"], path.name)
    for block in csv.split(io.BytesIO(data), facts, 5_000, 1 << 20):
        assert isinstance(block, Block)
        again = list(csv.split(io.BytesIO(block.data), facts, 1, 1 << 20))
        assert b"".join(piece.data for piece in again if isinstance(piece, Block)) == block.data


@pytest.mark.parametrize(
    "form",
    [
        {"delimiter": ";"},
        {"delimiter": "\t", "line_end": "\n"},
        {"delimiter": "|", "quote_all": True},
        {"encoding": "utf-16-le", "mark": True},
        {"encoding": "utf-16-be", "mark": True, "delimiter": "\t"},
        {"mark": True, "line_end": "\r"},
        {"encoding": "cp1252", "quote_all": True},
    ],
)
def test_the_same_records_in_every_form(form: dict[str, Any], tmp_path: Path) -> None:
    def read(**how: Any) -> list[Any]:
        path = write_pms_csv(tmp_path / "patient.csv", "patient", 40, **how).path
        items, flaws, ended = load(path.read_bytes(), PMS_MAPPINGS["patient"], wanted=1_500, name=path.name)
        assert (flaws, ended) == ([], "")
        records = [csv.record(csv.FEED, b"", item)["record"] for item in items]
        return [
            (item.key, item.version, {name: cell or "" for name, cell in record.items()})
            for item, record in zip(items, records, strict=True)
        ]

    assert read(**form) == read()


@pytest.mark.parametrize("packed", [False, True])
def test_a_trailer_is_no_record_and_counts_them(packed: bool) -> None:
    mapping = KEYED + 'whole = true\ntrailer = "\\\\(([0-9,]+) rows? .*\\\\)"\n'
    data = b"Id,Name\n1,a\n2,b\n(2 rows exported)\r\n\r\n"
    items, flaws, ended = load(data, mapping)
    assert (len(items), flaws, ended) == (2, [], "")
    raw = gzip.compress(data)
    reopen: Callable[[], Any] = lambda: gzip.GzipFile(fileobj=io.BytesIO(raw)) if packed else io.BytesIO(data)  # noqa: E731
    made = csv.context("x.csv", data, reopen, {"mapping": orjson.dumps([mapping]).decode()})
    assert (made["expected"], made["trailer"]) == (2, 1)


def witness(data: bytes, mapping: str, read: int, rejected: int = 0, status: str = "done") -> Witness:
    return Witness("x.csv", context(data, mapping), status, read, rejected)


WHOLE = KEYED + "whole = true\n"
COUNTED = WHOLE + 'trailer = "Total ([0-9]+)"\n'


@pytest.mark.parametrize(
    ("some", "reason"),
    [
        ([witness(b"Id\n1\n2\n", WHOLE, 2)], None),
        ([witness(b"Id\n1\n2\n", WHOLE, 2, status="skipped")], None),
        ([witness(b"Id\n1\n2\nTotal 2", COUNTED, 2)], None),
        ([witness(b"Id\n1\n2\n", KEYED, 2)], "does not say that it is the full list"),
        ([witness(b"Id\n1\n2\n", WHOLE, 2, 1)], "1 rows were rejected"),
        ([witness(b"Id\n1\n2\n", WHOLE, 2, status="refused")], "a file is refused"),
        ([witness(b"Id\n1\n2", WHOLE, 2)], "no line end"),
        ([witness(b"Id\n1\n2\nTotal 3\n", COUNTED, 2)], "the trailer counts 3 records, 2 were read"),
        ([witness(b"Id\n1\n2\n", COUNTED, 2)], "the trailer is missing"),
        ([witness(b"Id\n1\n", WHOLE, 1), Witness("y.csv", {}, "refused", 0, 0)], "before its kind was known"),
    ],
)
def test_only_a_full_list_that_was_read_to_its_end_is_certified(some: list[Witness], reason: str | None) -> None:
    (certificate,) = csv.certify(some)
    assert certificate.kinds == ("patient",)
    assert certificate.whole == (reason is None)
    assert reason is None or reason in " ".join(certificate.reasons)


REASONS = {
    "list": "its mapping file does not say that it is the full list (whole = true)",
    "end": "the last line has no line end, so whether it is whole cannot be told",
    "mark": "the trailer has no line end, so whether it is whole cannot be told",
    "missing": "the trailer is missing",
    "refused": "a file is refused",
    "rejected": "1 rows were rejected",
}
MARKED = WHOLE + 'trailer = "-- end --"\n'
WIDE = '[file]\nkind = "patient"\nkey = ["Id"]\nwhole = true\n'
PACKS: dict[str, Callable[[bytes, Path], bytes]] = {
    "plain": lambda data, path: data,
    "gzip": lambda data, path: gzip.compress(data),
    "zip": lambda data, path: _zipped(data),
}


def _zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", data)
    return out.getvalue()


def reasons(data: bytes, mapping: str, path: Path, pack: str = "plain") -> list[str]:
    """Why a file of these bytes, read as a load reads it, is not the full list."""
    path.write_bytes(PACKS[pack](data, path))
    (stream,) = files.streams(path, 1000)
    given = {"mapping": orjson.dumps([mapping]).decode()}
    facts = {**csv.context(stream.name, files.head(stream), stream.open, given), "organization": "org_1"}
    items, flaws, ended = load(data, mapping)
    seen = Witness("x.csv", facts, "refused" if ended else "done", len(items) + len(flaws), len(flaws))
    (certificate,) = csv.certify([seen])
    assert certificate.whole == (not certificate.reasons)
    return list(certificate.reasons)


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize(
    ("data", "mapping", "expected"),
    [
        (b"Id,Name\n1,a\n2,b\n", WIDE, []),
        (b"Id,Name\n1,a\n2,b", WIDE, ["end"]),
        (b"Id,Name\r\n1,a\r\n2,b\r\n", WIDE, []),
        (b"Id,Name\r\n1,a\r\n2,b", WIDE, ["end"]),
        (b"Id,Name\r1,a\r2,b\r", WIDE, []),
        (b"Id,Name\r1,a\r2,b", WIDE, ["end"]),
        (b'Id,Name\n1,a\n2,"b"\n', WIDE, []),
        (b'Id,Name\n1,a\n2,"b"', WIDE, ["end"]),
        (b'Id,Name\n1,"a\nb"\n', WIDE, []),
        (b'Id,Name\n1,a\n2,"b\n', WIDE, ["refused", "rejected"]),
        (b"Id,Name\n1,a\n\n\r\n", WIDE, []),
        (b"Id,Name\n1,a\n,\n", WIDE, []),
        (b"Id,Name\n1,a\n,", WIDE, ["end"]),
        (b"Id,Name,\n1,a,\n", WIDE, []),
        (b"Id,Name,\n1,a,", WIDE, ["end"]),
        (b"Id,Name\n1,a\n\x1a", WIDE, []),
        (b"Id,Name\r\n1,a\r\n\x1a", WIDE, []),
        (b"Id,Name\r1,a\r\x1a", WIDE, []),
        (b"Id,Name\r\n1,a\r\n\x1a\r\n", WIDE, []),
        (b"Id,Name\n1,a\x1a", WIDE, ["end"]),
        (b"Id,Name\n", WIDE, []),
        (b"Id,Name", WIDE, ["end"]),
        ("Id,Name\n1,\u00e4\n".encode("utf-16"), WIDE, []),
        ("Id,Name\r\n1,\u00e4\r\n\x1a".encode("utf-16"), WIDE, []),
        ("Id,Name\n1,\u00e4".encode("utf-16"), WIDE, ["end"]),
        ("\ufeffId,Name\n1,\u00e4\n".encode(), WIDE, []),
        ("Id,Name\n1,\u00e4\n".encode("cp1252"), WIDE, []),
        (b"Id,Name\n" + b"1,a\n" * 40_000, WIDE, []),
        (b"Id,Name\n" + b"1,a\n" * 40_000 + b"2,b", WIDE, ["end"]),
        (b"Id,Name\n1,a\n2,b\n", KEYED, ["list"]),
        (b"Id,Name\n1,a\n2,b", KEYED, ["list"]),
        (b"Id,Name\n1,a\nTotal 1\n", KEYED + 'trailer = "Total ([0-9]+)"\n', ["list"]),
        (b"Id,Name\n1,a\nTotal 1\n", COUNTED, []),
        (b"Id,Name\n1,a\nTotal 1", COUNTED, []),
        (b"Id,Name\r\n1,a\r\nTotal 1\r\n\x1a", COUNTED, []),
        (b"Id,Name\r\n1,a\r\nTotal 1\x1a", COUNTED, []),
        (b"Id,Name\n1,a\n", COUNTED, ["missing"]),
        (b"Id,Name\n1,a", COUNTED, ["missing"]),
        (b"Id,Name\n1,a\n-- end --\n", MARKED, []),
        (b"Id,Name\n1,a\n-- end --", MARKED, ["mark"]),
        (b"Id,Name\n1,a\n", MARKED, ["missing"]),
    ],
)
def test_a_certificate_gives_the_true_reason(
    data: bytes, mapping: str, expected: list[str], pack: str, tmp_path: Path
) -> None:
    assert reasons(data, mapping, tmp_path / "x.csv", pack) == [REASONS[name] for name in expected]


def test_each_kind_has_a_certificate_of_its_own() -> None:
    other = WHOLE.replace("patient", "payer")
    found = csv.certify(
        [witness(b"Id\n1\n", WHOLE, 1), witness(b"Id\n1\n", other, 1), witness(b"Id\n2\n", WHOLE, 1, 1)]
    )
    assert [(one.kinds, one.whole, one.seen) for one in found] == [(("patient",), False, 1), (("payer",), True, 1)]


def test_no_reason_and_no_context_holds_a_value_of_a_record(tmp_path: Path) -> None:
    path = write_pms_csv(tmp_path / "patient.csv", "patient", 50).path
    rows = path.read_bytes().split(b"\r\n")
    broken = [row + b',"' if number % 3 else row.replace(b",", b"", 1) for number, row in enumerate(rows[1:])]
    data = b"\r\n".join([rows[0], *broken])
    _, flaws, ended = load(data, PMS_MAPPINGS["patient"], name=path.name)
    assert flaws
    said = " ".join(
        [ended, *(flaw.reason for flaw in flaws), *map(str, context(data, PMS_MAPPINGS["patient"], path.name).values())]
    )
    assert "zq" not in said
