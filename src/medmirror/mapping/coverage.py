"""The coverage of a source's documents: every field must be mapped, or dropped for a reason.

A field is named by its path, ``a.b[].c``: all elements of an array are one field. An empty one (null, "", [] or {}) is
a field too, but proves nothing about what may stand in it: it is accounted for when anything within it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from medmirror.mapping.mapper import Mapper
from medmirror.mapping.rules.declared import Leaf, Node
from medmirror.mapping.rules.paths import Path, quoted

_WHOLE = ("json", "fhir_reference", "python:")
"""Converters that take everything below their path."""


class Sources(NamedTuple):
    """The paths that a mapper reads: *exact* ones, and those that it takes with everything below them (*whole*)."""

    exact: frozenset[str]
    whole: frozenset[str]


class Report(NamedTuple):
    """The fields of a feed in *documents* documents.

    Each field is in *mapped*, *dropped* or *unmapped*, with the number of documents that hold it; *reasons* has the
    reason of each dropped field.
    """

    source: str
    feed: str
    entity: str | None
    documents: int
    mapped: dict[str, int]
    dropped: dict[str, int]
    unmapped: dict[str, int]
    reasons: dict[str, str]


def _walk(value: Any, at: str, held: set[str], empty: set[str]) -> None:
    if isinstance(value, Mapping) and value:
        for name, element in value.items():
            _walk(element, f"{at}.{quoted(name)}" if at else quoted(name), held, empty)
    elif isinstance(value, list) and value:
        for element in value:
            _walk(element, f"{at}[]", held, empty)
    elif value is None or value in ("", {}, []):
        empty.add(at)
    else:
        held.add(at)


class Coverage:
    """The fields of a feed's documents, counted: ``add`` each document, then ask for the ``report``."""

    def __init__(self) -> None:
        self.documents = 0
        self.held: Counter[str] = Counter()
        self.empty: Counter[str] = Counter()

    def add(self, document: Any) -> None:
        """Count the fields of *document*."""
        held: set[str] = set()
        empty: set[str] = set()
        _walk(document, "", held, empty)
        self.documents += 1
        self.held.update(held)
        self.empty.update(empty - held)

    def report(self, source: str, feed: str, mapper: Mapper | None, ignored: str | None = None) -> Report:
        """The report on the fields. Without a mapper all are unmapped; with *ignored*, the reason of a feed that is
        not mapped, all are dropped."""
        counts = self.held + self.empty
        report = Report(source, feed, mapper.entity if mapper else None, self.documents, {}, {}, {}, {})
        reads = sources_of(mapper) if mapper else Sources(frozenset(), frozenset())
        drops = mapper.declared.drop if mapper else {} if ignored is None else {"": ignored}
        for path, count in sorted(counts.items()):
            dropped = next((above for above in above_of(path) if above in drops), None)
            if _covered(path, reads, holds=path in self.held):
                report.mapped[path] = count
            elif dropped is not None:
                report.dropped[path] = count
                report.reasons[path] = drops[dropped]
            elif path not in self.held and any(above.startswith((f"{path}.", f"{path}[")) for above in drops):
                report.dropped[path] = count
                report.reasons[path] = "empty; what may stand in it is dropped"
            else:
                report.unmapped[path] = count
        return report


def above_of(path: str) -> Iterator[str]:
    """*path* and all paths that it lies within, the nearest first; "" last."""
    yield path
    for place in range(len(path) - 1, 0, -1):
        if path[place] in ".[":
            yield path[:place]
    yield ""


def _covered(path: str, reads: Sources, *, holds: bool) -> bool:
    plain = path.removesuffix("[]")
    if path in reads.exact or plain in reads.exact or any(prefix in reads.whole for prefix in above_of(path) if prefix):
        return True
    below = (f"{plain}.", f"{plain}[")
    return not holds and any(prefix.startswith(below) for prefix in reads.exact | reads.whole)


def sources_of(mapper: Mapper) -> Sources:
    """The paths that *mapper* reads."""
    exact: set[str] = set()
    whole: set[str] = set()
    _collect(mapper.declared.node, "", exact, whole)
    for fact in (mapper.declared.zone, mapper.declared.region):
        exact.update(path.fields for path in fact.paths)
    for deletion in mapper.declared.deletions:
        exact.update(path.fields for path in (deletion.when, deletion.version, *deletion.id))
    return Sources(frozenset(exact), frozenset(whole))


@cache
def targets_of(mapper: Mapper) -> frozenset[str]:
    """The fields of the canonical record that *mapper* fills, without the slots of lists: ``names.family``; a part that
    is made as a whole stands for all that lies within it."""
    leaves = list(_leaves(mapper.declared.node))
    return frozenset(re.sub(r"\[[^\]]*\]", "", leaf.target) for leaf in leaves if leaf.constant is None)


def _leaves(node: Node) -> Iterator[Leaf]:
    yield from (*node.leaves, *node.extra)
    for nested in node.nested:
        if nested.leaf is not None:
            yield nested.leaf
        elif nested.node is not None:
            yield from _leaves(nested.node)


def _collect(node: Node, above: str, exact: set[str], whole: set[str]) -> None:
    for leaf in (*node.leaves, *node.extra, *(inner.leaf for inner in node.nested if inner.leaf is not None)):
        _collect_leaf(leaf, above, exact, whole)
    for nested in node.nested:
        if nested.node is None:
            continue
        if nested.path is None:
            _collect(nested.node, above, exact, whole)
        else:
            exact.update(_joined(above, filtered) for filtered in nested.path.filters)
            _collect(nested.node, _joined(above, nested.path.fields), exact, whole)


def _collect_leaf(leaf: Leaf, above: str, exact: set[str], whole: set[str]) -> None:
    for path in leaf.paths:
        (whole if leaf.converter.startswith(_WHOLE) else exact).add(_joined(above, _fields(path)))
        exact.update(_joined(above, filtered) for filtered in path.filters)


def _fields(path: Path) -> str:
    return path.fields.removesuffix("[]")


def _joined(above: str, path: str) -> str:
    return f"{above}.{path}" if above and path else above or path


def unmapped(reports: Iterable[Report]) -> int:
    """The number of unmapped fields in all *reports*."""
    return sum(len(report.unmapped) for report in reports)
