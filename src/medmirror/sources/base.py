"""What a source is: the functions and names that one Python file and one SQL file must supply.

``sources/NAME.py`` ends with ``SOURCE = Source(...)``; ``sql/sources/NAME.sql`` has its tables and views. The registry
lists the folder, so there is no other list to edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from medmirror.errors import RecordError
from medmirror.model import Block, Certificate, Column, Flaw, Item, Witness

Context = Mapping[str, int | str]
"""Facts about one file that its items need, found once by the parent and sent with every chunk (picklable, small). They
are part of what the ledger knows a file by: the same bytes with other facts are another file."""

Given = Mapping[str, str]
"""What the user said of the files: ``organization``; ``mapping``, a JSON array of mapping files' texts; ``url``; and,
set for each file, its ``path``."""


class Origin(NamedTuple):
    """Something other than a file that records are read from: a table of a live database, say.

    *name* stands in the ledger (never a password), *identity* (32 bytes) tells this pass over it from any other one.
    """

    name: str
    identity: bytes
    context: Context
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class Feed:
    """One kind of record of a source: one table ``source.name`` and the facts beside it (``source.name_fact``)."""

    name: str
    key: tuple[Column, ...]
    columns: tuple[Column, ...]  # after the key; every table has also `deleted boolean`
    document: str = ""  # the jsonb column that mapping reads; for feeds of sources with organisations
    deletions: bool = False  # its records say that others were deleted: (organization_id, kind, id) names the other one

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Key, ``deleted``, then the other columns: the order of every COPY row."""
        return (*self.key, Column("deleted", "bool"), *self.columns)


@dataclass(frozen=True, slots=True)
class Source:
    """A system that publishes records, and how its bytes become rows. Knows no database and no process pool."""

    name: str
    feeds: tuple[Feed, ...]

    recognise: Callable[[str, bytes], bool]
    """(file name, first decoded bytes, at most 64 KiB) -> whether this looks like a file of this source."""

    context: Callable[[str, bytes, Callable[[], BinaryIO], Given], Context]
    """(file name, first decoded bytes, open the decoded stream again, what the user said) -> Context. Raises
    SourceError when the file is not of this source after all (HTML instead of XML, an API's error object ...)."""

    split: Callable[[BinaryIO, Context, int, int], Iterator[Block | Flaw]]
    """(decoded stream, context, wanted bytes of a block, most bytes of a record) -> blocks of whole items, in order,
    that together hold every item. Streams: holds at most one block (and one item) at a time. An item over the limit
    becomes a Flaw with offsets into the
    *stream* and the ordinal in the *stream*. Raises TruncatedFile at the end when the outer structure is not closed,
    after everything before was yielded. Splitting a block's own data again gives smaller blocks of the same items."""

    items: Callable[[bytes, int, Context], Iterator[Item | Flaw]]
    """(block data, ordinal of its first item in the stream, context) -> its items and flaws, in order. Every byte that
    is an item, or a broken piece of one, comes out exactly once as an Item or a Flaw."""

    rows: Callable[[Feed, bytes, Sequence[Item]], list[bytes | RecordError]]
    """(feed, block data, some living items of that feed) -> for each item, in order, its binary COPY tuple
    (``copyformat``; all columns of ``feed.all_columns``), or the error that it earns. Never raises for a bad item."""

    record: Callable[[Feed, bytes, Item], dict[str, Any]]
    """(feed, block data, a living item) -> its values by column name, as Python values (jsonb: what json would give;
    date: datetime.date): what a user's own filter or transform sees. Raises RecordError."""

    document: Callable[[Feed, bytes, Item], Mapping[str, Any]] | None = None
    """The same as ``record(...)[feed.document]``, where it can be had for less than all of the record's columns."""

    tenant: bool = False
    """Whether its records belong to organisations: each key begins with ``organization_id`` and ends with the record's
    id, the user must name one, every Context holds it as ``organization``, and its tables are walled off."""

    origins: Callable[[Given], Iterator[Origin]] | None = None
    """For a source that is not read from files: what to read, from what the user said. Raises UsageError."""

    claims: Callable[[str, Given], bool | None] | None = None
    """(file name, what the user said) -> whether the user named such a file as an export: it is one then, even when its
    ending is a document's (.txt). None: the user did not say which names are."""

    certify: Callable[[Sequence[Witness]], list[Certificate]] | None = None
    """(what is known of every file of a pass) -> which kinds of record were wholly there. None: nothing is."""

    def feed(self, name: str) -> Feed:
        """The feed called *name*; KeyError when there is none."""
        return next(feed for feed in self.feeds if feed.name == name)
