"""The remotes, found by listing this folder: a module that has ``REMOTE`` is one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from medmirror.errors import UsageError
from medmirror.remotes.base import Kind


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind of remote by its name, in alphabetical order."""
    kinds_by_name = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        kind = getattr(importlib.import_module(f"{__name__}.{module.name}"), "REMOTE", None)
        if kind is not None:
            kinds_by_name[kind.name] = kind
    return kinds_by_name


def kind(name: str) -> Kind:
    """The kind called *name*; UsageError when there is none."""
    try:
        return kinds()[name]
    except KeyError:
        raise UsageError(f"There is no remote {name!r}; there are {', '.join(kinds())}.") from None
