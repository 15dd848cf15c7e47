"""Columns read out of parsed JSON objects: a column's name, its kind and how its value is found, in one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medmirror.errors import InvalidRecord
from medmirror.model import Column
from medmirror.readers.jsonvalues import child, children, first_day, kind, whole_number


class Fact(NamedTuple):
    """A column and how its value is read from a record. *read* raises InvalidRecord for a value of the wrong type."""

    column: Column
    read: Callable[[Mapping[str, Any]], Any]


def loose_text(parent: Mapping[str, Any], name: str) -> str | None:
    """The text or number called *name*, as text."""
    value = parent.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InvalidRecord(f"{name} is {kind(value)}, not text.")


def loose_texts(parent: Mapping[str, Any], name: str) -> list[str] | None:
    """The texts in the array called *name*, or the one text that stands in its place."""
    value = parent.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise InvalidRecord(f"{name} is {kind(value)}, not an array of texts.")
    for one in value:
        if not isinstance(one, str):
            raise InvalidRecord(f"{name} holds {kind(one)} where texts must be.")
    return value


def distinct(objects: Iterator[Mapping[str, Any]] | Sequence[Mapping[str, Any]], name: str) -> list[str] | None:
    """The texts called *name* in *objects* (texts or arrays of them), each once, in order; None when there is none."""
    found = {value: None for one in objects if name in one for value in loose_texts(one, name) or ()}
    return list(found) or None


def as_text(name: str, source: str = "") -> Fact:
    """The text called *source*, or *name*."""
    return Fact(Column(name, "text"), lambda record: loose_text(record, source or name))


def as_texts(name: str, source: str = "") -> Fact:
    """The array of texts called *source*, or *name*."""
    return Fact(Column(name, "text[]"), lambda record: loose_texts(record, source or name))


def as_day(name: str, source: str = "") -> Fact:
    """The date called *source*, or *name*; NULL for one that no calendar has."""
    return Fact(Column(name, "date"), lambda record: first_day(loose_text(record, source or name)))


def as_number(name: str, source: str = "") -> Fact:
    """The whole number called *source*, or *name*; NULL for what is no such number or does not fit."""
    return Fact(Column(name, "int4"), lambda record: whole_number(record.get(source or name)))


def as_code(name: str, source: str = "") -> Fact:
    """Whether the code called *source*, or *name*, is 1: how reports of adverse events say yes."""

    def read(record: Mapping[str, Any]) -> bool | None:
        code = loose_text(record, source or name)
        return None if code is None else code == "1"

    return Fact(Column(name, "bool"), read)


def as_flag(name: str) -> Fact:
    """The truth value called *name*; NULL for anything else."""

    def read(record: Mapping[str, Any]) -> bool | None:
        value = record.get(name)
        return value if isinstance(value, bool) else None

    return Fact(Column(name, "bool"), read)


def as_listed(name: str, array: str, source: str) -> Fact:
    """The texts called *source* in the objects of *array*, each once."""
    return Fact(Column(name, "text[]"), lambda record: distinct(children(record, array), source))


def from_child(parent: str, name: str) -> Fact:
    """The array of texts called *name* in the object called *parent*."""
    return Fact(Column(name, "text[]"), lambda record: loose_texts(child(record, parent), name))
