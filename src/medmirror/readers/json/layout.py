"""The words in which a JSON source says where its columns, keys and versions are found in a record.

A *Layout* is read by two engines that must give the same rows: ``jsonrecord`` (Python, the reference) and ``native``
(C). A path leads through objects, and through arrays of them where it says ``[]``: ``a.b[].c``. What is absent or null
on the way is as good as empty; anything else that is no object, or no array of objects, makes the record invalid.
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
"""What a value must be, else the record is invalid. Null and absent are NULL. Through arrays, a text or texts are those
of all objects, each once."""

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


class Field(NamedTuple):
    """A value of a record: what it is called, its path, what it must be."""

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
        """Whether it is collected from the objects of an array."""
        return "[]" in self.path and self.how != "earliest day"

    @property
    def steps(self) -> tuple[list[tuple[str, bool]], str]:
        """The objects on the way to it, each with whether it is an array of objects, and its own key."""
        *way, name = self.path.split(".")
        return [(step.removesuffix("[]"), step.endswith("[]")) for step in way], name


Identify = Callable[[Sequence[Any], Mapping[str, int | str]], tuple[tuple[int | str, ...], int]]


class Layout(NamedTuple):
    """How the records of one feed are known, identified and read.

    *identify* makes the key and the version of a record from the values of *identity* (a day is its number, a moment
    its microseconds since 1970, 0 for none) and the context; it raises InvalidRecord. A record that has all keys of one
    of *marks* is of this feed.
    """

    name: str
    fields: tuple[Field, ...]  # the columns after the jsonb one
    identity: tuple[Field, ...]
    identify: Identify
    marks: tuple[frozenset[str], ...] = (frozenset(),)
    arrays: tuple[str, ...] = ()  # paths of further arrays that must hold objects
    repeats: bool = False  # a key may stand twice in an object: the last one holds, as in jsonb

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that *fields* fill."""
        return tuple(field.column for field in self.fields)


def marks(layouts: Sequence[Layout]) -> list[tuple[frozenset[str], int]]:
    """Every mark with the number of its layout, in the order of trial: the first ones of all layouts first."""
    every = [(place, mark, number) for number, layout in enumerate(layouts) for place, mark in enumerate(layout.marks)]
    return [(mark, number) for _, mark, number in sorted(every, key=lambda entry: entry[0])]
