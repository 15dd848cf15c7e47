"""The compiled library beside this file, which is optional.

``MEDMIRROR_NATIVE=0`` switches it off. The rows are the same without it; they take about thirty times longer.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from medmirror.settings import NativeSettings, read

ABI = 6
"""Number of the interface between this package and the library: a library with another number is not used."""

_POINTER = ctypes.c_void_p
_INT = ctypes.c_int64
_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "mm_new": (_POINTER, [_POINTER, _INT, ctypes.c_char_p, _INT]),
    "mm_free": (None, [_POINTER]),
    "mm_rows": (_INT, [_POINTER, ctypes.c_char_p, _INT, _INT, _POINTER, _POINTER, _POINTER, _POINTER, _INT]),
    "mm_out": (_POINTER, [_POINTER]),
    "mm_scan": (_INT, [_POINTER, ctypes.c_char_p, ctypes.c_char_p, _INT, _INT, _INT, *[_POINTER] * 6]),
    "mm_json_cut": (_INT, [ctypes.c_char_p, *[_INT] * 4, ctypes.c_char_p, _INT, _POINTER, _POINTER]),
    "mm_json_new": (_POINTER, [_POINTER, _INT, ctypes.c_char_p, _INT]),
    "mm_json_free": (None, [_POINTER]),
    "mm_json_items": (_INT, [_POINTER, ctypes.c_char_p, *[_INT] * 4, ctypes.c_int32, *[_POINTER] * 4]),
    "mm_json_out": (_POINTER, [_POINTER]),
    "mm_csv_new": (_POINTER, [_POINTER, _INT, ctypes.c_char_p, _INT]),
    "mm_csv_free": (None, [_POINTER]),
    "mm_csv_cut": (_INT, [_POINTER, ctypes.c_char_p, *[_INT] * 4, ctypes.c_int32, *[_POINTER] * 5]),
    "mm_csv_rows": (_INT, [_POINTER, ctypes.c_char_p, *[_INT] * 3, *[_POINTER] * 4]),
    "mm_csv_out": (_POINTER, [_POINTER]),
    "mm_csv_seen_new": (_POINTER, []),
    "mm_csv_seen_free": (None, [_POINTER]),
    "mm_csv_seen_add": (_INT, [_POINTER, _POINTER, ctypes.c_char_p, *[_INT] * 3, *[_POINTER] * 3]),
}


@cache
def library() -> ctypes.CDLL | None:
    """The library, or None when it is switched off, was not built, or does not fit."""
    if not read(NativeSettings).native:
        return None
    for ending in (".so", ".dylib", ".dll"):
        path = Path(__file__).with_name("xmlrows" + ending)
        if path.exists() and (loaded := _load(path)):
            return loaded
    return None


def _load(path: Path) -> ctypes.CDLL | None:
    try:
        loaded = ctypes.CDLL(str(path))
        if loaded.mm_abi() != ABI:
            return None
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return loaded


def available() -> bool:
    """Whether the compiled library makes the rows."""
    return library() is not None
