"""Descriptions of mappers and of the schema, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from medmirror.mapping.mapper import Mapper
from medmirror.mapping.rules.declared import Leaf, Node


class Row(NamedTuple):
    """A rule: its target, its source paths, its converter."""

    target: str
    source: str
    converter: str
    required: bool
    note: str


def rules(mapper: Mapper) -> list[Row]:
    """The rules of *mapper*, in its own order within each part."""
    return list(_rows(mapper.declared.node, ""))


def _rows(node: Node, above: str) -> Iterator[Row]:
    for leaf in (*node.leaves, *node.extra):
        yield _row(leaf, above)
    for nested in node.nested:
        if nested.leaf is not None:
            yield _row(nested.leaf, above)
        elif nested.node is not None:
            yield from _rows(nested.node, _joined(above, nested.path.text) if nested.path else above)


def _row(leaf: Leaf, above: str) -> Row:
    notes = []
    if leaf.constant is not None:
        notes.append(f"always {leaf.constant}")
    if leaf.join is not None:
        notes.append(f"joined by {leaf.join!r}")
    if leaf.split is not None:
        notes.append(f"split at {leaf.split!r}")
    if leaf.default is not None:
        notes.append(f"{leaf.default} without one")
    required = leaf.required or (leaf.field.required and "." not in leaf.target)
    return Row(
        leaf.target,
        ", ".join(_joined(above, path.text) for path in leaf.paths),
        leaf.converter,
        required,
        "; ".join(notes),
    )


def _joined(above: str, path: str) -> str:
    return f"{above}.{path}" if above and path != "." else above or path


def as_data(mapper: Mapper) -> dict[str, Any]:
    """The facts about *mapper* that `mapping show` prints."""
    declared = mapper.declared
    return {
        "source": mapper.source,
        "feed": mapper.feed,
        "entity": mapper.entity,
        "digest": mapper.digest.hex(),
        "rules": [row._asdict() for row in rules(mapper)],
        "tombstones": [
            {"grade": deletion.grade, "when": deletion.when.text, "is": sorted(deletion.words)}
            for deletion in declared.deletions
        ],
        "dropped": declared.drop,
    }
