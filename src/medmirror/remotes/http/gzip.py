"""Bodies out of the encoding that they come in, a piece at a time, however small a body says that it is large.

httpx unpacks what came at once and whole, and takes one encoding within another: a body of a few kilobytes may then
fill all of the memory. Here a piece that was unpacked has a bounded size, and there is one encoding, gzip.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

ACCEPTED = "gzip"
_PLAIN, _GZIP = ("", "identity"), ("gzip", "x-gzip")
_PIECE = 1 << 20
_WITH_HEADER = 16 + zlib.MAX_WBITS
_MAGIC = b"\x1f\x8b"


class Unreadable(Exception):
    """A body is in an encoding that was not asked for, or is broken."""


def unpacked(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """*pieces* of a body in *encoding* (the header's text), unpacked, in pieces of at most ``_PIECE`` bytes or as large
    as they came. Raises Unreadable, too when a body ends before its encoding does."""
    name = encoding.strip().lower()
    if name in _PLAIN:
        return pieces
    return _gunzipped(pieces, name)


def _gunzipped(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    decompressor, begun = zlib.decompressobj(_WITH_HEADER), False
    for piece in pieces:
        if name not in _GZIP:
            raise Unreadable
        begun = True
        while piece:
            if decompressor.eof:  # another member, or padding
                if not piece.startswith(_MAGIC):
                    break
                decompressor = zlib.decompressobj(_WITH_HEADER)
            yield _some(decompressor, piece)
            piece = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
    while begun and not decompressor.eof:
        if not (rest := _some(decompressor, b"")):
            raise Unreadable
        yield rest


def _some(decompressor: Any, packed: bytes) -> bytes:
    try:
        return bytes(decompressor.decompress(packed, _PIECE))
    except zlib.error:
        raise Unreadable from None
