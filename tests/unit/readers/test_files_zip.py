"""Members of a zip archive are unpacked whole, or found out."""

from __future__ import annotations

import random
import zipfile
import zlib
from pathlib import Path

import pytest

from medmirror.errors import SourceError, TruncatedFile, UnreadableFile
from medmirror.readers import files

CONTENT = b"".join(b'{"id": %d, "text": "some words that are packed well"},\n' % n for n in range(40_000))
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


def archive(path: Path, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return path


def contents(path: Path, size: int = 1 << 20) -> list[bytes]:
    """What each member holds, read *size* bytes at a time."""
    found = []
    for stream in files.streams(path, 1000):
        with stream.open() as file:
            parts = iter(lambda: file.read(size), b"")
            found.append(b"".join(parts))
    return found


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_the_content(method: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", METHODS[method], first=CONTENT, empty=b"", last=b"x")
    assert contents(path) == [CONTENT, b"", b"x"]


@pytest.mark.parametrize("size", [1, 7, 1 << 10, 1 << 24])
def test_any_number_of_bytes_at_a_time(size: int, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", first=CONTENT[: 5000 * min(size, 400)])
    assert contents(path, size) == [CONTENT[: 5000 * min(size, 400)]]


def test_all_at_once_and_the_end_again(tmp_path: Path) -> None:
    (stream,) = files.streams(archive(tmp_path / "a.zip", first=CONTENT), 1000)
    with stream.open() as file:
        assert file.read() == CONTENT
        assert file.read() == b""
        assert file.read(0) == b""


def test_bytes_that_do_not_pack_and_a_stream_without_known_sizes(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(300_000)
    with (tmp_path / "a.zip").open("wb") as file:
        file.write(b"leading bytes, as of a program that unpacks itself")
        with zipfile.ZipFile(_NoSeek(file), "w", zipfile.ZIP_DEFLATED) as out:  # type: ignore[arg-type]
            out.writestr("a", noise)
            out.writestr("\u00e9", b"named")
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "b.zip").write_bytes(data[data.index(b"PK") :])
    assert contents(tmp_path / "b.zip") == [noise, b"named"]


class _NoSeek:
    """A file that cannot go back, so that sizes and checksums come after the content."""

    def __init__(self, file: object) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return self._file.write(data)  # type: ignore[attr-defined, no-any-return]

    def flush(self) -> None:
        pass


def test_damage_anywhere_is_found_out(tmp_path: Path) -> None:
    good = archive(tmp_path / "a.zip", first=CONTENT).read_bytes()
    end = good.rindex(b"PK\x01\x02")
    for place in random.Random(2).sample(range(35, end), 60):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        (tmp_path / "b.zip").write_bytes(damaged)
        with pytest.raises(SourceError):
            contents(tmp_path / "b.zip")


def test_a_wrong_checksum_or_size_is_found_out(tmp_path: Path) -> None:
    good = archive(tmp_path / "a.zip", first=CONTENT).read_bytes()
    directory = good.rindex(b"PK\x01\x02")
    assert int.from_bytes(good[directory + 16 : directory + 20], "little") == zlib.crc32(CONTENT)
    for place in (16, 24):  # the checksum, the size
        for change in (1, 255):
            wrong = bytearray(good)
            wrong[directory + place] = (wrong[directory + place] + change) % 256
            (tmp_path / "b.zip").write_bytes(wrong)
            with pytest.raises(TruncatedFile):
                contents(tmp_path / "b.zip")


def test_a_member_of_another_name_or_at_another_place_is_found_out(tmp_path: Path) -> None:
    good = archive(tmp_path / "a.zip", first=CONTENT).read_bytes()
    for wrong in (good.replace(b"first", b"fifth", 1), good[:30] + b"PK\x05\x06" + good[30:]):
        (tmp_path / "b.zip").write_bytes(wrong)
        with pytest.raises(SourceError):
            contents(tmp_path / "b.zip")


def test_a_way_of_packing_that_is_not_known_is_told(tmp_path: Path) -> None:
    wrong = bytearray(archive(tmp_path / "a.zip", first=CONTENT).read_bytes())
    wrong[8] = wrong[wrong.rindex(b"PK\x01\x02") + 10] = 97
    (tmp_path / "b.zip").write_bytes(wrong)
    with pytest.raises(UnreadableFile):
        contents(tmp_path / "b.zip")


def test_two_members_can_be_open_at_once(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", first=CONTENT)
    (stream,) = files.streams(path, 1000)
    with stream.open() as one, stream.open() as other:
        assert one.read(100) == other.read(100)
        assert one.read() == other.read() == CONTENT[100:]
