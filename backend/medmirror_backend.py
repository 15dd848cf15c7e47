"""setuptools, and the wheel of a C compiler when this machine has none.

The compiled reader (``src/medmirror/native``) makes XML rows some fifty times faster; everything works without it.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - all hooks of a build backend but the two below

_COMPILERS = ("cc", "gcc", "clang")
_ZIG = "ziglang>=0.13"  # a whole C compiler in a wheel of about 100 MB
_ZIG_MACHINES = {"x86_64", "amd64", "aarch64", "arm64"}


def wanted() -> bool:
    """Whether the library is to be compiled: not with MEDMIRROR_NATIVE=0."""
    return os.environ.get("MEDMIRROR_NATIVE", "1").strip().lower() not in ("0", "no", "off", "false")


def compiler() -> list[str] | None:
    """The command of this machine's own C compiler, None when it has none."""
    own = os.environ.get("CC", "").split()
    if own and shutil.which(own[0]):
        return own
    found = next(filter(None, map(shutil.which, _COMPILERS)), None)
    return [found] if found else None


def _more() -> list[str]:
    known = sys.platform in ("linux", "darwin", "win32") and platform.machine().lower() in _ZIG_MACHINES
    return [_ZIG] if wanted() and known and compiler() is None else []


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What must be installed to build a wheel."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_more()]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """What must be installed to build an editable install."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_more()]
