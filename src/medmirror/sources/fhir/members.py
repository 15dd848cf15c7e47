"""The places of a JSON object's members in its text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medmirror.readers.json.pieces import parse
from medmirror.readers.json.scan import element_end

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_MEMBER = re.compile(rb"\s*+[{,]\s*+(" + _STRING + rb")\s*+:\s*+(" + _STRING + rb'|[^\s,"{}\[\]]++)?', re.DOTALL)


def members(data: bytes, start: int) -> Iterator[tuple[str, int, int]]:
    """(key, begin, end of its value) of each member of the well-formed object that begins at *start*."""
    pos = start
    while match := _MEMBER.match(data, pos):
        key = match[1]
        begin, pos = match.span(2) if match[2] else (match.end(), element_end(data, match.end()))
        yield key[1:-1].decode() if b"\\" not in key else parse(key)[0], begin, pos


def member(data: bytes, start: int, name: str) -> tuple[int, int]:
    """Begin and end of the value of *name* in the object at *start*; (start, start) when there is none."""
    return next(((begin, end) for key, begin, end in members(data, start) if key == name), (start, start))
