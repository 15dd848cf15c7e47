"""The beginning of an XML stream: its encoding, its DOCTYPE and its root element."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Collection
from typing import BinaryIO, NamedTuple

from medmirror.errors import LayoutChanged, UnsafeFile

_READ = 1 << 18
_MAX_PROLOG = 1 << 20
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_DECLARED = re.compile(rb"\s*<\?xml[^>]*?\sencoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_PROLOG = re.compile(
    rb"\s+|<\?.*?\?>|<!--.*?-->"
    rb"|<!DOCTYPE(?:[^\[\]<>\"']|\"[^\"]*\"|'[^']*')*(\[(?:[^\]\"']|\"[^\"]*\"|'[^']*')*\]\s*)?>",
    re.DOTALL,
)
_START = re.compile(rb"<([A-Za-z_][\w.:-]*)(?:\s(?:[^<>\"']|\"[^\"]*\"|'[^']*')*)?/?>")


class Root(NamedTuple):
    """The first start tag of a document: its name, where it starts and ends, and whether it is ``<name/>``."""

    name: str
    start: int
    end: int
    empty: bool


def decoded(stream: BinaryIO) -> tuple[BinaryIO, int]:
    """(*stream* as UTF-8, whatever encoding it declares; the number of bytes of its byte order mark, which is gone).

    Bytes that are not of the declared encoding become U+FFFD; a stream that is UTF-8 passes as it is.
    """
    head = stream.read(1 << 12)
    encoding, skip = _encoding(head)
    rest = _Chained(head[skip:], stream)
    if encoding in ("utf-8", "ascii"):
        return io.BufferedReader(rest, _READ), skip
    return io.BufferedReader(_Recoded(rest, encoding), _READ), 0


def _encoding(head: bytes) -> tuple[str, int]:
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name, len(bom)
    if head.startswith(b"<\0"):
        return "utf-16-le", 0
    if head.startswith(b"\0<"):
        return "utf-16-be", 0
    declared = _DECLARED.match(head)
    try:
        return (codecs.lookup(declared[1].decode()).name if declared else "utf-8"), 0
    except LookupError:
        raise LayoutChanged("The file declares an encoding that is not known.") from None


class _Chained(io.RawIOBase):
    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head, self._stream = head, stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._head or self._stream.read(len(buffer))
        self._head = data[len(buffer) :]
        data = data[: len(buffer)]
        buffer[: len(data)] = data
        return len(data)


class _Recoded(io.RawIOBase):
    def __init__(self, stream: io.RawIOBase, encoding: str) -> None:
        self._decoder, self._stream = codecs.getincrementaldecoder(encoding)("replace"), stream
        self._ready, self._ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready and not self._ended:
            data = self._stream.read(_READ) or b""
            self._ended = not data
            self._ready = self._decoder.decode(data, self._ended).encode("utf-8", "replace")
        data, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def root(head: bytes) -> Root | None:
    """The root of a document that begins with *head* (UTF-8); None when *head* holds no start tag yet, or no XML.

    Raises UnsafeFile when the DOCTYPE declares entities: they can grow without end or read other files.
    """
    at = 0
    while found := _PROLOG.match(head, at):
        if found[1] and b"<!ENTITY" in found[1]:
            raise UnsafeFile("The file's DOCTYPE declares entities; it was not read.")
        at = found.end()
    if head.startswith(b"<!DOCTYPE", at) and b"<!ENTITY" in head[at:]:
        raise UnsafeFile("The file's DOCTYPE declares entities; it was not read.")
    start = _START.match(head, at)
    return Root(start[1].decode(), at, start.end(), start[0].endswith(b"/>")) if start else None


def is_prolog(head: bytes) -> bool:
    """Whether *head* may be the beginning of a prolog that goes on."""
    return len(head) < _MAX_PROLOG and head.lstrip().startswith((b"<?", b"<!"))


def root_of(stream: BinaryIO, known: Collection[str]) -> Root:
    """The root of the document in *stream*. Raises LayoutChanged unless *known* names it; UnsafeFile as ``root``."""
    found = root(decoded(stream)[0].read(_MAX_PROLOG))
    if found is None:
        raise LayoutChanged("The file is not XML.")
    if found.name not in known:
        raise LayoutChanged("The file is XML of another kind; its root element is not known.", root=found.name[:40])
    return found
