"""A mapper after its TOML was read: leaves (one value each) in nodes (one part each)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from medmirror.mapping.convert.pairs import Pair
from medmirror.mapping.rules.paths import Path
from medmirror.mapping.schema.kinds import Field, Part


class Leaf(NamedTuple):
    """The rule for one field of a part: filled from *paths* by *pair*, or with a *constant*.

    *join* joins the values of several paths to one text (*words*: free text, whose parts have no places of their own),
    *split* splits one text into a list; *empty* has words that mean nothing; *default* takes the place of an absent
    source value.
    """

    target: str  # as messages name it: "names[official].family"
    field: Field
    paths: tuple[Path, ...] = ()
    pair: Pair | None = None
    converter: str = ""
    join: str | None = None
    split: str | None = None
    empty: frozenset[str] = frozenset()
    default: Any = None
    constant: Any = None
    required: bool = False
    words: bool = False


class Nested(NamedTuple):
    """A field that is a part, or one slot of a list of parts.

    *node* fills it from the same document, or from the object at *path*, or (a list) one each from the objects at
    *path*; a *leaf* fills it as a whole.
    """

    target: str
    field: Field
    slot: str | None  # None: not a list
    path: Path | None = None
    node: Node | None = None
    leaf: Leaf | None = None


@dataclass
class Node:
    """The rules for a part."""

    part: Part
    leaves: list[Leaf] = field(default_factory=list)
    nested: list[Nested] = field(default_factory=list)
    extra: list[Leaf] = field(default_factory=list)  # of an entity: facts of this source only


class DocumentFact(NamedTuple):
    """A fact about a whole document (its zone, its region): the first value at *paths*, or *default*; *empty* has words
    that mean nothing."""

    paths: tuple[Path, ...] = ()
    default: str | None = None
    empty: frozenset[str] = frozenset()


class Deletion(NamedTuple):
    """The rule by which a document reports a deletion: *when* leads to a value (one of *words*, if there are any)."""

    grade: str
    when: Path
    words: frozenset[str]
    feed: str
    kinds: dict[str, str] | None  # the last piece but one of the id's link, to feeds
    id: tuple[Path, ...]  # none: it is the document's own record
    link: bool
    version: Path


class Declaration(NamedTuple):
    """A mapper as it was declared. *resolved* is its TOML with shapes and defaults put in, from which its digest is
    made."""

    source: str
    feed: str
    entity: str
    node: Node
    drop: dict[str, str]
    deletions: tuple[Deletion, ...]
    zone: DocumentFact
    region: DocumentFact
    resolved: dict[str, Any]
    ingredients: tuple[str, ...]  # versions of all code and data that its result depends on
    optional: frozenset[str] = frozenset()  # fields of the document that need not be there, as coverage names them
