"""The compiled library beside this file: loaded when it is there, done without when it is not.

``MEDMIRROR_NATIVE=0`` does without it too. The rows are the same either way; they take some thirty times longer.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
from functools import cache
from pathlib import Path

NAME = "xmlrows"
"""Name of the library's file, without the ending that the platform gives to what Python loads."""

_POINTER = ctypes.c_void_p
_INT = ctypes.c_int64
_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "mm_new": (_POINTER, [_POINTER, _INT, ctypes.c_char_p, _INT]),
    "mm_free": (None, [_POINTER]),
    "mm_rows": (_INT, [_POINTER, ctypes.c_char_p, _INT, _INT, _POINTER, _POINTER, _POINTER, _POINTER]),
    "mm_out": (_POINTER, [_POINTER]),
    "mm_scan": (_INT, [_POINTER, ctypes.c_char_p, ctypes.c_char_p, _INT, _INT, _INT, *[_POINTER] * 6]),
}


def _candidates() -> list[Path]:
    folder = Path(__file__).parent
    return [folder / (NAME + ending) for ending in (*importlib.machinery.EXTENSION_SUFFIXES, ".so", ".dll", ".dylib")]


@cache
def library() -> ctypes.CDLL | None:
    """The library, or None when it is switched off, was not built, or does not fit this platform."""
    if os.environ.get("MEDMIRROR_NATIVE", "1").strip().lower() in ("0", "no", "off", "false"):
        return None
    for path in _candidates():
        if not path.exists():
            continue
        try:
            loaded = ctypes.CDLL(str(path))
            for name, (result, arguments) in _SIGNATURES.items():
                function = getattr(loaded, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError):
            continue
        return loaded
    return None


def available() -> bool:
    """Whether rows are made by the compiled library."""
    return library() is not None
