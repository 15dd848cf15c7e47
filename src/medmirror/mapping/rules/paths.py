"""Paths into a document: ``a.b``, ``a[0].b``, ``a[].b`` (all elements), ``a[system=phone].b`` (the elements whose field
says so), ``a[system!=phone].b`` (all the others). A name that holds a dot, a bracket or a backtick stands in backticks;
``.`` alone is the whole document.

    a value          the first one that the path leads to and that is not empty
    all values       in document order

``placing`` follows them backwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple


class Key(NamedTuple):
    """A field of an object."""

    name: str


class Index(NamedTuple):
    """One element of an array."""

    at: int


class Where(NamedTuple):
    """The elements of an array whose field *name* (may be dotted) is *value* (*other*: is not); all of them when *name*
    is empty."""

    name: tuple[str, ...] = ()
    value: str = ""
    other: bool = False


Step = Key | Index | Where


class Path(NamedTuple):
    """A path that was read; *text* as it was written."""

    text: str
    steps: tuple[Step, ...]

    @property
    def many(self) -> bool:
        """Whether it may lead to several values."""
        return any(isinstance(step, Where) for step in self.steps)

    @property
    def fields(self) -> str:
        """The path as coverage names it: all indexes and filters are ``[]``."""
        text = ""
        for step in self.steps:
            text += ("." if text else "") + quoted(step.name) if isinstance(step, Key) else "[]"
        return text

    @property
    def filters(self) -> tuple[str, ...]:
        """The fields, as coverage names them, that the path's filters look at."""
        fields = []
        for place, step in enumerate(self.steps):
            if isinstance(step, Where) and step.name:
                inner = tuple(Key(name) for name in step.name)
                fields.append(Path("", (*self.steps[: place + 1], *inner)).fields)
        return tuple(fields)


_STEP = re.compile(r"(?P<dot>\.)?(?:`(?P<literal>[^`]+)`|(?P<name>[^.\[\]`]+)|\[(?P<inside>[^\]]*)\])")


def parse(text: str) -> Path:
    """*text* as a Path. Raises ValueError with the mistake in it."""
    if text == ".":
        return Path(text, ())
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or bool(match["dot"]) != (bool(steps) and match["inside"] is None):
            raise ValueError(f"cannot read the path {text!r} from character {at + 1} on")
        at = match.end()
        if match["inside"] is None:
            steps.append(Key(match["literal"] or match["name"]))
        elif not steps:
            raise ValueError(f"the path {text!r} begins with a bracket")
        else:
            steps.append(_bracket(match["inside"]))
    if not steps:
        raise ValueError("a path is empty")
    return Path(text, tuple(steps))


def _bracket(inside: str) -> Step:
    if not inside:
        return Where()
    if inside.isdigit():
        return Index(int(inside))
    name, sign, value = inside.partition("=")
    if not (name and sign and value):
        raise ValueError(f"[{inside}] is neither [], nor a number, nor [field=value]")
    return Where(tuple(name.removesuffix("!").split(".")), value, name.endswith("!"))


def quoted(name: str) -> str:
    """*name* as it stands in a path."""
    return f"`{name}`" if re.search(r"[.\[\]`]", name) else name


def getter(path: Path) -> Callable[[Any], Any]:
    """A function from a document to the first value at *path* that is neither null nor ""; else to null or ""."""
    get: Callable[[Any], Any] = _itself
    for step in reversed(path.steps):
        get = _first(step, get)
    return get


def _itself(value: Any) -> Any:
    return value


def _first(step: Step, rest: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that takes *step* and then goes on to *rest*."""
    if isinstance(step, Key):
        name = step.name
        if rest is _itself:
            return lambda value: value.get(name) if isinstance(value, dict) else None
        return lambda value: rest(value.get(name)) if isinstance(value, dict) else None
    if isinstance(step, Index):
        at = step.at
        return lambda value: rest(value[at]) if isinstance(value, list) and at < len(value) else None
    meets = matcher(step)

    def first(value: Any) -> Any:
        for element in _elements(value):
            if meets(element):
                target = rest(element)
                if target is not None and target != "":
                    return target
        return None

    return first


def lister(path: Path) -> Callable[[Any], list[Any]]:
    """A function from a document to all values at *path* that are neither null nor "".

    An array at the end of the path gives its elements.
    """
    collect: Callable[[Any, list[Any]], None] = _gather
    for step in reversed(path.steps):
        collect = _all(step, collect)

    def get(document: Any) -> list[Any]:
        values: list[Any] = []
        collect(document, values)
        return values

    return get


def _gather(value: Any, values: list[Any]) -> None:
    if isinstance(value, list):
        values += [element for element in value if element is not None and element != ""]
    elif value is not None and value != "":
        values.append(value)


def _all(step: Step, rest: Callable[[Any, list[Any]], None]) -> Callable[[Any, list[Any]], None]:
    if isinstance(step, Key):
        name = step.name

        def by_name(value: Any, values: list[Any]) -> None:
            if isinstance(value, dict):
                rest(value.get(name), values)

        return by_name
    if isinstance(step, Index):
        at = step.at

        def by_place(value: Any, values: list[Any]) -> None:
            if isinstance(value, list) and at < len(value):
                rest(value[at], values)

        return by_place
    meets = matcher(step)

    def each(value: Any, values: list[Any]) -> None:
        for element in _elements(value):
            if meets(element):
                rest(element, values)

    return each


def _elements(value: Any) -> list[Any]:
    """The elements of an array; a lone value where an array was expected is an array of one: some systems write so."""
    return value if isinstance(value, list) else [] if value is None else [value]


def matcher(where: Where) -> Callable[[Any], bool]:
    """A function from an element to whether it meets *where*."""
    if not where.name:
        return lambda value: True
    get, expected, other = getter(Path("", tuple(Key(name) for name in where.name))), where.value, where.other

    def meets(value: Any) -> bool:
        actual = get(value)
        same = actual == expected or (not isinstance(actual, str) and actual is not None and _plain(actual) == expected)
        return same != other

    return meets


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
