"""Writing by paths: a value is put where its path leads, and missing steps on the way are created.

A filter adds an element that meets it.
"""

from __future__ import annotations

from typing import Any

from medmirror.mapping.rules.paths import Index, Key, Path, Step, Where, getter, matcher


def put(document: dict[str, Any], path: Path, value: Any) -> None:
    """Put *value* at *path* of *document*; ``[]`` writes to the first element."""
    document.update(_placed(document, path.steps, value) or {})


def add(document: dict[str, Any], path: Path, values: list[Any]) -> None:
    """Append *values* at *path* of *document*, one element each."""
    steps = path.steps
    at = max((place for place, step in enumerate(steps) if isinstance(step, Where)), default=None)
    if at is None:
        put(document, path, values)
        return
    where = steps[at]
    assert isinstance(where, Where)
    elements = [_element(where, _placed(None, steps[at + 1 :], value)) for value in values]
    present = getter(Path("", steps[:at]))(document)
    document.update(_placed(document, steps[:at], [*(present if isinstance(present, list) else []), *elements]))


def _element(where: Where, value: Any) -> Any:
    if where.name and not where.other and isinstance(value, dict):
        return _placed(value, tuple(Key(name) for name in where.name), where.value)
    return value


def _placed(node: Any, steps: tuple[Step, ...], value: Any) -> Any:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, Key):
        fields = dict(node) if isinstance(node, dict) else {}
        fields[step.name] = _placed(fields.get(step.name), rest, value)
        return fields
    elements = list(node) if isinstance(node, list) else []
    at = step.at if isinstance(step, Index) else 0
    if isinstance(step, Where) and step.name:
        meets = matcher(step)
        at = next((place for place, element in enumerate(elements) if meets(element)), len(elements))
    while len(elements) <= at:
        elements.append(None)
    placed = _placed(elements[at], rest, value)
    elements[at] = _element(step, placed) if isinstance(step, Where) else placed
    return elements
