"""The outline of a JSON stream: its kind, and the values beside its records."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, NamedTuple

from medmirror.errors import LayoutChanged, TruncatedFile
from medmirror.readers.json.pieces import parse
from medmirror.readers.json.scan import OPEN, Skipper, element_end, whole
from medmirror.readers.window import Window, skip_space

_HEAD = 1 << 16  # a head of fewer bytes is the whole stream
_READ = 1 << 20
_MOST_OUTSIDE = 16 << 20  # bytes of one value outside the records
BOM = b"\xef\xbb\xbf"


class Outline(NamedTuple):
    """The outline of a stream: its *kind* (array, key, bare, lines, pages), the array's *key*, the other values of the
    top level.

    *first* is the first key of the top-level object, for errors about an object that is none of ours.
    """

    kind: str
    key: str
    values: Mapping[str, Any]
    first: str = ""


def looks_like_json(head: bytes) -> bool:
    """Whether *head* may begin a stream of JSON objects."""
    return head.removeprefix(BOM).lstrip()[:1] in (b"{", b"[")


def check_text(head: bytes) -> None:
    """Raise LayoutChanged, with what it is instead, for a stream that is not UTF-8 JSON."""
    start = head.removeprefix(BOM).lstrip()
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or (len(head) > 3 and 0 in head[:4]):
        raise LayoutChanged("The file is UTF-16 or UTF-32; JSON must be UTF-8. Convert it first.")
    if not start:
        raise LayoutChanged("The file is empty; fetch it again.")
    if start[:1] == b"<":
        raise LayoutChanged("The file is HTML or XML, not JSON.")
    if start[:1] not in b"{[":
        raise LayoutChanged("The file is not JSON: it begins with neither an object nor an array.")


def whole_stream(head: bytes, reopen: Callable[[], BinaryIO]) -> BinaryIO:
    """The stream that begins with *head*, from its begin; a small one that *head* holds whole is not opened again."""
    return io.BytesIO(head) if len(head) < _HEAD else reopen()


def outline(stream: BinaryIO, keys: frozenset[str], bare: frozenset[str], *, pages: bool = False) -> Outline:
    """The outline of *stream*, whose records may stand in an array under one of *keys*.

    An object whose first key is among *bare* is itself a record. With *pages* an array of pages is told from one of
    records (kind ``pages``; the values are those of the first one), and a page a line from a record a line (``key``).
    Reads no further than the array: values behind it are not in the outline (``value_at``). Raises LayoutChanged when
    the stream is no JSON.
    """
    window = Window(stream)
    window.fill(_HEAD)
    check_text(window.data)
    window.drop(len(BOM) if window.data.startswith(BOM) else 0)
    start = window.space(0)
    in_array = window.data.startswith(b"[", start)
    in_lines = not in_array and _are_lines(window.data[start:], whole=window.eof)
    if in_array:
        start = window.space(start + 1)
    if (in_array or in_lines) and not pages:
        return Outline("array" if in_array else "lines", "", {})
    first = _first_key(window.data, start)
    values: dict[str, Any] = {}
    pos, key = -1, ""
    if first not in bare and window.data.startswith(b"{", start):
        pos, key = enter(window, start, keys, values)
    if pos >= 0:
        return Outline("pages" if in_array else "key", key, values, first)
    if in_array or in_lines:
        return Outline("array" if in_array else "lines", "", {})
    return Outline("bare", "", values, first)


def value_at(stream: BinaryIO, key: str) -> Any:
    """The value under *key* of the object in *stream*; None when it is missing or behind a break.

    Reads the whole stream if necessary, in bounded memory, however deep it is.
    """
    window = Window(stream)
    window.fill(_HEAD)
    window.drop(len(BOM) if window.data.startswith(BOM) else 0)
    pos = window.space(0) + 1
    while True:
        window.drop(window.space(pos))
        if window.data.startswith(b","):
            window.drop(window.space(1))
        end = _value_end(window, 0) if window.data.startswith(b'"') else OPEN
        if end <= 0:
            return None
        name = parse(window.data[:end])[0]
        colon = window.space(end)
        if window.data[colon : colon + 1] != b":":
            return None
        window.drop(window.space(colon + 1))
        if name == key:
            end = _value_end(window, 0)
            return parse(window.data[:end])[0] if end > 0 else None
        pos = _past_value(window)
        if pos <= 0:
            return None


def _past_value(window: Window) -> int:
    """The end of the value that the window begins with, which is dropped as it is read; 0 or less when it has none."""
    if window.data[:1] not in (b"{", b"["):
        return _value_end(window, 0)
    skipper = Skipper()
    while True:
        size = len(window.data) if window.eof else whole(window.data, len(window.data))
        end = skipper.feed(window.data[:size])
        if end >= 0:
            return end
        window.drop(size)
        window.fill(_READ)
        if not window.data:
            return OPEN


def _are_lines(data: bytes, *, whole: bool) -> bool:
    """Whether *data* holds one object a line: two lines or more begin and end with braces, and one of them parses."""
    lines = [line for line in data.split(b"\n") if line.strip()]
    if not whole:
        lines = lines[:-1]
    closed = [line for line in lines if line[:1] == b"{" and line.rstrip()[-1:] == b"}" and len(line) > 2]
    return len(closed) >= 2 and any(not parse(line)[1] for line in closed)


def _first_key(data: bytes, start: int) -> str:
    pos = skip_space(data, start + 1)
    if data[pos : pos + 1] != b'"':
        return ""
    key = parse(data[pos : max(element_end(data, pos), pos)])[0]
    return key if isinstance(key, str) else ""


def name_keys(keys: Iterable[str]) -> str:
    """The first six of *keys*, for an error: keys are no values."""
    names = sorted(keys)
    return ", ".join(key[:40] for key in names[:6]) + (" ..." if len(names) > 6 else "")


def describe(outline: Outline) -> str:
    """A description of *outline* for an error."""
    error = outline.values.get("error")
    if isinstance(error, dict):
        return f"the file is an error message ({str(error.get('code', ''))[:40]})"
    return f"the file is one object with the keys {name_keys(outline.values) or outline.first[:40] or 'none'}"


def enter(window: Window, start: int, keys: frozenset[str], values: dict[str, Any]) -> tuple[int, str]:
    """Walk the top-level object that begins at *start* to the array under one of *keys*; return (its place, its key).

    The values of the other keys go into *values*. The place is negative when the object ends, or breaks, before there
    is such an array.
    """
    return _walk(window, start + 1, keys, values)


def leave(window: Window, keys: frozenset[str], values: dict[str, Any]) -> int:
    """Walk from the array's closing bracket, the window's first byte, to the end of the object; return that place.

    Raises TruncatedFile when it does not end, LayoutChanged for a second array of records.
    """
    again, key = _walk(window, 1, keys, values)
    if again >= 0:
        raise LayoutChanged(f"The file has two arrays called {key}.")
    if not window.data[-again - 1 :].startswith(b"}"):
        raise TruncatedFile("The file ends before its outermost object does; fetch it again.")
    return -again


def _walk(window: Window, pos: int, keys: frozenset[str], values: dict[str, Any]) -> tuple[int, str]:
    """(place of the wanted array, its key), or (-1 - the place where the walk ended, "")."""
    while True:
        pos = window.space(pos)
        if window.data[pos : pos + 1] == b",":
            pos = window.space(pos + 1)
        if window.data[pos : pos + 1] != b'"':
            return -1 - pos, ""
        end = _value_end(window, pos)
        if end <= 0:
            return -1 - len(window.data), ""
        key = parse(window.data[pos:end])[0]
        pos = window.space(end)
        if window.data[pos : pos + 1] != b":":
            return -1 - pos, ""
        pos = window.space(pos + 1)
        if key in keys and window.data[pos : pos + 1] == b"[":
            return pos, key
        end = _value_end(window, pos)
        if end <= 0:
            return -1 - len(window.data), ""
        values[key] = parse(window.data[pos:end])[0]
        pos = end


def _value_end(window: Window, pos: int) -> int:
    """The end of the value at *pos*, reading on as needed; 0 or less when it has none."""
    while True:
        if pos >= len(window.data) and not window.more():
            return OPEN
        end = element_end(window.data, pos)
        open_end = end == OPEN or (end == len(window.data) and window.data[pos] not in b"{[")
        if not open_end or window.eof or len(window.data) - pos > _MOST_OUTSIDE:
            return end
        window.more()
