r"""CSV: any export of a practice system as a table of text, described by a small mapping file.

A mapping file is TOML. Its section ``[file]`` says what the file is; the other sections say what its records mean (see
docs/mapping.md). Only *kind* and *key* must be there; what is not declared is detected, and when it cannot be told for
certain the file is refused with a word on what to declare::

    [file]
    kind = "patient"                 # the kind of its records: part of their key, and what mapping knows them by
    match = "patients*.csv"          # which files, by name: for a folder with several kinds, each with a mapping file
    key = ["Id"]                     # the column, or columns, that tell records apart
    key = "row"                      # or, where there are none: the row itself; equal rows are a record each
    updated = "LASTUPDATED"          # when a record was last changed: the newest copy wins, whatever comes first
    updated = {column = "Changed", format = "%d/%m/%Y %H:%M", zone = "Australia/Sydney"}
    dated = "patients_%Y%m%d*.csv"   # without such a column: the file's own day, from its name
    deleted = {column = "STATUS", values = ["D"]}     # such a row says that its record was deleted
    whole = true                     # each file is the full list, so that what is missing from it is gone
    trailer = "Total: (\\d+) rows"   # the last line, when it is no record; its first group counts the records
    skip = 3                         # lines before the header
    header = true                    # or false: columns are called "1", "2", ...; or the list of their names
    delimiter = ";"                  # detected are , ; tab |
    quote = "'"                      # '"'; "" when nothing is quoted
    escape = "\\"                    # what stands before a quote within quotes, besides another quote
    encoding = "windows-1252"        # detected are UTF-8 and UTF-16, with or without byte order mark, and Windows-1252

Times: ``iso`` (the default), ``unix``, ``unix ms``, ``epoch_us``, ``excel``, or directives (``dates/grammar.py``); or a
list of those. What names no zone is of *zone* (an IANA name or an offset), else of UTC.

**Records.** ``record`` is ``{header: text}``, every cell as it stands in the file; null where nothing stands between
two delimiters, "" where a pair of quotes does. The second column of a name is ``Name#2``; one without a name is ``#7``,
by its place, and left out when empty. A row is refused, with the number of the line that it begins on, when it has more
or fewer cells than the header, or no key; rules for quotes that are not closed are in ``readers/csv/cut.py``.

**Keys.** Of several columns, joined by ``|``, with ``\|`` for one that stands in a value. Of a row itself: a digest of
its bytes, with ``~2`` for the second equal row of the file, and so on; while such a file is split, the parent process
keeps 16 to 48 bytes for each of its rows.

**Version.** The time of *updated* in microseconds, 0 for an empty cell; else that of the file's own day; else 0. A row
whose *updated* cannot be read is refused: its place among copies would be a guess. Where the clock of *zone* showed the
time twice, and where there is none, the order of loads, files and rows decides between copies. A deletion at the time
of a copy is newer than the copy. A deleted row is a tombstone: its values are not kept. To keep them, declare the
deletion in the sections on meaning instead.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from functools import lru_cache
from hashlib import sha256
from typing import Any, BinaryIO, NamedTuple

import orjson

from medmirror.dates import instants
from medmirror.errors import InvalidRecord, LayoutChanged, RecordError, UsageError
from medmirror.mapping import columns
from medmirror.model import DELETION, Certificate, Column, Flaw, Item, Witness
from medmirror.readers.csv.blocks import split
from medmirror.readers.csv.description import Description, describe
from medmirror.readers.csv.dialect import guess
from medmirror.readers.csv.flaws import Lines, flaw
from medmirror.readers.csv.rows import reader
from medmirror.readers.csv.tail import tail
from medmirror.sources.base import Context, Feed, Given, Source

_log = logging.getLogger(__name__)

LEFT_OUT: Mapping[str, str] = {}
"""Cells that are not stored, and why: none, the column ``record`` holds them all."""

FEED = Feed(
    "record",
    (Column("organization_id", "text"), Column("kind", "text"), Column("id", "text")),
    (Column("record", "jsonb"),),
    document="record",
)
_ENDINGS = (".csv", ".tsv", ".tab", ".psv", ".txt", ".dat")
_TABLE = re.compile(rb"[^,;\t|\r\n]*[,;\t|][^\r\n]*\r?\n?")
_HEAD_OF_RECORD = 10  # bytes of a COPY tuple between its key and the JSON text
_length = struct.Struct(">i").pack


def recognise(name: str, head: bytes) -> bool:
    """Whether *head* may begin a table: by its file's name, or a delimiter in its first line; no XML, no JSON."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] in (b"<", b"{", b"[") or start.startswith((b"%PDF", b"PK\x03\x04")):
        return False
    return name.lower().endswith(_ENDINGS) or (bool(_TABLE.match(start)) and b"\0" not in head)


def context(name: str, head: bytes, reopen: Callable[[], BinaryIO], given: Given) -> Context:
    """How the file is written and what its mapping file says of it. Raises LayoutChanged when that does not fit, or is
    not enough; UsageError when a mapping file is wrong or missing."""
    description = _said_of(name, given)
    try:
        guessed = guess(head, reopen, description)
    except LayoutChanged as error:
        error.context.setdefault("file", name)
        raise
    layout, facts = guessed.layout, dict[str, int | str]()
    if description.whole or description.trailer:
        end = tail(reopen, layout.encoding, layout.recode, description.trailer)
        facts = {"whole": int(description.whole), "ended": int(end.whole), "expected": end.counted}
        if description.trailer:
            facts["trailer"] = int(end.trailer is not None)
        if end.trailer is not None:
            layout = layout._replace(literals=(*layout.literals, end.trailer))
    texts = orjson.loads(given.get("mapping") or "[]")
    missing = columns.lacking("csv", description.kind, {column.text for column in layout.names}, texts)
    before = orjson.loads(given.get("columns") or "{}").get(description.kind, ())
    columns.refuse(description.kind, [column for column in missing if column in before], file=name)
    if missing:  # no file had them yet: nothing can be lost, and every record is noted
        facts["lacks"] = orjson.dumps(missing).decode()
    _log.info("%s: %s records; %s", name, description.kind, guessed.told)
    if description.dated:
        day = instants.day_in_name(description.dated)(name)
        if day is None:
            raise LayoutChanged(
                f"The file's name holds no day as {description.dated!r} of its mapping file says.", file=name
            )
        facts["day"] = day
    rules = [description.formats, description.zone, description.values]
    return {**facts, "kind": description.kind, "layout": layout.dumps(), "rules": orjson.dumps(rules).decode()}


def _said_of(name: str, given: Given) -> Description:
    """What the mapping files say of the file called *name*."""
    descriptions = [
        description for description in map(describe, orjson.loads(given.get("mapping") or "[]")) if description
    ]
    if not descriptions:
        raise UsageError("A CSV file needs a mapping file with a section [file]: name it with --mapping.")
    fitting = [
        description
        for description in descriptions
        if any(fnmatch(name.lower(), wanted.lower()) for wanted in description.match)
    ]
    fitting = fitting or [description for description in descriptions if not description.match]
    if not fitting:
        raise LayoutChanged("No mapping file is for this file: none has a [file] match that fits its name.", file=name)
    if len(fitting) > 1:
        raise UsageError(f"Several mapping files are for the file {name}: give each a [file] match of its own.")
    return fitting[0]


def claims(name: str, given: Given) -> bool | None:
    """Whether a mapping file's ``match`` names the file called *name*; None when one has no ``match``."""
    texts = orjson.loads(given.get("mapping") or "[]")
    descriptions = [description for description in map(describe, texts) if description]
    if any(fnmatch(name.lower(), pattern.lower()) for description in descriptions for pattern in description.match):
        return True
    return None if any(not description.match for description in descriptions) else False


class _Rules(NamedTuple):
    clock: instants.Clock
    deleted: frozenset[str]


@lru_cache(maxsize=64)
def _rules(text: str) -> _Rules:
    formats, zone, values = orjson.loads(text)
    return _Rules(instants.clock(tuple(formats), zone), frozenset(values))


def items(data: bytes, ordinal: int, context: Context) -> Iterator[Item | Flaw]:
    """Every row of a block with its key and version; what cannot be one is a flaw, with the line that it begins on."""
    read = reader(str(context["layout"]))
    rules, lines = _rules(str(context["rules"])), Lines(ordinal, context)
    organization, kind, day = str(context["organization"]), str(context["kind"]), int(context.get("day", 0))
    times = _times(context) if not read.layout.key else {}
    updated, deleted = read.layout.updated >= 0, read.layout.deleted >= 0
    for number, row in enumerate(read.rows(data)):
        if row.status:
            yield flaw(row, number, read.layout, lines)
            continue
        version: instants.Instant | None = day
        if updated:
            version = rules.clock(row.updated) if row.updated else 0
        arrival = not updated or version == 0
        if isinstance(version, instants.Repeated):
            arrival, version = True, version.start + version.length - 1
        elif version is None:
            column = read.layout.title(read.layout.updated)
            reason = f"{lines.where(row.line)} has no time in {column} as the mapping file declares it."
            yield Flaw("record", number, row.start, row.end, InvalidRecord.__name__, reason)
            continue
        name = row.id or _digest(data[row.start : row.end], times.get(ordinal + number, 1))
        gone = deleted and row.deleted in rules.deleted
        arrival = arrival and bool(row.id)  # else the row is its own key, and has one content
        tie = DELETION if gone and not arrival else 0
        key = (organization, kind, name)
        yield Item("record", key, version, number, row.start, row.end, gone, row.tail, arrival, tie)


def _digest(raw: bytes, times: int) -> str:
    digest = sha256(raw).hexdigest()[:32]
    return digest if times == 1 else f"{digest}~{times}"


def _times(context: Context) -> dict[int, int]:
    """How often a row was met with this time, for rows of the block that were met before."""
    pairs = (pair.partition(":") for pair in str(context.get("repeats", "")).split(",") if pair)
    return {int(ordinal): int(times) for ordinal, _, times in pairs}


@lru_cache(maxsize=64)
def _begin(organization: str, kind: str) -> bytes:
    """A COPY tuple as far as the id."""
    return b"".join(
        (
            struct.pack(">h", len(FEED.all_columns)),
            *(_length(len(cell)) + cell for cell in _encoded(organization, kind)),
        )
    )


def _encoded(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


def rows(feed: Feed, data: bytes, wanted: Sequence[Item]) -> list[bytes | RecordError]:
    """The COPY tuple of each record."""
    encoded: list[bytes | RecordError] = []
    for item in wanted:
        organization, kind, name = item.key
        key = str(name).encode()
        encoded.append(b"".join((_begin(str(organization), str(kind)), _length(len(key)), key, item.parsed)))
    return encoded


def record(feed: Feed, data: bytes, item: Item) -> dict[str, Any]:
    """The record's values by column."""
    values = dict(zip([column.name for column in feed.key], item.key, strict=True))
    return {**values, "record": orjson.loads(item.parsed[_HEAD_OF_RECORD:])}


def certify(witnesses: Sequence[Witness]) -> list[Certificate]:
    """By kind, whether the full list was there: its files are declared whole, were read to their ends without a reject,
    and hold as many records as their trailers say."""
    kinds: dict[str, list[Witness]] = {}
    for witness in witnesses:
        kinds.setdefault(str(witness.context.get("kind", "")), []).append(witness)
    unknown = kinds.pop("", [])
    reasons = [f"a file was {witness.status} before its kind was known" for witness in unknown]
    return [_certificate(kind, witnesses_of_kind, reasons) for kind, witnesses_of_kind in sorted(kinds.items())]


def _certificate(kind: str, witnesses: Sequence[Witness], reasons: Sequence[str]) -> Certificate:
    reasons = [*reasons, *(reason for witness in witnesses for reason in _lacks(witness))]
    counts = [int(witness.context.get("expected", -1)) for witness in witnesses]
    expected = sum(counts) if min(counts) >= 0 else None
    return Certificate(
        (kind,),
        not reasons,
        expected,
        sum(witness.read - witness.rejected for witness in witnesses),
        tuple(dict.fromkeys(reasons)),
    )


def _lacks(witness: Witness) -> Iterator[str]:
    """Why a file is not the full list."""
    facts = witness.context
    if not facts.get("whole"):
        yield "its mapping file does not say that it is the full list (whole = true)"
    if witness.status not in ("done", "skipped"):
        yield f"a file is {witness.status}"
    if witness.rejected:
        yield f"{witness.rejected} rows were rejected"
    expected = int(facts.get("expected", -1))
    if facts.get("trailer") == 0:
        yield "the trailer is missing"
    elif expected >= 0 and expected != witness.read:
        yield f"the trailer counts {expected} records, {witness.read} were read"
    elif expected < 0 and facts.get("ended") == 0:  # not looked at, where nothing says that the file is the full list
        last = "trailer" if facts.get("trailer") else "last line"
        yield f"the {last} has no line end, so whether it is whole cannot be told"


SOURCE = Source(
    "csv", (FEED,), recognise, context, split, items, rows, record, tenant=True, claims=claims, certify=certify
)
