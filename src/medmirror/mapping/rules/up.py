"""From a source's document to a canonical part: rules are compiled once into closures that decide nothing any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medmirror.mapping.convert import addresses, phones
from medmirror.mapping.convert.pairs import Function
from medmirror.mapping.convert.scope import Problem, Scope
from medmirror.mapping.rules.declared import Leaf, Nested, Node
from medmirror.mapping.rules.fetch import UNREADABLE, problem, values
from medmirror.mapping.rules.paths import Key, getter, lister
from medmirror.mapping.schema.kinds import Part
from medmirror.mapping.schema.parts import PARTS

Up = Callable[[Any, Scope], dict[str, Any] | None]
Fill = Callable[[Any, Scope, dict[str, Any]], None]


def compiled(node: Node, *, entity: bool = False) -> Up:
    """A function (document, scope) -> the part, or None when the document has no value of it.

    A part with constants alone counts as none, unless it is an *entity*. An entity's enums are always there.
    """
    simple = _simple(node.leaves)
    fills = [_leaf_fill(leaf) for leaf in node.leaves if leaf.constant is None and not _is_simple(leaf)]
    fills += _nested_fills(node)
    if node.extra:
        fills.append(_extra_fill(node.extra))
    constants = [
        (leaf.field.name, leaf.constant, leaf.field.kind == "enum") for leaf in node.leaves if leaf.constant is not None
    ]
    enums = [field.name for field in node.part.fields if field.kind == "enum"] if entity else []
    needed = [field.name for field in node.part.fields if field.required] if entity else []
    finish = _finisher(node.part)

    def up(document: Any, scope: Scope) -> dict[str, Any] | None:
        part: dict[str, Any] = {}
        if simple:
            _fill_simple(simple, document, scope, part)
        for fill in fills:
            fill(document, scope, part)
        if not part and not entity:
            return None
        for name, constant, is_enum in constants:
            part[name] = {"code": constant, "raw": None} if is_enum else constant
        for name in enums:
            if name not in part:
                part[name] = {"code": "UNKNOWN", "raw": None}
        for name in needed:
            if name not in part:
                scope.problems.append(Problem(name, "missing"))
        if finish is not None:
            finish(part, scope)
        return part

    return up


def _simple(leaves: list[Leaf]) -> list[tuple[str, Function, str, str]]:
    """(key of the document, up, name, target) of the simple ones of *leaves*."""
    return [
        (leaf.paths[0].steps[0].name, leaf.pair.up, leaf.field.name, leaf.target)
        for leaf in leaves
        if _is_simple(leaf) and isinstance(leaf.paths[0].steps[0], Key) and leaf.pair
    ]


def _is_simple(leaf: Leaf) -> bool:
    plain = leaf.constant is None and len(leaf.paths) == 1 and leaf.pair is not None and not leaf.field.many
    special = leaf.required or leaf.default is not None or leaf.empty or leaf.split is not None
    # A time may note that the clocks were changed, and needs its target for that.
    return plain and not special and leaf.field.kind != "time" and [type(step) for step in leaf.paths[0].steps] == [Key]


def _finisher(part: Part) -> Callable[[dict[str, Any], Scope], None] | None:
    if part.name == "phone":
        return lambda part, scope: phones.finish(part, scope.region)
    if part.name == "address":
        return lambda part, scope: addresses.finish(part)
    return None


def _leaf_fill(leaf: Leaf) -> Fill:
    name, target, required = leaf.field.name, leaf.target, leaf.required
    fetch = values(leaf)

    def fill(document: Any, scope: Scope, part: dict[str, Any]) -> None:
        scope.field = target
        value = fetch(document, scope)
        if value is not None:
            part[name] = value
        elif required:
            scope.problems.append(Problem(target, "missing"))

    return fill


def _extra_fill(leaves: list[Leaf]) -> Fill:
    simple = _simple(leaves)
    fills = [_leaf_fill(leaf) for leaf in leaves if leaf.pair is not None and not _is_simple(leaf)]
    constants = {leaf.field.name: leaf.constant for leaf in leaves if leaf.pair is None}

    def fill(document: Any, scope: Scope, part: dict[str, Any]) -> None:
        extra: dict[str, Any] = dict(constants)
        _fill_simple(simple, document, scope, extra)
        for fill_field in fills:
            fill_field(document, scope, extra)
        if extra:
            part["extra"] = extra

    return fill


def _fill_simple(
    simple: list[tuple[str, Function, str, str]], document: Any, scope: Scope, part: dict[str, Any]
) -> None:
    for key, convert, name, target in simple:
        value = document.get(key)
        if value is None or value == "":
            continue
        try:
            value = convert(value, scope)
        except UNREADABLE as error:
            scope.problems.append(problem(target, error))
            continue
        if value is not None:
            part[name] = value


def _nested_fills(node: Node) -> list[Fill]:
    fills: list[Fill] = []
    for nested in node.nested:
        if nested.slot is None and nested.field.many:
            fills.append(_whole_list_fill(nested))
        elif nested.field.many:
            fills.append(_slot_fill(nested))
        else:
            fills.append(_part_fill(nested))
    return fills


def part_maker(nested: Nested) -> Up:
    """A function (document, scope) -> the part that *nested* makes of the document, or None."""
    if nested.leaf is not None:
        fetch, finish, target = values(nested.leaf), _finisher(PARTS[nested.field.kind]), nested.target

        def whole(document: Any, scope: Scope) -> dict[str, Any] | None:
            scope.field = target
            part: dict[str, Any] | None = fetch(document, scope)
            if part is not None and finish is not None:
                finish(part, scope)
            return part

        return whole
    assert nested.node is not None
    up = compiled(nested.node)
    if nested.path is None:
        return up
    get, target = getter(nested.path), nested.target

    def within(document: Any, scope: Scope) -> dict[str, Any] | None:
        inner = get(document)
        if inner is None or inner == "":
            return None
        if not isinstance(inner, dict):
            scope.problems.append(Problem(target, "shape"))
            return None
        return up(inner, scope)

    return within


def _part_fill(nested: Nested) -> Fill:
    up, name = part_maker(nested), nested.field.name

    def fill(document: Any, scope: Scope, record: dict[str, Any]) -> None:
        part = up(document, scope)
        if part:
            record[name] = part

    return fill


def _slot_fill(nested: Nested) -> Fill:
    name = nested.field.name
    if nested.path is None or not nested.path.many:
        up = part_maker(nested)

        def fill_slot(document: Any, scope: Scope, record: dict[str, Any]) -> None:
            part = up(document, scope)
            if part:
                record.setdefault(name, []).append(part)

        return fill_slot
    assert nested.node is not None
    up, get, target = compiled(nested.node), lister(nested.path), nested.target

    def fill_all(document: Any, scope: Scope, record: dict[str, Any]) -> None:
        for element in get(document):
            if not isinstance(element, dict):
                scope.problems.append(Problem(target, "shape"))
                continue
            part = up(element, scope)
            if part:
                record.setdefault(name, []).append(part)

    return fill_all


def _whole_list_fill(nested: Nested) -> Fill:
    """A list of parts that a function makes as a whole."""
    assert nested.leaf is not None
    fetch, finish, name, target = (
        values(nested.leaf),
        _finisher(PARTS[nested.field.kind]),
        nested.field.name,
        nested.target,
    )

    def fill(document: Any, scope: Scope, record: dict[str, Any]) -> None:
        scope.field = target
        parts = fetch(document, scope)
        for part in parts or ():
            if finish is not None:
                finish(part, scope)
        if parts:
            record.setdefault(name, []).extend(parts)

    return fill
