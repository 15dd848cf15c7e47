"""How a CSV file is written is told when it is certain, and asked for when it is not."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest

from medmirror.errors import LayoutChanged, MedmirrorError, UsageError
from medmirror.model import Flaw, Item
from medmirror.readers.csv.layout import Layout
from medmirror.readers.files import HEAD
from medmirror.sources import csv

KEYED = '[file]\nkind = "patient"\nkey = ["Id"]\n'
ROWWISE = '[file]\nkind = "patient"\nkey = "row"\n'


def told(data: bytes, mapping: str = KEYED, name: str = "x.csv") -> dict[str, int | str]:
    """The context of a file of these bytes."""
    given = {"organization": "org_1", "mapping": orjson.dumps([mapping]).decode()}
    made = csv.context(name, data[:HEAD], lambda: io.BytesIO(data), given)
    return {**made, "organization": "org_1"}


def layout(data: bytes, mapping: str = KEYED) -> Layout:
    return Layout.loads(str(told(data, mapping)["layout"]))


def found(data: bytes, mapping: str = KEYED) -> Iterator[tuple[Item | Flaw, dict[str, Any]]]:
    """Every row and its record."""
    context = told(data, mapping)
    for block in csv.split(io.BytesIO(data), context, 1 << 20, 1 << 20):
        assert not isinstance(block, Flaw)
        facts: Mapping[str, int | str] = {**context, **block.facts}
        for item in csv.items(block.data, block.ordinal, facts):
            yield item, csv.record(csv.FEED, block.data, item)["record"] if isinstance(item, Item) else {}


def records(data: bytes, mapping: str = KEYED) -> list[dict[str, Any]]:
    return [record for _, record in found(data, mapping)]


def refusal(data: bytes, mapping: str = KEYED) -> str:
    """What is said when the file is refused; nothing of the file may stand in it."""
    with pytest.raises(MedmirrorError) as error:
        told(data, mapping)
    assert isinstance(error.value, (LayoutChanged, UsageError))
    assert "zq" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mapping", [KEYED, ROWWISE])
def test_the_delimiter_is_detected(delimiter: str, mapping: str) -> None:
    text = "Id,Name,Note\n1,Alzq,a\n2,Bozq,b\n".replace(",", delimiter)
    assert layout(text.encode(), mapping).delimiter == delimiter
    assert records(text.encode(), mapping)[1] == {"Id": "2", "Name": "Bozq", "Note": "b"}


def test_delimiters_within_cells_do_not_mislead() -> None:
    data = b'Id;"Last, First";Note\n1;"Alzq, Ada";x,y,z\n2;"Bozq, Bea";\n'
    assert records(data, ROWWISE)[0] == {"Id": "1", "Last, First": "Alzq, Ada", "Note": "x,y,z"}


def test_the_line_that_excel_writes_for_itself_names_the_delimiter() -> None:
    data = b"\xef\xbb\xbfsep=;\r\nId;Name\r\n1;Alzq\r\n"
    assert records(data) == [{"Id": "1", "Name": "Alzq"}]


def test_two_delimiters_that_would_do_are_asked_about() -> None:
    assert "delimiter = ..." in refusal(b"a,b;c\n1,2;3\n4,5;6\n", ROWWISE)


def test_a_column_that_is_missing_is_named_and_the_file_is_not_quoted() -> None:
    assert "'Id'" in refusal(b"Alzq,Ada\nBozq,Bea\n")
    assert "'Id'" in refusal(b"Alzq,Ada\nBozq,Bea\n", KEYED + 'delimiter = ","\n')


def test_a_first_row_that_may_be_a_record_is_asked_about() -> None:
    assert "header = ..." in refusal(b"1,Alzq\n2,Bozq\n", ROWWISE)
    assert records(b"1,Alzq\n2,Bozq\n", ROWWISE + "header = false\n")[0] == {"1": "1", "2": "Alzq"}


def test_columns_can_be_declared_where_the_file_has_no_header() -> None:
    mapping = KEYED + 'header = ["Id", "Name"]\n'
    assert records(b"1,Alzq\n2,Bozq\n", mapping)[0] == {"Id": "1", "Name": "Alzq"}
    assert "3 cells, the declared header 2" in refusal(b"1,Alzq,\n2,Bozq,\n", mapping + 'delimiter = ","\n')


def test_lines_before_the_header_are_skipped_when_declared() -> None:
    data = b"Export of 1 February\n\nId,Name\n1,Alzq\n2\n"
    assert refusal(data)
    (_, (flaw, _)) = found(data, KEYED + "skip = 1\n")
    assert isinstance(flaw, Flaw)
    assert flaw.reason.startswith("Line 5: the row has 1 cells, the header 2")


def test_a_single_column_is_a_table_too() -> None:
    assert records(b"Id\n1\n2\n") == [{"Id": "1"}, {"Id": "2"}]


def test_a_header_alone_is_a_table_without_records() -> None:
    assert records(b"Id,Name\n") == []
    assert records(b"Id,Name") == []


def test_the_header_may_stand_again_where_files_were_joined() -> None:
    data = b"\xef\xbb\xbfId,Name\r\n1,Alzq\r\n\xef\xbb\xbfId,Name\r\n2,Bozq\r\n"
    assert [record["Id"] for record in records(data)] == ["1", "2"]


def test_columns_of_one_name_are_told_apart_and_those_without_one_kept() -> None:
    data = b"Id,Phone,Phone,,Phone#2\n1,a,b,c,d\n2,e,f,,g\n"
    assert records(data) == [
        {"Id": "1", "Phone": "a", "Phone#3": "b", "#4": "c", "Phone#2": "d"},
        {"Id": "2", "Phone": "e", "Phone#3": "f", "Phone#2": "g"},
    ]


@pytest.mark.parametrize("header", [b"Id,Name,", b"Id,Name"])
def test_a_delimiter_at_the_end_of_every_row_makes_no_column(header: bytes) -> None:
    rows = list(found(header + b"\n1,Alzq,\n2,Bozq,\n3,Cozq,\n"))
    assert [tuple(record.values()) for _, record in rows] == [("1", "Alzq"), ("2", "Bozq"), ("3", "Cozq")]


def test_a_row_that_alone_ends_with_a_delimiter_is_refused() -> None:
    """Its cells may have moved by one: "Alzq, Ada" without quotes, and an empty last column."""
    rows = [item for item, _ in found(b"Id,Name,Note\n1,Alzq,\n2,Bozq, Bea,\n3,Cozq,x\n4,Dozq,y\n")]
    assert [isinstance(item, Flaw) for item in rows] == [False, True, False, False]


def test_backslashes_that_escape_quotes_are_detected() -> None:
    data = b'Id,Note\n1,"say \\"zq\\", please"\n2,"plain"\n'
    assert records(data)[0]["Note"] == 'say "zq", please'
    assert records(b'Id,Note\n1,"C:\\dir\\"\n2,"x ""y"""\n')[0]["Note"] == "C:\\dir\\"


def test_quotes_can_be_declared() -> None:
    assert records(b"Id,Note\n1,'a, b'\n", KEYED + 'quote = "\'"\n')[0]["Note"] == "a, b"
    assert records(b'Id,Note\n1,"a ""b"""\n', KEYED + "escape = '\"'\n")[0]["Note"] == 'a "b"'
    assert records(b'Id,Note\n1,"a\n', KEYED + 'quote = ""\n')[0]["Note"] == '"a'


TEXT = "Id,Name\r\n1,Jörg Älzq\r\n2,Zoë “€”\r\n"


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-32"],
)
def test_the_encoding_is_detected(encoding: str) -> None:
    assert [record["Name"] for record in records(TEXT.encode(encoding))] == ["Jörg Älzq", "Zoë “€”"]


@pytest.mark.parametrize("encoding", ["cp850", "mac-roman", "utf-8", "shift-jis", "euc-jp", "gbk", "latin2"])
def test_any_encoding_can_be_declared(encoding: str) -> None:
    name = "表示" if encoding in ("shift-jis", "euc-jp", "gbk") else "Jörg"
    data = f"Id,Name,x\n1,{name},\n".encode(encoding)
    assert records(data, KEYED + f'encoding = "{encoding}"\n')[0]["Name"] == name


@pytest.mark.parametrize("encoding", ["cp850", "mac-roman"])
def test_other_code_pages_are_not_taken_for_windows_1252(encoding: str) -> None:
    text = "Id,Name\n" + "".join(f"{n},Jörg Müzq René\n" for n in range(20))
    assert "encoding = ..." in refusal(text.encode(encoding))


def test_an_encoding_that_contradicts_the_mark_is_told() -> None:
    assert "begins with the mark of utf-8" in refusal(TEXT.encode("utf-8-sig"), KEYED + 'encoding = "cp1252"\n')
    assert "not known" in refusal(TEXT.encode(), KEYED + 'encoding = "utf-99"\n')


def test_a_letter_far_behind_the_beginning_still_tells_the_encoding() -> None:
    """64 KiB of ASCII first: neither mojibake nor a refusal."""
    plain = "".join(f"{n},Alzq\n" for n in range(20_000))
    for encoding in ("cp1252", "utf-8"):
        data = ("Id,Name\n" + plain + "x,Jörg\n" + plain.replace(",", "0,")).encode(encoding)
        assert data[:HEAD].isascii()
        assert layout(data).encoding == encoding
        assert (
            next(record["Name"] for item, record in found(data) if isinstance(item, Item) and item.key[-1] == "x")
            == "Jörg"
        )


def test_a_byte_of_another_encoding_costs_its_row() -> None:
    good = "".join(f"{n},Jörgzq\n" for n in range(30))
    data = ("Id,Name\n" + good).encode() + b"x,J\xf6rg\n" + b"y,Alzq\n"
    flaws = [item for item, _ in found(data) if isinstance(item, Flaw)]
    assert [flaw.reason for flaw in flaws] == [
        "Line 32: the row is not utf-8 in column 2 (Name): declare the file's encoding."
    ]


def test_half_a_character_of_utf_16_costs_its_row() -> None:
    data = "Id,Name\n1,Alzq\n2,x".encode("utf-16-le") + b"\x00\xd8" + ",\n3,Bozq\n".encode("utf-16-le")
    kinds = [type(item).__name__ for item, _ in found(b"\xff\xfe" + data)]
    assert kinds == ["Item", "Flaw", "Item"]


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ("", "--mapping"),
        ("[file", "no TOML"),
        ("[file]\nkey = 'Id'\n", "kind"),
        ("[file]\nkind = 'Patient'\nkey = 'Id'\n", "kind"),
        ("[file]\nkind = 'patient'\n", "key"),
        ("[file]\nkind = 'patient'\nkey = []\n", "key"),
        (KEYED + "delimeter = ','\n", "delimeter"),
        (KEYED + "delimiter = 'ab'\n", "delimiter"),
        (KEYED + "delimiter = ''\n", "delimiter"),
        (KEYED + "delimiter = ','\nquote = ','\n", "two meanings"),
        (KEYED + "skip = '3'\n", "skip"),
        (KEYED + "skip = true\n", "skip"),
        (KEYED + "whole = 1\n", "whole"),
        (KEYED + "header = ['a', 'a']\n", "header"),
        (KEYED + "deleted = 'Status'\n", "values"),
        (KEYED + "updated = {column = 'u', zone = 'Mars'}\n", "Mars"),
        (KEYED + "updated = {column = 'u', format = 'nonsense'}\n", "nonsense"),
        (KEYED + "trailer = '('\n", "trailer"),
        (KEYED + "dated = 'x.csv'\n", "x.csv"),
    ],
)
def test_what_is_wrong_with_a_mapping_file_is_told(mapping: str, words: str) -> None:
    with pytest.raises(UsageError, match="mapping") as error:
        told(b"Id,u,Status\n1,,\n", mapping)
    assert words in str(error.value)


def test_each_file_finds_its_mapping_file_by_name() -> None:
    texts = [
        KEYED + 'match = "patients*.csv"\n',
        ROWWISE.replace("patient", "payer") + 'match = ["pay*", "ins*"]\n',
        "[x]\n",
    ]
    given = {"mapping": orjson.dumps(texts).decode()}

    def kind(name: str) -> int | str:
        return csv.context(name, b"Id,Name\n1,x\n", lambda: io.BytesIO(), given)["kind"]

    assert kind("Patients-2026.CSV") == "patient"
    assert kind("insurers.csv") == "payer"
    with pytest.raises(LayoutChanged, match="No mapping file is for this file"):
        kind("claims.csv")
    texts.append(texts[0])
    given["mapping"] = orjson.dumps(texts).decode()
    with pytest.raises(UsageError, match="Several mapping files"):
        kind("patients.csv")


def test_a_table_is_recognised_and_nothing_else_taken_for_one() -> None:
    for name, head in [("a.csv", b"Id\n1\n"), ("export", b"Id;Name\n1;x\n"), ("a.csv", b"\xff\xfeI\0d\0")]:
        assert csv.recognise(name, head)
    for name, head in [
        ("a.csv", b"<html>,</html>"),
        ("a.csv", b' {"a": 1, "b": 2}'),
        ("a.csv", b"[1, 2]"),
        ("a.pdf", b"%PDF-1.7,"),
        ("a.bin", b"a,\0\1\2"),
        ("readme", b"some words\n"),
    ]:
        assert not csv.recognise(name, head)
