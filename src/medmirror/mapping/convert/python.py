"""Python functions that a mapper file names: ``python:MODULE:NAME``.

MODULE is a module of the package ``medmirror.mapping.mappers``, or any that can be imported. NAME is a pair (up, down),
or one function (then there is no way back). A rule with several sources hands over a tuple of their values.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple

_OURS = "medmirror.mapping.mappers"


class Function(NamedTuple):
    """A pair of functions as converters have them, and the digest of the source of their module."""

    up: Callable[[Any, Any], Any]
    down: Callable[[Any, Any], Any]
    digest: str


@cache
def load(name: str) -> Function:
    """The pair that *name* (``python:MODULE:NAME``) names. Raises ValueError when there is none."""
    pieces = name.split(":")
    if len(pieces) != 3 or not all(pieces):
        raise ValueError(f"{name!r} is not python:MODULE:NAME")
    module = _module(pieces[1])
    try:
        target = getattr(module, pieces[2])
    except AttributeError:
        raise ValueError(f"the module {pieces[1]} has no {pieces[2]}") from None
    up, down = target if isinstance(target, tuple) else (target, None)
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):
        raise ValueError(f"the module {pieces[1]} has no source to read, so a change of it would not be seen") from None
    return Function(_safely(up), _safely(down) if down else _no_way, sha256(source.encode()).hexdigest()[:16])


def _module(name: str) -> Any:
    ours = f"{_OURS}.{name}"
    try:
        builtin = importlib.util.find_spec(ours) is not None
        return importlib.import_module(ours if builtin else name)
    except ImportError:
        raise ValueError(f"there is no module {name}") from None


def _safely(function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def call(value: Any, scope: Any) -> Any:
        try:
            return function(value)
        except Exception:  # noqa: BLE001 - a function of somebody else's may raise anything, and costs one value only
            raise ValueError("the function failed") from None

    return call


def _no_way(value: Any, scope: Any) -> Any:
    raise ValueError("there is no way back")
