"""Mapper tables put together: shapes into rules, a user's rules above ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medmirror.errors import UsageError


def shaped(rule: Any, shapes: Mapping[str, Any], name: str, depth: int = 0) -> Any:
    """*rule*, of the file *name*, with the shapes that it names put in. Raises UsageError."""
    if not isinstance(rule, dict) or "fields" not in rule:
        return rule
    inner = rule["fields"]
    if isinstance(inner, str):
        if inner not in shapes:
            raise UsageError(f"{name}: there is no [shape.{inner}] in this file.")
        if depth > 8:
            raise UsageError(f"{name}: the shape {inner!r} holds itself.")
        inner = shapes[inner]
    return {
        **rule,
        "fields": {target: shaped(inner_rule, shapes, name, depth + 1) for target, inner_rule in inner.items()},
    }


def merged(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Our mapper's table with a user's above it, field by field."""
    table = {**ours, **{key: value for key, value in theirs.items() if key not in ("fields", "drop")}}
    table["fields"] = _merged_fields(ours["fields"], theirs["fields"])
    table["drop"] = {**ours.get("drop", {}), **theirs.get("drop", {})}
    return table


def _merged_fields(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(ours)
    for target, rule in theirs.items():
        above = next((outer for outer in fields if target.startswith(f"{outer}.") and _has_fields(fields[outer])), None)
        if rule is False:
            fields.pop(target, None)
        elif target not in fields and above is not None:
            inner = _merged_fields(fields[above]["fields"], {target[len(above) + 1 :]: rule})
            fields[above] = {**fields[above], "fields": inner}
        else:
            fields[target] = _merged_rule(fields.get(target), rule)
    return fields


def _has_fields(rule: Any) -> bool:
    return isinstance(rule, dict) and "fields" in rule


def _merged_rule(ours: Any, theirs: Any) -> Any:
    if not isinstance(theirs, dict) or "source" in theirs or "value" in theirs or ours is None:
        return theirs
    base = ours if isinstance(ours, dict) else {"source": ours}
    rule = {**base, **theirs}
    for key in ("enum", "fields"):
        if key in base and key in theirs:
            rule[key] = {**base[key], **theirs[key]} if key == "enum" else _merged_fields(base[key], theirs[key])
    return rule
