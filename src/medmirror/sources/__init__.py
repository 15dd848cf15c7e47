"""The registry of sources: every module of this folder that ends with ``SOURCE``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from medmirror.errors import UsageError
from medmirror.sources.base import Source


@cache
def names() -> tuple[str, ...]:
    """The names of all sources, sorted."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name != "base"))


@cache
def get(name: str) -> Source:
    """The source called *name*. Raises UsageError when there is none."""
    if name not in names():
        raise UsageError(f"There is no source called {name!r}; there are: {', '.join(names())}.")
    source: Source = importlib.import_module(f"{__name__}.{name}").SOURCE
    return source
