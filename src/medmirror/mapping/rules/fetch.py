"""Getting the source value of a rule, or its values, and converting them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medmirror.mapping.convert.pairs import Function, Pair, text_of
from medmirror.mapping.convert.scope import Problem, Scope, Unusable
from medmirror.mapping.rules.declared import Leaf
from medmirror.mapping.rules.paths import getter, lister

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError)
"""The errors that a converter may raise for a value that it cannot read."""


def values(leaf: Leaf) -> Function:
    """A function (document, scope) -> the canonical value of *leaf*, or None. It notes values that it cannot read."""
    pair = leaf.pair
    assert pair is not None
    if leaf.field.many and not pair.whole:
        return _list_of(leaf, pair)
    fetch = _fetcher(leaf, pair)
    convert, target, default, empty = pair.up, leaf.target, leaf.default, leaf.empty

    def value(document: Any, scope: Scope) -> Any:
        try:
            raw = fetch(document)
            if raw is None or raw == "" or (empty and _is_empty(raw, empty)):
                if default is None:
                    return None
                raw = default
            return convert(raw, scope)
        except UNREADABLE as error:
            scope.problems.append(problem(target, error))
            return None

    return value


def problem(target: str, error: Exception) -> Problem:
    """The problem with *target* that *error* tells of."""
    return Problem(target, error.code if isinstance(error, Unusable) else "unreadable")


def _is_empty(value: Any, empty: frozenset[str]) -> bool:
    return isinstance(value, str) and value.strip() in empty


def _fetcher(leaf: Leaf, pair: Pair) -> Callable[[Any], Any]:
    """(document) -> the one source value of *leaf*: the first there is, all joined, or (a whole) a tuple."""
    if leaf.join is not None:
        return _joiner(leaf)
    take_list = leaf.converter == "json" and any("[]" in path.text for path in leaf.paths)
    gets = [(lister if take_list else getter)(path) for path in leaf.paths]
    if len(gets) == 1:
        return gets[0]
    if pair.whole:

        def whole(document: Any) -> Any:
            raw = tuple(get(document) for get in gets)
            return None if all(element is None or element == "" for element in raw) else raw

        return whole

    empty = leaf.empty

    def first(document: Any) -> Any:
        for get in gets:
            raw = get(document)
            if raw is not None and raw != "" and not (empty and _is_empty(raw, empty)):
                return raw
        return None

    return first


def _joiner(leaf: Leaf) -> Callable[[Any], Any]:
    """(document) -> the texts at all paths as one. Words close up where one is empty; of anything else each part keeps
    its place, so that a day does not become a month."""
    lists, join, empty = [lister(path) for path in leaf.paths], leaf.join or "", leaf.empty
    tight = not join and not leaf.words

    def part(raws: list[Any]) -> str:
        texts = [text_of(raw).strip() for raw in raws]
        return join.join(text for text in texts if text and text not in empty)

    def joined(document: Any) -> Any:
        parts = [part(get(document)) for get in lists]
        if leaf.words or all(parts):
            return join.join(text for text in parts if text) or None
        if not any(parts):
            return None
        if tight:
            raise ValueError("which part is missing cannot be told where nothing stands between them")
        return join.join(parts)

    return joined


def _list_of(leaf: Leaf, pair: Pair) -> Function:
    lists, convert, target = [lister(path) for path in leaf.paths], pair.up, leaf.target
    split, empty, default = leaf.split, leaf.empty, leaf.default

    def values_of(document: Any, scope: Scope) -> Any:
        raws = [raw for get in lists for raw in get(document)]
        if not raws and default is not None:
            raws = default if isinstance(default, list) else [default]
        if split is not None:
            raws = [piece for raw in raws for piece in (raw.split(split) if isinstance(raw, str) else [raw])]
        converted = []
        for raw in raws:
            if empty and _is_empty(raw, empty):
                continue
            try:
                value = convert(raw, scope)
            except UNREADABLE as error:
                scope.problems.append(problem(target, error))
                continue
            if value is not None:
                converted.append(value)
        return converted or None

    return values_of
