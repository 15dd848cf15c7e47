"""From a canonical part back to a source's document.

Values that a source cannot hold are left out here; ``mapper`` finds them by reading the document again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medmirror.mapping.convert import addresses, phones
from medmirror.mapping.convert.scope import Scope
from medmirror.mapping.rules.declared import Leaf, Nested, Node
from medmirror.mapping.rules.fetch import UNREADABLE
from medmirror.mapping.rules.placing import add, put
from medmirror.mapping.rules.up import part_maker

Down = Callable[[dict[str, Any], Scope, dict[str, Any]], None]


def writer(node: Node) -> Down:
    """A function (part, scope, document) that writes the part into the document."""
    leaves = [(leaf, leaf.field.name) for leaf in node.leaves if leaf.pair is not None]
    groups: dict[str, list[Nested]] = {}
    for nested in node.nested:
        groups.setdefault(nested.field.name, []).append(nested)
    writers = [(name, _field_writer(slots)) for name, slots in groups.items()]

    def down(part: dict[str, Any], scope: Scope, document: dict[str, Any]) -> None:
        if node.part.name == "phone":
            part = phones.unfinish(part, scope.region)
        elif node.part.name == "address":
            part = addresses.unfinish(part)
        for leaf, name in leaves:
            if name in part:
                _write(leaf, part[name], scope, document)
        for leaf in node.extra:
            if leaf.pair is not None and leaf.field.name in part.get("extra", {}):
                _write(leaf, part["extra"][leaf.field.name], scope, document)
        for name, write in writers:
            if name in part:
                write(part[name], scope, document)

    return down


def _write(leaf: Leaf, value: Any, scope: Scope, document: dict[str, Any]) -> None:
    assert leaf.pair is not None
    try:
        if leaf.field.many and not leaf.pair.whole:
            _write_list(leaf, [leaf.pair.down(element, scope) for element in value], document)
            return
        raw = leaf.pair.down(value, scope)
    except UNREADABLE:
        return
    if leaf.pair.whole:
        pieces = list(raw)
    elif leaf.join is not None and isinstance(raw, str):
        pieces = list(raw.split(leaf.join, len(leaf.paths) - 1) if leaf.join else [raw])
    elif leaf.converter == "json" and "[]" in leaf.paths[0].text:
        add(document, leaf.paths[0], raw)
        return
    else:
        pieces = [raw]
    for path, piece in zip(leaf.paths, pieces, strict=False):
        if piece is not None:
            put(document, path, piece)


def _write_list(leaf: Leaf, values: list[Any], document: dict[str, Any]) -> None:
    """One value to each path, and to a last path that takes many all that are left."""
    if leaf.split is not None:
        put(document, leaf.paths[0], leaf.split.join(map(str, values)))
        return
    *single, last = leaf.paths
    for path, value in zip(single, values, strict=False):
        put(document, path, value)
    rest = values[len(single) :]
    if rest and last.many:
        add(document, last, rest)
    elif rest:
        put(document, last, rest[0])


def _field_writer(slots: list[Nested]) -> Callable[[Any, Scope, dict[str, Any]], None]:
    first = slots[0]
    if first.slot is None and first.field.many:
        leaf = first.leaf
        assert leaf is not None
        return lambda value, scope, document: _write(leaf, value, scope, document)
    if not first.field.many:
        return _part_writer(first)
    return _Slots(slots).write


def _part_writer(nested: Nested) -> Callable[[Any, Scope, dict[str, Any]], None]:
    if nested.leaf is not None:
        leaf = nested.leaf
        return lambda value, scope, document: _write(leaf, value, scope, document)
    assert nested.node is not None
    down, path = writer(nested.node), nested.path

    def write(value: Any, scope: Scope, document: dict[str, Any]) -> None:
        if path is None:
            down(value, scope, document)
            return
        inner: dict[str, Any] = {}
        down(value, scope, inner)
        if inner and path.many:
            add(document, path, [inner])
        elif inner:
            put(document, path, inner)

    return write


class _Slots:
    """The slots of a list of parts.

    Each part goes to the first free slot from which it can be read back unchanged, else to the slot that keeps most of
    its fields.
    """

    def __init__(self, nested_slots: list[Nested]) -> None:
        self.slots = [(nested, _part_writer(nested), _reader(nested)) for nested in nested_slots]

    def write(self, parts: list[dict[str, Any]], scope: Scope, document: dict[str, Any]) -> None:
        free = list(self.slots)
        for part in parts:
            best, kept = None, 0
            for slot in free:
                nested, write, read = slot
                trial: dict[str, Any] = {}
                write(part, scope, trial)
                back = read(trial, Scope(scope.zone, scope.region)) if trial else None
                if back == part:
                    best = slot
                    break
                same = sum(back.get(name) == value for name, value in part.items()) if back else 0
                if same > kept and not _contradicts(nested, part):
                    best, kept = slot, same
            if best is None:
                continue
            best[1](part, scope, document)
            if best[0].path is None or not best[0].path.many:
                free.remove(best)


def _reader(nested: Nested) -> Callable[[Any, Scope], dict[str, Any] | None]:
    return part_maker(nested)


def _contradicts(nested: Nested, part: dict[str, Any]) -> bool:
    """Whether a constant of the slot differs from the value in *part*."""
    for leaf in nested.node.leaves if nested.node else ():
        if leaf.constant is None or leaf.field.name not in part:
            continue
        held = part[leaf.field.name]
        if (held.get("code") if leaf.field.kind == "enum" else held) != leaf.constant:
            return True
    return False
