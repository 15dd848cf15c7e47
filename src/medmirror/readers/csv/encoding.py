"""The encoding of a CSV file: told from its byte order mark, else from its first bytes that are not ASCII.

A block's bytes are UTF-8, or of a code page whose every byte is one character and whose first half is ASCII: there,
delimiters, quotes and line ends can be found before anything is decoded. A file in any other encoding is recoded to
UTF-8.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from functools import cache
from typing import BinaryIO, NamedTuple

from medmirror.errors import LayoutChanged, UsageError
from medmirror.readers.files import HEAD
from medmirror.readers.xml.root import Reader

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the half of it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ORDERLESS = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8", "ascii": "utf-8"}
_READ = 1 << 20
_SAMPLE = 1 << 16  # bytes that are looked at from the first that is not ASCII
_MOSTLY = 0.9
_LETTERS = frozenset(bytes(range(0xC0, 0x100))) - {0xD7, 0xF7} | frozenset(b"\x8a\x8c\x8e\x9a\x9c\x9e\x9f")
_UNUSED = frozenset(b"\x81\x8d\x8f\x90\x9d")  # no characters of Windows-1252
_WITHIN = _LETTERS | frozenset(b"\x92\x96\xad\xb4")  # what Windows-1252 has within words: letters, apostrophes, dashes
_CAPITALS = frozenset(bytes(range(0xC0, 0xDF))) | frozenset(b"\x8a\x8c\x8e\x9f")
_AFTER = _WITHIN | frozenset(bytes(range(0xA0, 0xC0))) | frozenset(b"\x80\x85\x91\x93\x94\x97\x99")
_DECLARE = "Declare it in the mapping file: [file] encoding = ..."


class Encoding(NamedTuple):
    """*blocks*: the encoding of a block's bytes; *recode*: the file's own, when it has to be recoded to that, else
    empty.
    *told*: how it was found, for people."""

    blocks: str
    recode: str
    told: str


def tell(head: bytes, reopen: Callable[[], BinaryIO], declared: str | None) -> Encoding:
    """The encoding of the file that begins with *head*. Raises LayoutChanged when it is not certain enough.

    A file that is ASCII so far is read on to the first byte that is not: one letter at its end decides for all of it.
    """
    marked = next((name for bom, name in _BOMS if head.startswith(bom)), None)
    if declared is not None:
        wanted = _known(declared)
        if marked and wanted not in (marked, marked.rpartition("-")[0]):
            raise LayoutChanged(f"The mapping file says {declared}, but the file begins with the mark of {marked}.")
        return _encoding(marked or _ORDERLESS.get(wanted, wanted), "declared")
    if marked:
        return _encoding(marked, "by its byte order mark")
    if wide := _wide(head):
        return _encoding(wide, "by its zero bytes")
    return _encoding(_narrow(_not_ascii(head, reopen)), "by its bytes")


def _encoding(name: str, origin: str) -> Encoding:
    if name == "utf-8" or table(name) is not None:
        return Encoding(name, "", origin)
    return Encoding("utf-8", name, origin)


def _known(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise UsageError(f"The mapping file declares the encoding {name!r}, which is not known.") from None


@cache
def table(name: str) -> tuple[bytes, ...] | None:
    """What each byte of a code page is in UTF-8, empty for those it has no use for; None for any other encoding."""
    codes = []
    for code in range(256):
        try:
            text = bytes([code]).decode(name)
        except UnicodeDecodeError:
            text = ""
        if (code < 128 and text != chr(code)) or len(text) > 1:
            return None
        codes.append(text.encode("utf-8", "surrogatepass"))
    leads = [code for code, text in enumerate(codes) if not text]
    several = any(_is_character(bytes([code, trail]), name) for code in leads for trail in (0x40, 0xA1))
    return tuple(codes) if any(codes[128:]) and not several else None


def _is_character(raw: bytes, name: str) -> bool:
    try:
        return len(raw.decode(name)) == 1
    except UnicodeDecodeError:
        return False


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark, by where the zero bytes stand: half of Latin text is zero bytes, on one side."""
    pairs = len(head) // 2
    low, high = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if pairs and high > 0.4 * pairs and low < 0.01 * pairs:
        return "utf-16-le"
    if pairs and low > 0.4 * pairs and high < 0.01 * pairs:
        return "utf-16-be"
    return None


def _not_ascii(head: bytes, reopen: Callable[[], BinaryIO]) -> bytes:
    """Some bytes of the file from (a little before) the first that is not ASCII; none when there is none."""
    if not head.isascii():
        return head
    if len(head) < HEAD:
        return b""
    with reopen() as stream:
        before = b""
        while data := stream.read(_READ):
            if not data.isascii():
                piece = before[-8:] + data
                first = next(place for place, code in enumerate(piece) if code >= 128)
                return piece[max(0, first - 8) : first + _SAMPLE]
            before = data
    return b""


def _narrow(data: bytes) -> str:
    """UTF-8 or Windows-1252, by bytes that are not ASCII."""
    good, bad = _sequences(data)
    if good >= _MOSTLY * (good + bad):  # none at all: ASCII
        return "utf-8"
    if bad < _MOSTLY * (good + bad):
        raise LayoutChanged(
            f"The file's encoding is not clear: it is neither UTF-8 nor a code page throughout. {_DECLARE}"
        )
    # Older code pages have letters where Windows-1252 has signs that follow no letter, or capitals.
    fitting = [
        code in (_WITHIN if _is_letter(data[place + 1]) else _AFTER)
        and (code not in _CAPITALS or data[place - 1] <= 90)
        for place, code in enumerate(data[1:-1], 1)
        if code >= 128 and _is_letter(data[place - 1])
    ]
    if _UNUSED & set(data) or sum(fitting) < _MOSTLY * len(fitting):
        raise LayoutChanged(f"The file's encoding is not clear: it is neither UTF-8 nor Windows-1252. {_DECLARE}")
    return "cp1252"


def _is_letter(code: int) -> bool:
    return 65 <= code <= 90 or 97 <= code <= 122


def _sequences(data: bytes) -> tuple[int, int]:
    """(UTF-8 characters that are not ASCII, bytes that are none). A character cut off by the end counts as neither."""
    bad, rest, text = 0, data, ""
    while True:
        try:
            text += rest.decode()
            break
        except UnicodeDecodeError as error:
            text += rest[: error.start].decode()
            if error.end == len(rest) and error.reason == "unexpected end of data":
                break
            bad += error.end - error.start
            rest = rest[error.end :]
    return sum(not character.isascii() for character in text), bad


def _refused(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end  # no character; written as UTF-8 it is none either, so that its row is refused


codecs.register_error("medmirror refuses", _refused)


class Recoded:
    """*stream*, which is of *encoding*, as UTF-8. What is no character becomes bytes that are no UTF-8: the row that
    they are in is refused, and no other."""

    def __init__(self, stream: Reader, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("medmirror refuses")
        self._rest = b""
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """The next bytes, *size* of them unless the stream ends."""
        parts, held = [self._rest], len(self._rest)
        while held < size and not self._ended:
            data = self._stream.read(max(_SAMPLE, size))
            self._ended = not data
            parts.append(self._decoder.decode(data, final=not data).encode("utf-8", "surrogatepass"))
            held += len(parts[-1])
        data = b"".join(parts)
        self._rest = data[size:]
        return data[:size]
