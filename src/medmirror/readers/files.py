"""Files as bytes: open plain, .gz and .zip as decoded streams, digest them, refuse what is broken or dangerous.

What a file is, its first bytes say, not its name. Within a .gz may be a .gz, within a .zip both. *beneath* in what
follows is the folder that a file was found in: below it no link is followed (``folders.open_file``).
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from isal import igzip
from isal.isal_zlib import IsalError

from medmirror.errors import SourceError, TruncatedFile, UnreadableFile, UnsafeFile
from medmirror.readers import folders, zipped
from medmirror.readers.folders import shown, unreadable
from medmirror.readers.streams import Ahead, Pieces

HEAD = 1 << 16  # bytes that are looked at to tell what a stream is
_READ = 1 << 20
_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_SPECIAL = (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
_SMALL = 16 << 20  # a zip member up to this size may be packed as tightly as it likes


_NAME = 300  # characters of a member's name that are kept as they are
_NESTED = 3  # archives within one another, or compressions of one another, that are opened

Opener = Callable[[], io.RawIOBase]


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


def digest(path: Path, raw: bytes | None = None, *, md5: bool = False, beneath: Path | None = None) -> Digest:
    """Read *path* once (not when its bytes are given as *raw*) and digest them as they are. Raises UnreadableFile."""
    sha256 = hashlib.sha256(raw or b"")
    other = hashlib.md5(raw or b"", usedforsecurity=False) if md5 else None
    if raw is not None:
        return Digest(len(raw), sha256.digest(), other.hexdigest() if other else None)
    size = 0
    try:
        with folders.open_file(path, beneath) as file:
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


def streams(path: Path, max_ratio: int, beneath: Path | None = None) -> Iterator[Stream]:
    """The decoded streams of *path*: one, or one for each file of a zip archive, in the archive's order.

    A stream can be opened only until the next one is asked for.

    Raises UnreadableFile, TruncatedFile for a broken archive, UnsafeFile for one with an evil member: nothing is ever
    extracted, but a name that points out of the archive, a member that is a link or a device, or one that unpacks to
    more than *max_ratio* times its size, says that the archive was made to do harm.
    """
    opener = partial(folders.open_file, path, beneath)
    try:
        with opener() as file:
            start = b""
            while len(start) <= HEAD and (more := file.read(HEAD + 1 - len(start))):
                start += more
    except OSError as error:
        raise unreadable(path, error) from None
    name = shown(path.name)
    if start.startswith(_GZIP):
        yield Stream(name.removesuffix(".gz"), "", lambda: _unpacked(path, cast(BinaryIO, opener())))
    elif start.startswith(_ZIP):
        yield from _members(path, max_ratio, opener)
    elif len(start) <= HEAD:
        yield Stream(name, "", lambda: io.BytesIO(start), start)
    else:
        yield Stream(name, "", lambda: cast(BinaryIO, opener()))


def _unpacked(path: Path, stream: BinaryIO, layer: int = 0) -> BinaryIO:
    """*stream*, which it closes in the end, without the gzip layers around its content."""
    try:
        head = b""
        while len(head) < len(_GZIP) and (more := stream.read(len(_GZIP) - len(head))):
            head += more
        if layer == _NESTED and head == _GZIP:
            raise UnsafeFile(f"The file is compressed more than {_NESTED} times over.", file=shown(path))
    except OSError as error:
        stream.close()
        raise unreadable(path, error) from None
    except SourceError:
        stream.close()
        raise
    ahead = Ahead(head, stream, stream.close)
    if head != _GZIP:
        return cast(BinaryIO, ahead)
    inner = igzip.IGzipFile(fileobj=io.BufferedReader(ahead), mode="rb")
    return _unpacked(path, cast(BinaryIO, _Decoding(inner, path, ahead)), layer + 1)


def _members(path: Path, max_ratio: int, opener: Opener, within: str = "", depth: int = 0) -> Iterator[Stream]:
    """The streams of the archive that *opener* opens: the file itself, or the member *within* of another one."""
    try:
        # Open once: reading the directory again a member would be quadratic.
        with io.BufferedReader(opener()) as file, zipped.directory(cast(BinaryIO, file)) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            for info in members:
                _check(path, info, max_ratio)
            for info in members:
                name = PurePosixPath(info.filename).name
                stream = Stream(name, _called(within + info.filename), _member_opener(path, archive, info, opener))
                if name.lower().endswith(".zip"):
                    yield from _nested(path, max_ratio, stream, depth + 1)
                else:
                    yield stream._replace(name=name.removesuffix(".gz"))
    except (zipfile.BadZipFile, EOFError) as error:
        raise TruncatedFile("This zip archive is broken or cut short.", file=shown(path)) from error
    except OSError as error:
        raise unreadable(path, error) from None


def _called(member: str) -> str:
    """What the ledger calls *member*: an index must hold it."""
    if len(member) <= _NAME:
        return member
    return f"{member[:_NAME]}...{hashlib.sha256(member.encode()).hexdigest()[:16]}"


def _nested(path: Path, max_ratio: int, stream: Stream, depth: int) -> Iterator[Stream]:
    """The streams of the archive that is the member *stream* of another one. A bad one costs no other member: it is a
    stream that says so when it is opened."""
    try:
        with tempfile.TemporaryFile() as copy:  # without a name: it is gone with the process
            with stream.open() as packed:
                shutil.copyfileobj(packed, copy, _READ)
            copy.flush()
            if os.pread(copy.fileno(), 4, 0) not in _ZIP:
                yield stream
            elif depth == _NESTED:
                raise UnsafeFile(f"More than {_NESTED} archives lie within one another.", file=shown(path))
            else:
                opener = partial(zipped.View, copy.fileno())
                yield from _members(path, max_ratio, opener, f"{stream.member}/", depth)
    except SourceError as error:
        yield stream._replace(open=partial(_raise, error))
    except OSError as error:
        yield stream._replace(open=partial(_raise, unreadable(path, error)))


def _raise(error: SourceError) -> BinaryIO:
    raise error


def _check(path: Path, info: zipfile.ZipInfo, max_ratio: int) -> None:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or info.filename[1:2] == ":":
        raise UnsafeFile("The archive has a member whose path leads out of it.", file=shown(path))
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise UnsafeFile("The archive has a member that is a symbolic link.", file=shown(path))
    if kind in _SPECIAL:
        raise UnsafeFile("The archive has a member that is a FIFO, a socket or a device.", file=shown(path))
    if info.flag_bits & 1:
        raise UnsafeFile("The archive is encrypted.", file=shown(path))
    if info.file_size > _SMALL and info.file_size > max_ratio * max(1, info.compress_size):
        raise UnsafeFile(
            "A member of the archive unpacks to an absurd size; raise MEDMIRROR_MAX_ZIP_RATIO if it is right.",
            file=shown(path),
            ratio=info.file_size // max(1, info.compress_size),
        )


def _member_opener(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, opener: Opener
) -> Callable[[], BinaryIO]:
    def open_member() -> BinaryIO:
        try:
            member = zipped.Member(opener(), info) if zipped.is_plain(info) else archive.open(info)
        except (zipfile.BadZipFile, EOFError) as error:
            raise TruncatedFile("This zip archive is broken or cut short.", file=shown(path)) from error
        except NotImplementedError as error:
            raise UnreadableFile(
                "A member of the archive is packed in a way that is not known.", file=shown(path)
            ) from error
        except OSError as error:
            raise unreadable(path, error) from None
        return _unpacked(path, cast(BinaryIO, _Decoding(member, path)))

    return open_member


class _Decoding(Pieces):
    """A decompressing stream whose faults are our errors, whatever the library under it raises."""

    def __init__(self, stream: Any, path: Path, file: Pieces | None = None) -> None:
        self._stream = stream
        self._path = path
        self._file = file  # that the stream reads and does not close

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return cast(bytes, self._stream.read(-1 if size is None else size))
        except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, IsalError) as error:
            raise TruncatedFile(
                "The compressed file is cut short or damaged; fetch it again.", file=shown(self._path)
            ) from error
        except OSError as error:
            if error.errno is None:  # gzip's BadGzipFile: a wrong checksum, or rubbish after the first bytes
                raise TruncatedFile(
                    "The compressed file is damaged; fetch it again.", file=shown(self._path)
                ) from error
            raise unreadable(self._path, error) from None

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            if self._file is not None:
                self._file.close()
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


def sidecar_md5(path: Path, beneath: Path | None = None) -> str | None:
    """The MD5 that ``PATH.md5`` gives, in NLM's form ``MD5(name)= hex`` or md5sum's ``hex  name``; None without one."""
    content = folders.beside(path, ".md5", beneath) or b""
    words = content.decode("ascii", errors="replace").replace("=", " ").split()
    return next(
        (word.lower() for word in words if len(word) == 32 and set(word.lower()) <= set("0123456789abcdef")), None
    )
