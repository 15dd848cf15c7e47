"""The beginning of an XML stream: its encoding, its DOCTYPE and its root element."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection
from typing import NamedTuple, Protocol

from medmirror.errors import LayoutChanged, UnsafeFile

_HEAD = 1 << 12
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


class Reader(Protocol):
    """A reader of bytes: ``read`` gives at most *size* of them, none at the end."""

    def read(self, size: int, /) -> bytes: ...


def decoded(stream: Reader) -> tuple[Reader, int]:
    """(*stream* as UTF-8, whatever encoding it declares; the number of bytes of its byte order mark, which is gone).

    Bytes that are not of the declared encoding become U+FFFD; a stream that is UTF-8 passes as it is.
    """
    head = b""
    while len(head) < _HEAD and (data := stream.read(_HEAD - len(head))):
        head += data
    encoding, skip = _encoding(head)
    remainder = Chained(head[skip:], stream)
    return (remainder, skip) if encoding in ("utf-8", "ascii") else (_Recoded(remainder, encoding), 0)


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


class Chained:
    """A reader of *head*, bytes that were read already, and then of the stream behind them."""

    def __init__(self, head: bytes, stream: Reader) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int, /) -> bytes:
        if not self._head:
            return self._stream.read(size)
        data, self._head = self._head[:size], self._head[size:]
        return data


class _Recoded:
    def __init__(self, stream: Reader, encoding: str) -> None:
        self._decoder, self._stream = codecs.getincrementaldecoder(encoding)("replace"), stream
        self._ready, self._ended = b"", False

    def read(self, size: int, /) -> bytes:
        while not self._ready and not self._ended:
            data = self._stream.read(_READ)
            self._ended = not data
            self._ready = self._decoder.decode(data, self._ended).encode("utf-8", "replace")
        data, self._ready = self._ready[:size], self._ready[size:]
        return data


def read(stream: Reader, size: int) -> bytes:
    """*size* bytes, fewer only at the end of *stream*, which may give them piecemeal."""
    data = stream.read(size)
    if len(data) == size or not data:
        return data
    parts, missing = [data], size - len(data)
    while missing and (data := stream.read(missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def root(head: bytes) -> Root | None:
    """The root of a document that begins with *head* (UTF-8); None when *head* holds no start tag yet, or no XML.

    Raises UnsafeFile when the DOCTYPE declares entities: they can grow without end or read other files.
    """
    at = 0
    while match := _PROLOG.match(head, at):
        if match[1] and b"<!ENTITY" in match[1]:
            raise UnsafeFile("The file's DOCTYPE declares entities; it was not read.")
        at = match.end()
    if head.startswith(b"<!DOCTYPE", at) and b"<!ENTITY" in head[at:]:
        raise UnsafeFile("The file's DOCTYPE declares entities; it was not read.")
    start = _START.match(head, at)
    return Root(start[1].decode(), at, start.end(), start[0].endswith(b"/>")) if start else None


def is_prolog(head: bytes) -> bool:
    """Whether *head* may be the beginning of a prolog that goes on."""
    return len(head) < _MAX_PROLOG and head.lstrip().startswith((b"<?", b"<!"))


def root_of(stream: Reader, names: Collection[str]) -> Root:
    """The root of the document in *stream*. Raises LayoutChanged when *names* lacks it, UnsafeFile as ``root``."""
    opening = root(read(decoded(stream)[0], _MAX_PROLOG))
    if opening is None:
        raise LayoutChanged("The file is not XML.")
    if opening.name not in names:
        raise LayoutChanged("The file is XML of another kind; its root element is not known.", root=opening.name[:40])
    return opening
