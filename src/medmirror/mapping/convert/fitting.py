"""Whether a value that somebody else's function made fits its field, and can be stored at all."""

from __future__ import annotations

import math
from typing import Any

from medmirror.mapping.convert import times
from medmirror.mapping.schema.kinds import SCALARS, Field
from medmirror.mapping.schema.parts import PARTS

_DEEPEST = 60
_SHAPES = {
    "time": frozenset({"utc", "zone", "date"}),
    "enum": frozenset({"code", "raw"}),
    "reference": frozenset({"feed", "id", "text", "identifier", "url"}),
}
_TYPES: dict[str, type | tuple[type, ...]] = {"text": str, "decimal": str, "date": str, "bool": bool, "int": int}


def checked(value: Any, field: Field, *, many: bool = False) -> Any:
    """*value*, with lists for tuples. *many*: it is a list of what *field* holds. Raises ValueError when JSON, or
    Postgres, cannot hold it, or when it is no value of *field*."""
    value = storable(value)
    if value is None:
        return None
    values = value if many else [value]
    if not isinstance(values, list) or not all(_fits(each, field) for each in values):
        raise ValueError(f"no {field.kind}")
    return value


def storable(value: Any, depth: int = 0) -> Any:
    """*value*, with lists for tuples. Raises ValueError when jsonb cannot hold it: another type, a number that is none,
    half a character, NUL, a key that is no text, or objects within objects without an end."""
    if value is None or isinstance(value, bool):
        return value
    if depth > _DEEPEST:
        raise ValueError("too deep")
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("NUL")
        value.encode()  # UnicodeEncodeError is a ValueError
        return str(value)
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, list | tuple):
        return [storable(each, depth + 1) for each in value]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {storable(name): storable(each, depth + 1) for name, each in value.items()}
    raise ValueError("JSON cannot hold it")


def _fits(value: Any, field: Field) -> bool:
    if field.kind == "json":
        return True
    if kind := _TYPES.get(field.kind):
        right = isinstance(value, kind) and not (field.kind == "int" and isinstance(value, bool))
        if right and field.kind == "date":
            times.partial(value)
        return right and value != ""
    if not isinstance(value, dict) or not value:
        return False
    if field.kind in SCALARS:
        return value.keys() <= _SHAPES[field.kind] and (field.kind != "enum" or value.get("code") in field.codes)
    part = PARTS[field.kind]
    for name, inner in value.items():
        below = part.field(name)
        if below is None:
            return False
        values = inner if below.many else [inner]
        if not isinstance(values, list) or not all(each is None or _fits(each, below) for each in values):
            return False
    return True
