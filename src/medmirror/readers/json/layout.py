"""Layouts: the declaration of the columns, keys and versions of a JSON source's records.

Two engines read a *Layout* and must give the same rows: ``record`` (Python, the reference) and ``native`` (C). A path
leads through objects, and through arrays of them at ``[]``: ``a.b[].c``. An absent or null step counts as empty; any
other value that is no object, or no array of objects, makes the record invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from medmirror.model import Column

How = Literal[
    "text",  # a text
    "every text",  # through arrays only: as text, but one for each object that has it, repeats too
    "loose text",  # a text, or a number as text
    "texts",  # an array of texts
    "loose texts",  # an array of texts, or one text
    "day",  # the first day that a text can mean; NULL when no calendar has it
    "loose day",  # that of a text or number
    "any day",  # that of a text; NULL for anything else
    "earliest day",  # the first of those in an array's objects where `where` holds
    "number",  # a whole number, or its digits; NULL for anything else
    "flag",  # true or false
    "loose flag",  # true or false; NULL for anything else
    "code",  # whether a text or number is 1
    "id",  # a text, or a whole number of any size as text; NULL for an empty text
    "link id",  # the last piece of the path of a link (a text); NULL for an empty text, also on the way
    "filled text",  # a text; NULL for an empty one
    "moment",  # the point in time that a text names (ISO 8601, UTC unless it says otherwise); NULL for anything else
    "members",  # how many keys the objects directly under the top have together
]
"""The type that a value must have, else the record is invalid. Null and absent are NULL. Through arrays, the result has
the texts of all objects, each once."""

_KINDS: dict[str, str] = {
    "text": "text",
    "loose text": "text",
    "texts": "text[]",
    "loose texts": "text[]",
    "number": "int4",
    "flag": "bool",
    "loose flag": "bool",
    "code": "bool",
    "id": "text",
    "link id": "text",
    "filled text": "text",
    "moment": "timestamptz",
}


MAX_INDEXED = 2000
"""Bytes of an element that an index can hold. A longer one of an indexed column is cut to CUT characters: the jsonb
column has it whole, and an index must not decide what can be stored. (A column of one text has a hash index instead.)
"""
CUT = 500


class Field(NamedTuple):
    """A value of a record: its name, its path, the type that it must have."""

    name: str
    path: str
    how: How
    where: tuple[tuple[str, str], ...] = ()  # other fields of the same object, and the texts that they must be

    @property
    def column(self) -> Column:
        """The column that holds it."""
        return Column(self.name, "text[]" if self.many else _KINDS.get(self.how, "date"))

    @property
    def many(self) -> bool:
        """Whether its values are collected from the objects of an array."""
        return "[]" in self.path and self.how != "earliest day"

    @property
    def steps(self) -> tuple[list[tuple[str, bool]], str]:
        """([(key, whether it is an array of objects) for each step on the way], the key of the value)."""
        *way, name = self.path.split(".")
        return [(step.removesuffix("[]"), step.endswith("[]")) for step in way], name


Identify = Callable[[Sequence[Any], Mapping[str, int | str]], tuple[tuple[int | str, ...], int]]


class Layout(NamedTuple):
    """The layout of one feed: how its records are recognised, identified and read.

    *identify* makes the key and the version of a record from the values of *identity* (a day is its number, a moment
    its microseconds since 1970, 0 for none) and the context; it raises InvalidRecord. A record with all keys of one of
    *marks* is of this feed.
    """

    name: str
    fields: tuple[Field, ...]  # the columns after the jsonb one
    identity: tuple[Field, ...]
    identify: Identify
    marks: tuple[frozenset[str], ...] = (frozenset(),)
    arrays: tuple[str, ...] = ()  # paths of further arrays that must hold objects
    repeats: bool = False  # a key may stand twice in an object: the last one holds, as in jsonb
    indexed: frozenset[str] = frozenset()  # text[] columns whose elements an index holds: long ones are cut

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that *fields* fill."""
        return tuple(field.column for field in self.fields)


def marks(layouts: Sequence[Layout]) -> list[tuple[frozenset[str], int]]:
    """(mark, number of its layout) of all marks, in the order of trial: the first mark of each layout comes first."""
    every = [(place, mark, number) for number, layout in enumerate(layouts) for place, mark in enumerate(layout.marks)]
    return [(mark, number) for _, mark, number in sorted(every, key=lambda entry: entry[0])]
