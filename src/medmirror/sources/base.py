"""The contract of a source: the functions and names that one Python file and one SQL file must supply.

``sources/NAME.py`` ends with ``SOURCE = Source(...)``; ``sql/sources/NAME.sql`` has its tables and views. The registry
lists the folder, so there is no other list to edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from medmirror.errors import RecordError
from medmirror.model import Block, Certificate, Column, Flaw, Item, Witness

Context = Mapping[str, int | str]
"""Facts about one file that its items need, found once by the parent and sent with every chunk (picklable, small). They
are part of a file's identity in the ledger: the same bytes with other facts are another file."""

Given = Mapping[str, str]
"""The facts that the user gave about the files: ``organization``; ``mapping``, a JSON array of mapping files' texts;
``url``; and, set for each file, its ``path``."""


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin of records that is no file: for example, a table of a live database.

    Parameters
    ----------
    name
        Its name in the ledger; never with a password.
    identity
        32 bytes that only this pass over it has.
    context
        The facts that its items need.
    open
        Opens the decoded stream of its records.
    """

    name: str
    identity: bytes
    context: Context
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class Feed:
    """One kind of record of a source: the table ``source.name``, and the facts beside it (``source.name_fact``).

    Parameters
    ----------
    name
        The name of the feed and of its table.
    key
        The columns of the key, first in the table.
    columns
        The columns after the key; ``deleted boolean``, which every table has, is not among them.
    document
        The jsonb column that mapping reads; for feeds of sources with organisations.
    deletions
        Its records report deletions of others: the key (organization_id, kind, id) names the deleted record.
    place
        The column with the address at which a record stands, for ``Source.localised``; empty: none.
    revised
        The date column that orders copies in a series of files (version > 0) and copies in none (version 0): see
        ``ingest.order``. ``Item.tie`` has that day as the number YYYYMMDD. Empty: all copies are ordered by version.
    """

    name: str
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    document: str = ""
    deletions: bool = False
    revised: str = ""
    place: str = ""

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Key, ``deleted``, then the other columns: the order of every COPY row."""
        return (*self.key, Column("deleted", "bool"), *self.columns)


@dataclass(frozen=True, slots=True)
class Source:
    """A system that publishes records, and the functions that turn its bytes into rows.

    It knows no database and no process pool. Each field is described below it.
    """

    name: str
    feeds: tuple[Feed, ...]

    recognise: Callable[[str, bytes], bool]
    """(file name, first decoded bytes, at most 64 KiB) -> whether this looks like a file of this source."""

    context: Callable[[str, bytes, Callable[[], BinaryIO], Given], Context]
    """(file name, first decoded bytes, a function that opens the decoded stream again, the user's facts) -> Context.
    Raises SourceError when the file is not of this source after all (HTML instead of XML, an API's error ...)."""

    split: Callable[[BinaryIO, Context, int, int], Iterator[Block | Flaw]]
    """(decoded stream, context, wanted bytes of a block, most bytes of a record) -> blocks of whole items, in order,
    that together hold every item. At most one block and one item are in memory. An item over the limit becomes a Flaw
    with its offsets and its ordinal in the *stream*. Splitting the data of a block again gives smaller blocks of the
    same items. Raises TruncatedFile when the outer structure is not closed, after all blocks were yielded."""

    items: Callable[[bytes, int, Context], Iterator[Item | Flaw]]
    """(block data, ordinal of its first item in the stream, context) -> its items and flaws, in order. Every byte of an
    item, or of a broken piece, is in exactly one Item or Flaw."""

    rows: Callable[[Feed, bytes, Sequence[Item]], list[bytes | RecordError]]
    """(feed, block data, living items of that feed) -> for each item, in order, its binary COPY tuple (``copyformat``;
    all columns of ``feed.all_columns``), or its error. Never raises for a bad item."""

    record: Callable[[Feed, bytes, Item], dict[str, Any]]
    """(feed, block data, a living item) -> its values by column name, for a user's own filter or transform. They are
    Python values (jsonb: as ``json`` gives it; date: datetime.date). Raises RecordError."""

    document: Callable[[Feed, bytes, Item], Mapping[str, Any]] | None = None
    """The same as ``record(...)[feed.document]``; for a source that gets it at less cost than all columns. Where there
    is ``localised``, it has been called."""

    localised: Callable[[dict[str, Any], str | None], dict[str, Any]] | None = None
    """(a stored document, the address at which it stands) -> the document as mapping reads it: references to records of
    its own server are relative, so that no other server's record is taken for one of ours."""

    tenant: bool = False
    """Whether its records belong to organisations: each key begins with ``organization_id`` and ends with the record's
    id, the user must name one, every Context holds it as ``organization``, and its tables are walled off."""

    origins: Callable[[Given], Iterator[Origin]] | None = None
    """(the user's facts) -> the origins to read; for a source that is not read from files. Raises UsageError."""

    claims: Callable[[str, Given], bool | None] | None = None
    """(file name, what the user said) -> whether the user named such a file as an export: it is one then, even when its
    ending is a document's (.txt). None: the user did not say which names are."""

    certify: Callable[[Sequence[Witness]], list[Certificate]] | None = None
    """(the facts about every file of a pass) -> a certificate for each kind of record. None: no pass is certified."""

    def feed(self, name: str) -> Feed:
        """The feed called *name*. There must be one."""
        return next(feed for feed in self.feeds if feed.name == name)
