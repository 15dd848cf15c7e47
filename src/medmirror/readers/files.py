"""Files as bytes: open plain, .gz and .zip as decoded streams, digest them, refuse what is broken or dangerous.

What a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from isal import igzip
from isal.isal_zlib import IsalError

from medmirror.errors import SourceError, TruncatedFile, UnreadableFile, UnsafeFile
from medmirror.readers import zipped

HEAD = 1 << 16  # bytes that are looked at to tell what a stream is
_READ = 1 << 20
_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_SMALL = 16 << 20  # a zip member up to this size may be packed as tightly as it likes


class Stream(NamedTuple):
    """One decoded stream of a file: its *name* (the file's, or the archive member's) and how to open it.

    *raw*: all of it, when it is a small file that is not packed; there may be many of those, so they are read once.
    """

    name: str
    member: str
    open: Callable[[], BinaryIO]
    raw: bytes | None = None


class Digest(NamedTuple):
    """A file's size and digests: SHA-256 always, MD5 (hexadecimal) only when asked for."""

    size: int
    sha256: bytes
    md5: str | None


def digest(path: Path, raw: bytes | None = None, *, md5: bool = False) -> Digest:
    """Read *path* once (not when its bytes are given as *raw*) and digest them as they are. Raises UnreadableFile."""
    sha256 = hashlib.sha256(raw or b"")
    other = hashlib.md5(raw or b"", usedforsecurity=False) if md5 else None
    if raw is not None:
        return Digest(len(raw), sha256.digest(), other.hexdigest() if other else None)
    size = 0
    try:
        with path.open("rb", buffering=0) as file:
            buffer = bytearray(_READ)
            view = memoryview(buffer)
            while count := file.readinto(buffer):
                sha256.update(view[:count])
                if other:
                    other.update(view[:count])
                size += count
    except OSError as error:
        raise unreadable(path, error) from None
    return Digest(size, sha256.digest(), other.hexdigest() if other else None)


def unreadable(path: Path, error: OSError) -> UnreadableFile:
    """The error for a file that the system will not give us, with the system's reason."""
    return UnreadableFile("", file=str(path), reason=error.strerror or type(error).__name__)


def streams(path: Path, max_ratio: int) -> Iterator[Stream]:
    """The decoded streams of *path*: one, or one for each file of a zip archive, in the archive's order.

    A stream can be opened only until the next one is asked for.

    Raises UnreadableFile, TruncatedFile for a broken archive, UnsafeFile for one with an evil member: nothing is ever
    extracted, but a name that points out of the archive, or a member that unpacks to more than *max_ratio* times its
    size, says that the archive was made to do harm.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableFile("This is not a regular file.", file=str(path))
        with path.open("rb") as file:
            start = file.read(HEAD + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    if start.startswith(_GZIP):
        yield Stream(path.name.removesuffix(".gz"), "", lambda: _gunzip(path))
    elif start.startswith(_ZIP):
        yield from _members(path, max_ratio)
    elif len(start) <= HEAD:
        yield Stream(path.name, "", lambda: io.BytesIO(start), start)
    else:
        yield Stream(path.name, "", lambda: _plain(path))


def _plain(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise unreadable(path, error) from None


def _gunzip(path: Path) -> BinaryIO:
    return cast(BinaryIO, _Unpacked(igzip.open(path, "rb"), path))


def _members(path: Path, max_ratio: int) -> Iterator[Stream]:
    try:
        with zipfile.ZipFile(path) as archive:  # open once: reading the directory again a member would be quadratic
            members = [info for info in archive.infolist() if not info.is_dir()]
            for info in members:
                _check(path, info, max_ratio)
            for info in members:
                yield Stream(PurePosixPath(info.filename).name, info.filename, _member_opener(path, archive, info))
    except (zipfile.BadZipFile, EOFError) as error:
        raise TruncatedFile("This zip archive is broken or cut short.", file=str(path)) from error
    except OSError as error:
        raise unreadable(path, error) from None


def _check(path: Path, info: zipfile.ZipInfo, max_ratio: int) -> None:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or info.filename[1:2] == ":":
        raise UnsafeFile("The archive has a member whose path leads out of it.", file=str(path))
    if stat.S_ISLNK(info.external_attr >> 16):
        raise UnsafeFile("The archive has a member that is a symbolic link.", file=str(path))
    if info.flag_bits & 1:
        raise UnsafeFile("The archive is encrypted.", file=str(path))
    if info.file_size > _SMALL and info.file_size > max_ratio * max(1, info.compress_size):
        raise UnsafeFile(
            "A member of the archive unpacks to an absurd size; raise MEDMIRROR_MAX_ZIP_RATIO if it is right.",
            file=str(path),
            ratio=info.file_size // max(1, info.compress_size),
        )


def _member_opener(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    def opener() -> BinaryIO:
        try:
            member = zipped.Member(path, info) if zipped.is_plain(info) else archive.open(info)
        except (zipfile.BadZipFile, EOFError) as error:
            raise TruncatedFile("This zip archive is broken or cut short.", file=str(path)) from error
        except NotImplementedError as error:
            raise UnreadableFile(
                "A member of the archive is packed in a way that is not known.", file=str(path)
            ) from error
        except OSError as error:
            raise unreadable(path, error) from None
        return cast(BinaryIO, _Unpacked(member, path))

    return opener


class _Unpacked(io.RawIOBase):
    """A decompressing stream whose faults are our errors, whatever the library under it raises."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream = stream
        self._path = path

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            return cast(bytes, self._stream.read(size))
        except (EOFError, zlib.error, zipfile.BadZipFile, IsalError) as error:
            raise TruncatedFile(
                "The compressed file is cut short or damaged; fetch it again.", file=str(self._path)
            ) from error
        except OSError as error:
            if error.errno is None:  # gzip's BadGzipFile: a wrong checksum, or rubbish after the first bytes
                raise TruncatedFile("The compressed file is damaged; fetch it again.", file=str(self._path)) from error
            raise unreadable(self._path, error) from None

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def head(stream: Stream) -> bytes:
    """The first decoded bytes of *stream*, at most HEAD. A stream that breaks within them gives what it had."""
    if stream.raw is not None:
        return stream.raw
    data = b""
    with stream.open() as file:
        try:
            while len(data) < HEAD and (more := file.read(HEAD - len(data))):
                data += more
        except SourceError:
            if not data:
                raise
    return data


def sidecar_md5(path: Path) -> str | None:
    """The MD5 that ``PATH.md5`` gives, in NLM's form ``MD5(name)= hex`` or md5sum's ``hex  name``; None without one."""
    sidecar = path.with_name(path.name + ".md5")
    try:
        words = sidecar.read_text("ascii", errors="replace").replace("=", " ").split()
    except OSError:
        return None
    return next(
        (word.lower() for word in words if len(word) == 32 and set(word.lower()) <= set("0123456789abcdef")), None
    )
