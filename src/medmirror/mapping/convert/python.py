"""Python functions that a mapper file names: ``python:MODULE:NAME``.

MODULE is a module of the package ``medmirror.mapping.mappers``, or one that the operator has allowed
(``MEDMIRROR_MAPPING_MODULES``), for a cell of a file becomes the function's argument. NAME is a pair (up, down), or one
function (then there is no way back), and the module's own: what it imports from elsewhere is not allowed with it. A
rule with several sources hands over a tuple of their values.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from types import ModuleType
from typing import Any, NamedTuple

from medmirror.mapping.convert.fitting import checked
from medmirror.mapping.schema.kinds import Field
from medmirror.settings import MappingSettings, read

_OURS = "medmirror.mapping.mappers"


class Function(NamedTuple):
    """A pair of functions as converters have them, and the digest of the source of their module."""

    up: Callable[[Any, Any], Any]
    down: Callable[[Any, Any], Any]
    digest: str


def load(name: str, field: Field) -> Function:
    """The pair that *name* (``python:MODULE:NAME``) names, for *field*: what ``up`` gives is checked. Raises ValueError
    when there is none, or when its module is not allowed."""
    pieces = name.split(":")
    if len(pieces) != 3 or not all(pieces):
        raise ValueError(f"{name!r} is not python:MODULE:NAME")
    module = _module(pieces[1])
    up, down = _functions(module, pieces[1], pieces[2])
    many = field.many
    return Function(_safely(lambda value: checked(up(value), field, many=many)), _safely(down) if down else _no_way,
                    _digest(module, pieces[1]))  # fmt: skip


def _module(name: str) -> ModuleType:
    ours = name.isidentifier() and importlib.util.find_spec(f"{_OURS}.{name}") is not None
    if not (ours or _is_allowed(name)):
        raise ValueError(
            f"the module {name} is none of ours, and not allowed: whoever runs medmirror may name it in"
            " MEDMIRROR_MAPPING_MODULES"
        )
    try:
        return importlib.import_module(f"{_OURS}.{name}" if ours else name)
    except ImportError:
        raise ValueError(f"there is no module {name}") from None
    except Exception as error:  # noqa: BLE001 - a module of somebody else's may raise anything
        raise ValueError(f"the module {name} cannot be imported: {type(error).__name__}") from None


def _is_allowed(name: str) -> bool:
    """Whether *name* is a module that the operator allows, or lies within one."""
    return any(name == module or name.startswith(f"{module}.") for module in read(MappingSettings).modules)


def _functions(module: ModuleType, shown: str, name: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any] | None]:
    target = None if name.startswith("_") else getattr(module, name, None)
    up, down = target if isinstance(target, tuple) and len(target) == 2 else (target, None)
    if not callable(up) or not (down is None or callable(down)):
        raise ValueError(f"the module {shown} has no {name} that is a function, or a pair of them")
    if not all(_is_its_own(module, function) for function in (up, down) if function is not None):
        raise ValueError(f"{name} is not of the module {shown}: it comes from another one")
    return up, down


def _is_its_own(module: ModuleType, function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    home = getattr(function, "__module__", None) or type(function).__module__
    return home == module.__name__ or (not module.__name__.startswith(f"{_OURS}.") and _is_allowed(home))


@cache
def _digest(module: ModuleType, shown: str) -> str:
    try:
        return sha256(inspect.getsource(module).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        raise ValueError(f"the module {shown} has no source to read, so a change of it would not be seen") from None


def _safely(function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def call(value: Any, scope: Any) -> Any:
        try:
            return function(value)
        except Exception:  # noqa: BLE001 - a function of somebody else's may raise anything, and costs one value only
            raise ValueError("the function failed") from None

    return call


def _no_way(value: Any, scope: Any) -> Any:
    raise ValueError("there is no way back")
