"""Every kind of stream that a file can become is a whole file to whoever reads it, and holds what was packed."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from medmirror import sources
from medmirror.errors import TruncatedFile, UnsafeFile
from medmirror.model import Block
from medmirror.readers import files
from medmirror.readers.folders import path_of, shown
from medmirror.readers.streams import Ahead

DRUGS = {"results": [{"product_id": "1_a", "pad": ["y" * 70] * 2000}], "meta": {"last_updated": "2026-08-01"}}
CONTENT = json.dumps(DRUGS).encode()


def packed(method: int, *members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip twice": lambda data: gzip.compress(gzip.compress(data)),
    "stored": lambda data: packed(zipfile.ZIP_STORED, ("a", data)),
    "deflated": lambda data: packed(zipfile.ZIP_DEFLATED, ("a", data)),
    "bzip2": lambda data: packed(zipfile.ZIP_BZIP2, ("a", data)),
    "lzma": lambda data: packed(zipfile.ZIP_LZMA, ("a", data)),
    "gzip in a zip": lambda data: packed(zipfile.ZIP_STORED, ("a.gz", gzip.compress(data))),
    "zip in a zip": lambda data: packed(zipfile.ZIP_DEFLATED, ("b.zip", packed(zipfile.ZIP_DEFLATED, ("a", data)))),
    "gzip in two zips": lambda data: packed(
        zipfile.ZIP_STORED, ("b.ZIP", packed(zipfile.ZIP_STORED, ("c/a.gz", gzip.compress(data))))
    ),
}
SMALL = b'{"results": []}'


@pytest.mark.parametrize("content", [CONTENT, SMALL, b"", b"\x1f"], ids=["large", "small", "empty", "one byte"])
@pytest.mark.parametrize("form", FORMS)
def test_each_way_of_reading_gives_the_content(form: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(FORMS[form](content))
    for stream in files.streams(path, 1000):
        with stream.open() as file:
            assert file.readable()
            assert file.read() == content
            assert file.read(10) == b""
        with stream.open() as file:
            assert file.read(3) + file.read(-1) == content
        with stream.open() as file:
            assert b"".join(iter(partial(file.read, 1000), b"")) == content
        with stream.open() as file:
            buffer = bytearray(7)
            count = file.readinto(buffer)  # type: ignore[attr-defined]
            assert bytes(buffer[:count]) + file.read() == content
        with stream.open() as file:
            assert io.BufferedReader(file).read() == content  # type: ignore[type-var]
        with stream.open() as one, stream.open() as other:
            assert (one.read(1), other.read(), one.read()) == (content[:1], content, content[1:])
        assert one.closed
        assert files.head(stream) == content[: files.HEAD]


@pytest.mark.parametrize("form", FORMS)
def test_what_stands_behind_the_records_is_found_in_each_kind_of_stream(form: str, tmp_path: Path) -> None:
    source = sources.get("openfda")
    (tmp_path / "file").write_bytes(FORMS[form](CONTENT))
    for stream in files.streams(tmp_path / "file", 1000):
        context = source.context(stream.name, files.head(stream), stream.open, {})
        assert context["exported"]
        with stream.open() as file:
            (block,) = source.split(file, context, 1 << 20, 1 << 20)
        assert isinstance(block, Block)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "plain"])
def test_a_stream_that_is_cut_anywhere_is_truncated(form: str, tmp_path: Path) -> None:
    whole = FORMS[form](os.urandom(3000))
    for size in range(20, len(whole) - 1, 371):
        (tmp_path / "file").write_bytes(whole[:size])
        with pytest.raises(TruncatedFile):
            for stream in files.streams(tmp_path / "file", 1000):
                with stream.open() as file:
                    file.read()


def test_a_bad_archive_in_an_archive_costs_no_other_member(tmp_path: Path) -> None:
    good = packed(zipfile.ZIP_DEFLATED, ("c", b"c"), ("d", b"d"))
    evil = packed(zipfile.ZIP_DEFLATED, ("../e", b"e"))
    content = (("a", b"a"), ("cut.zip", good[:-9]), ("evil.zip", evil), ("good.zip", good), ("no.zip", b"none"))
    (tmp_path / "file").write_bytes(packed(zipfile.ZIP_STORED, *content))
    seen: dict[str, object] = {}
    for stream in files.streams(tmp_path / "file", 1000):
        try:
            with stream.open() as file:
                seen[stream.member] = file.read()
        except (TruncatedFile, UnsafeFile) as error:
            seen[stream.member] = type(error)
    assert seen == {
        "a": b"a",
        "cut.zip": TruncatedFile,
        "evil.zip": UnsafeFile,
        "good.zip/c": b"c",
        "good.zip/d": b"d",
        "no.zip": b"none",
    }


def test_layers_without_end_are_unsafe(tmp_path: Path) -> None:
    gzipped, zipped = b"a", b"a"
    for _ in range(5):
        gzipped, zipped = gzip.compress(gzipped), packed(zipfile.ZIP_STORED, ("a.zip", zipped))
    for data in (gzipped, zipped):
        (tmp_path / "file").write_bytes(data)
        (stream,) = files.streams(tmp_path / "file", 1000)
        with pytest.raises(UnsafeFile):
            stream.open()


def test_names_in_an_archive_that_are_not_what_they_say_cost_nothing(tmp_path: Path) -> None:
    data = packed(zipfile.ZIP_DEFLATED, ("good", b"1"), ("café", b"2"), ("naïve.zip", packed(0, ("ö", b"3"))))
    for name in ("café", "naïve.zip"):
        raw = name.encode()
        broken = raw.replace(b"\xc3", b"\xff")  # never in UTF-8
        assert data.count(raw) == 2
        data = data.replace(raw, broken)
    (tmp_path / "file").write_bytes(data)
    seen = []
    for stream in files.streams(tmp_path / "file", 1000):
        with stream.open() as file:
            seen.append(file.read())
        stream.member.encode()
    assert seen == [b"1", b"2", b"3"]


def test_a_name_of_any_bytes_is_text_and_back() -> None:
    for name in (b"caf\xe9.xml", "café.xml".encode(), b"a b", b"\xff\xfe\x80", b"\\x41", b"a\\xe9"):
        path = Path(os.fsdecode(name))
        assert shown(path).encode().decode() == shown(path)
        assert shown(path) == name.decode(errors="backslashreplace")
    assert path_of(shown(os.fsdecode(b"d/caf\xe9.xml"))) == Path(os.fsdecode(b"d/caf\xe9.xml"))
    assert path_of("d/caf\\x41.xml") == Path("d/caf\\x41.xml")


def test_closing_what_was_read_ahead_closes_the_stream() -> None:
    below = io.BytesIO(b"bc")
    ahead = Ahead(b"a", below, below.close)
    assert (ahead.read(2), ahead.read(2), ahead.read(2)) == (b"ab", b"c", b"")
    ahead.close()
    assert below.closed


def test_a_damaged_member_of_any_method_is_our_error(tmp_path: Path) -> None:
    for form in ("stored", "deflated", "bzip2", "lzma", "gzip in a zip", "zip in a zip"):
        whole = bytearray(FORMS[form](os.urandom(4000)))
        whole[2000] ^= 0xFF
        (tmp_path / "file").write_bytes(whole)
        with pytest.raises(TruncatedFile):
            for stream in files.streams(tmp_path / "file", 1000):
                with stream.open() as file:
                    file.read()
