from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from medmirror.errors import SourceError, TruncatedFile, UnreadableFile, UnsafeFile
from medmirror.readers import files

CONTENT = os.urandom(3000) + b"text " * 50_000


def read(path: Path, ratio: int = 200) -> dict[str, bytes]:
    """Every stream of *path*, whole."""
    found = {}
    for stream in files.streams(path, ratio):
        with stream.open() as file:
            pieces = []
            while piece := file.read(10_000):
                pieces.append(piece)
        found[stream.member or stream.name] = b"".join(pieces)
    return found


def test_plain_gzip_and_zip_give_the_same_bytes(tmp_path: Path) -> None:
    plain, packed, archive = tmp_path / "a.xml", tmp_path / "a.xml.gz", tmp_path / "a.zip"
    plain.write_bytes(CONTENT)
    packed.write_bytes(gzip.compress(CONTENT))
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a.xml", CONTENT)
    assert read(plain) == read(packed) == read(archive) == {"a.xml": CONTENT}


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(gzip.compress(CONTENT))
    assert list(read(path).values()) == [CONTENT]
    path = tmp_path / "b.gz"
    path.write_bytes(CONTENT)
    assert list(read(path).values()) == [CONTENT]


def test_a_gzip_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(CONTENT) + gzip.compress(b"more"))
    assert read(path) == {"a": CONTENT + b"more"}


@pytest.mark.parametrize("cut", [3, 20, 1000, -1, -6])
def test_a_gzip_cut_anywhere_is_truncated(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(CONTENT)[:cut])
    with pytest.raises(TruncatedFile) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("place", [-8, -4, 100])
def test_a_damaged_gzip_is_found_out(place: int, tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    data = bytearray(gzip.compress(CONTENT))
    data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(TruncatedFile):
        read(path)


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/a", "C:\\a", "..\\a"])
def test_a_member_that_leads_out_of_its_archive_is_unsafe(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("fine", b"x")
        out.writestr(name, b"x")
    with pytest.raises(UnsafeFile):
        read(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
def test_a_link_or_a_special_file_in_an_archive_is_unsafe(kind: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    link = zipfile.ZipInfo("link")
    link.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeFile):
        read(path)


def test_an_absurd_ratio_is_unsafe_unless_it_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a", bytes(20 << 20))
    with pytest.raises(UnsafeFile, match="MEDMIRROR_MAX_ZIP_RATIO"):
        read(path)
    assert len(read(path, 100_000)["a"]) == 20 << 20


def test_a_broken_archive_is_truncated(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as out:
        out.writestr("a", CONTENT)
    path = tmp_path / "a.zip"
    path.write_bytes(data.getvalue()[:-30])
    with pytest.raises(TruncatedFile):
        read(path)
    damaged = bytearray(data.getvalue())
    damaged[2_000] ^= 0xFF  # the content, so that its checksum is wrong
    path.write_bytes(damaged)
    with pytest.raises(TruncatedFile):
        read(path)


def test_what_is_no_file_is_unreadable(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, tmp_path / "missing"):
        with pytest.raises(UnreadableFile):
            read(path)


def test_digests_and_the_checksum_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(CONTENT)
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    found = files.digest(path, md5=True)
    assert found == (len(CONTENT), hashlib.sha256(CONTENT).digest(), md5)
    assert files.digest(path).md5 is None
    assert files.sidecar_md5(path) is None
    beside = tmp_path / "a.gz.md5"
    for form in (f"MD5(a.gz)= {md5}\n", f"{md5}  a.gz\n", f"MD5 (a.gz) = {md5.upper()}\n"):
        beside.write_text(form)
        assert files.sidecar_md5(path) == md5
    beside.write_text("no checksum in here")
    assert files.sidecar_md5(path) is None


def test_the_head_of_a_stream_that_breaks_is_what_there_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    (stream,) = files.streams(path, 200)
    assert files.head(stream) == CONTENT[: files.HEAD]
    packed = tmp_path / "b.gz"
    packed.write_bytes(gzip.compress(CONTENT)[:10])
    (stream,) = files.streams(packed, 200)
    with pytest.raises(SourceError):
        files.head(stream)
