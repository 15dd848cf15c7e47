"""Layouts: the declaration of where each element and attribute of an XML source's records is stored.

Two engines read a *Layout* and must give the same rows: ``record`` (lxml, the reference) and ``native`` (C). JSON
objects are written in document order: an object's keys have the order of its attributes and children.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from medmirror.model import Column

Condition = tuple[str, str, bool]
"""(attribute, value, whether it must equal that value). An absent attribute differs from every value."""


class Put(NamedTuple):
    """A target of a text or of the value of an attribute.

    *where*: a ``column`` (a scalar, or one more element of a text[]), a ``key`` of the innermost open object,
    a ``list`` of strings under a key of it, ``carry`` (a key of every object that opens directly inside this element),
    a ``part`` of the date that the parent makes, or ``extra``.
    """

    where: Literal["column", "key", "list", "carry", "part", "extra"]
    name: str
    yes_no: bool = False  # Y and N become true and false
    rank: int = 0  # of several values for one column the lowest rank that is not empty wins
    first: bool = False  # more than one is no surprise: the first that is not empty is taken
    join: str | None = None  # more than one is joined by this
    label: str = ""  # joined texts: the attribute that stands before the text
    marked: bool = False  # the text with its markup, as XML; the column is NULL where there is none
    when: tuple[Condition, ...] = ()


class Open(NamedTuple):
    """The object that an element opens.

    *where*: one more element of the array in a jsonb ``column``; the one object of a jsonb column (``single``);
    one more element of the array under a key of the enclosing object (``list``); or the object under a key (``key``).
    """

    where: Literal["column", "single", "list", "key"]
    name: str


class Date(NamedTuple):
    """The date column that an element's Year, Month and Day make.

    *exact*: all three are needed, else the texts go to ``extra``. Otherwise the first day of what the texts name, or
    NULL without a year; *year* is the column of that year.
    """

    column: str
    exact: bool
    year: str = ""


@dataclass(slots=True, eq=False)
class Element:
    """The rule for one element at its place: its attributes, children and text."""

    name: str
    opens: Open | None = None
    attributes: dict[str, tuple[Put, ...]] = field(default_factory=dict)
    children: dict[str, Element] = field(default_factory=dict)
    text: tuple[Put, ...] = ()
    date: Date | None = None
    to_extra: bool = False  # the whole subtree goes to ``extra``

    def add(self, *children: Element) -> Element:
        """The same element with *children* (how an element comes to hold its own kind)."""
        self.children.update((child.name, child) for child in children)
        return self

    def take(self, attributes: Mapping[str, Put] | Mapping[str, str] | Mapping[str, Put | str]) -> Element:
        """The same element with *attributes*."""
        self.attributes.update((name, _puts([put])) for name, put in attributes.items())
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The layout of a source's items: the *columns* of a row; a rule and constants for each item element.

    *namespaces* maps the prefixes that markup inside texts may use. An item without a *required* column is invalid.
    *extra* names the jsonb column for all elements and attributes without a rule.
    """

    columns: tuple[Column, ...]
    roots: Mapping[str, Element]
    constants: Mapping[str, Mapping[str, str | bool | int]]
    namespaces: Mapping[str, str]
    required: tuple[str, ...] = ()
    extra: str = "extra"


def column(name: str, *, rank: int = 0, first: bool = False, when: tuple[Condition, ...] = ()) -> Put:
    """The text of the column *name*."""
    return Put("column", name, rank=rank, first=first, when=when)


def marked(put: Put, name: str) -> Put:
    """The same as *put* for the column *name*, with the text's markup."""
    return put._replace(name=name, marked=True)


def yes_column(name: str) -> Put:
    """The boolean of the column *name*."""
    return Put("column", name, yes_no=True)


def joined(name: str, separator: str, *, label: str = "", rank: int = 0) -> Put:
    """One more part of the text of column *name*, after *separator*."""
    return Put("column", name, join=separator, label=label, rank=rank)


def key(name: str) -> Put:
    """The string under *name* in the innermost object."""
    return Put("key", name)


def yes(name: str) -> Put:
    """The boolean under *name* in the innermost object."""
    return Put("key", name, yes_no=True)


def leaf(name: str, *targets: Put | str, opens: Open | None = None, **attributes: Put | str) -> Element:
    """An element with text and no children of its own; inline markup counts as its text. A plain string is a key."""
    return Element(name, opens, text=_puts(targets)).take(attributes)


def node(
    name: str, *children: Element, opens: Open | None = None, date: Date | None = None, **attributes: Put | str
) -> Element:
    """An element with children and no text of its own. A plain string for an attribute is a key."""
    return Element(name, opens, date=date).add(*children).take(attributes)


def to_extra(name: str) -> Element:
    """An element that is kept whole, but only in ``extra``."""
    return Element(name, to_extra=True)


def _puts(targets: Iterable[Put | str]) -> tuple[Put, ...]:
    return tuple(key(target) if isinstance(target, str) else target for target in targets)
