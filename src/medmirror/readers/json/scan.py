"""The ends of JSON values, found in bytes at the speed of C.

Two means, both exact for well-formed JSON:

``residue`` takes matched pairs of brackets and quotes away until nothing more goes. Taking ``""``, ``[]`` or ``{}`` out
of the marks ``"{}[]`` of a text never changes what lies outside strings: such a pair of brackets is either within one
string or a matched pair outside, and such a pair of quotes either holds nothing that counts or joins two strings with
nothing between them. So a text that is reduced to nothing is balanced, and every step is a ``bytes.replace``.

``element_end`` walks the tokens, in C where it can: without that it is ten times slower. It tells the place.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from medmirror.readers.json.cut import ODD, value_end
from medmirror.readers.window import skip_space

_MARKS = b'"{}[]\x01'
_OTHERS = bytes(set(range(256)) - set(_MARKS))
_BOUNDARY = b"\x01"  # cannot stand in JSON text unescaped

_TOKEN = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+(["{}\[\]]?)', re.DOTALL)
_SCALAR = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[^\s,"{}\[\]]++', re.DOTALL)
_ESCAPE = re.compile(rb'\\["\\]')  # of a quote or a backslash: without them, each quote begins or ends a string
_STRING_IN_MARKS = re.compile(rb'"[^"]*+"')
_LEAD = re.compile(rb'[\[,]?([ \t\r\n]*+)\{([ \t\r\n]*+"(?:[^"\\]++|\\.)*+")?', re.DOTALL)
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)
SEPARATOR = re.compile(rb"\}[ \t\r\n]*+,[ \t\r\n]*+\{")

DEPTH = 254  #: brackets within one another that a record may have
OPEN = 0  #: the data ends before the value does
MISMATCHED = -1  #: a bracket is closed by one of the other kind


def residue(data: bytes) -> bytes:
    """The brackets and quotes of *data* that are left when all matched ones are taken away; empty for balanced data.

    Of brackets more than DEPTH within one another some are left: each step takes one layer away.

    *data* begins outside a string. A boundary mark (0x01) stays where it is.
    """
    marks = _ESCAPE.sub(b"", data).translate(None, _OTHERS).replace(b'""', b"")
    marks = _cancel(marks)
    if b'"' in marks:
        marks = _cancel(_STRING_IN_MARKS.sub(b"", marks))
        unclosed = marks.find(b'"')
        if unclosed >= 0:
            marks = marks[: unclosed + 1]
    return marks


def _cancel(marks: bytes) -> bytes:
    size = -1
    for _ in range(DEPTH):
        if size == len(marks):
            break
        size = len(marks)
        marks = marks.replace(b"{}", b"").replace(b"[]", b"").replace(b'""', b"")
    return marks


def is_balanced(data: bytes) -> bool:
    """Whether *data* leaves nothing open and closes nothing that was not opened."""
    start = skip_space(data, 0)
    cut = value_end(data, start)
    alone = cut is not None and cut.number == 1 and skip_space(data, cut.end) == len(data)
    return alone or not residue(data)


class Separators(NamedTuple):
    """The bytes that probably end one element of an array and begin the next; the user of one must prove its cut.

    *exact* goes as far as the first key: it is long, so it is found quickly. *loose* ends before the key where line
    breaks and indentation alone distinguish elements from their inner objects.
    """

    exact: bytes
    loose: bytes


def learn_separators(data: bytes) -> Separators | None:
    """The separators of *data*, learnt from the begin of its first element; None when that is no object with a key."""
    lead = _LEAD.match(data)
    if lead is None:
        return None
    loose = b"}," + lead[1] + b"{"
    if lead[2]:
        return Separators(loose + lead[2], loose if b"\n" in lead[1] else loose + lead[2])
    return Separators(loose, loose) if b"\n" in lead[1] else None


def count_between(data: bytes, separator: bytes) -> int:
    """The number of objects in *data* when *separator* stands between every two of them and nowhere else; 0 when not.

    The answer is proof: between two separators everything is balanced, so none is nested and none is within a string.
    """
    if _BOUNDARY in data:
        return 0
    marks = residue(data.replace(separator, _BOUNDARY))
    count = len(marks) - 1
    return count if marks == b"{" + _BOUNDARY * (count - 1) + b"}" else 0


def element_end(data: bytes, pos: int) -> int:
    """The end of the value that begins at *pos*; OPEN or MISMATCHED when it has none."""
    if data[pos] not in b"{[":
        scalar = _SCALAR.match(data, pos)
        return scalar.end() if scalar else MISMATCHED
    cut = value_end(data, pos)
    if cut and cut.why != ODD:
        return cut.end
    closing = bytearray()
    while True:
        token = _TOKEN.match(data, pos)
        mark = token[1] if token else b""
        if not token or not mark or mark == b'"':
            return OPEN
        pos = token.end()
        code = mark[0]
        if code in b"{[":
            closing.append(code + 2)  # "{" + 2 is "}", "[" + 2 is "]"
        elif closing.pop() != code:
            return MISMATCHED
        elif not closing:
            return pos


class Skipper:
    """Follows one value through windows of a stream without holding it; for a value too large to be held."""

    def __init__(self) -> None:
        self._wanted = bytearray()
        self._in_string = False

    def feed(self, window: bytes) -> int:
        """The place after the value's end in *window*; -1 when it does not end there.

        A window must not end within an escape (``whole``).
        """
        pos = 0
        if self._in_string:
            match = _STRING_REST.match(window)
            if match is None:
                return -1
            pos = match.end()
            self._in_string = False
        while True:
            token = _TOKEN.match(window, pos)
            mark = token[1] if token else b""
            if not token or not mark:
                return -1
            if mark == b'"':
                self._in_string = True
                return -1
            pos = token.end()
            if mark in b"{[":
                self._wanted.append(mark[0])
            else:
                self._wanted.pop()
                if not self._wanted:
                    return pos


def whole(data: bytes, end: int) -> int:
    """*end*, or one byte less: a place where a cut of *data* does not divide an escape."""
    slashes = end - len(data[:end].rstrip(b"\\"))
    return end - slashes % 2
