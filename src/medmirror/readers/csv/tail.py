"""How a CSV file ends: whether its last line is whole, and what a trailer counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import UnsupportedOperation
from typing import BinaryIO, NamedTuple

from medmirror.readers.csv.encoding import Recoded, table

_KEPT = 1 << 16
_END_OF_FILE = re.compile(rb"(?<=[\r\n])\x1a\Z")  # DOS's mark on a line of its own, which is no line of the table
_READ = 1 << 20


class Tail(NamedTuple):
    """*whole*: the last line has a line end. *trailer*: the bytes of the last line, when it is one. *counted*: how
    many records the trailer says there are, -1 when it does not."""

    whole: bool
    trailer: bytes | None = None
    counted: int = -1


def tail(reopen: Callable[[], BinaryIO], encoding: str, recode: str, pattern: str) -> Tail:
    """The end of a file. *pattern*: what its trailer matches, with the count in its first group; empty: it has none."""
    data = _last(reopen, recode)
    whole = _END_OF_FILE.sub(b"", data).endswith((b"\n", b"\r"))
    if not pattern:
        return Tail(whole)
    lines = [line for line in data.splitlines() if line.strip(b" \t\x1a")]
    last = lines[-1] if lines else b""
    text = last.decode("utf-8" if table(encoding) is None else encoding, "replace")
    match = re.fullmatch(pattern, text.strip(" \t\r\n\v\f\x1a"))
    if match is None:
        return Tail(whole)
    digits = re.sub(r"[^0-9]", "", match[1] or "") if match.re.groups else ""
    return Tail(whole, last, int(digits) if digits else -1)


def _last(reopen: Callable[[], BinaryIO], recode: str) -> bytes:
    """The last bytes of the file, recoded. What cannot be skipped is read."""
    with reopen() as stream:
        if not recode and _skip(stream):
            return stream.read(_KEPT)
        source = Recoded(stream, recode) if recode else stream
        data = b""
        while more := source.read(_READ):
            data = (data + more)[-_KEPT:]
        return data


def _skip(stream: BinaryIO) -> bool:
    try:
        stream.seek(max(0, stream.seek(0, 2) - _KEPT))
    except (OSError, UnsupportedOperation, ValueError):
        return False
    return True
