"""The ends of JSON values, found by ``jsoncut.c``."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from medmirror.native import library

FULL, UNFINISHED, ODD = range(3)


class Cut(NamedTuple):
    """The end of the last of *number* whole elements (0: there is none), and *why* no more were taken."""

    end: int
    number: int
    why: int


def elements(data: bytes, start: int, wanted: int, most: int, following: bytes) -> Cut | None:
    """The whole elements of *data* from *start* on that end within *wanted* bytes, at least one; None: no library.

    None of them has more than *most* bytes. Each is followed by *following*; or it is well formed and the bytes behind
    it are similar.
    """
    return _cut(data, start, wanted, most, following)


def value_end(data: bytes, start: int) -> Cut | None:
    """The end of the object or array at *start*, whatever follows it; None: no library."""
    return _cut(data, start, -1, 0, b"")


def _cut(data: bytes, start: int, wanted: int, most: int, following: bytes) -> Cut | None:
    loaded = library()
    if loaded is None:
        return None
    count, why = ctypes.c_int64(), ctypes.c_int32()
    results = ctypes.byref(count), ctypes.byref(why)
    end = loaded.mm_json_cut(data, len(data), start, wanted, most, following, len(following), *results)
    return Cut(end, count.value, why.value)
