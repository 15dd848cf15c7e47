"""How a CSV file is written, told from its first bytes and what was declared of it: a Layout.

Told is only what is certain: one delimiter with which the header has the declared columns and the rows as many cells as
the header. Else LayoutChanged says what to declare. No message quotes the file: what is taken for a header may be a
person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

from medmirror.errors import LayoutChanged
from medmirror.readers.csv.blocks import mark
from medmirror.readers.csv.cut import BROKEN, OK, SKIPPED, TEXT, WIDTH, Cutter, Row, after_line_end
from medmirror.readers.csv.description import Description
from medmirror.readers.csv.encoding import Encoding, Recoded, tell
from medmirror.readers.csv.layout import MAY_BE_EMPTY, MUST_BE_EMPTY, STANDS, Layout, Name
from medmirror.readers.csv.rows import BadCell, Reader
from medmirror.readers.files import HEAD

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = (",", ";", "\t", "|")
_ROWS = 200  # that are looked at
_MOSTLY = 0.9
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}


class Guess(NamedTuple):
    """*told*: what was found, for people: the encoding, the delimiter, the columns; no value of a record."""

    layout: Layout
    told: str


class _Attempt(NamedTuple):
    """The first rows, read with some delimiter and escape character: their texts, and how many were broken. *first*:
    the header, where it ends, how many lines it takes, and its bytes without line end."""

    delimiter: str
    escape: str
    returns: bool
    first: tuple[str, ...]
    end: int
    lines: int
    raw: bytes
    widths: Counter[int]
    trailing: int  # rows of one cell more than the first, and that empty
    broken: int

    @property
    def rows(self) -> int:
        return sum(self.widths.values()) + self.broken

    @property
    def fitting(self) -> float:
        """The share of rows that have as many cells as most of them."""
        return max(self.widths.values(), default=0) / self.rows if self.rows else 1.0


def guess(head: bytes, reopen: Callable[[], BinaryIO], description: Description) -> Guess:
    """The layout of the file that begins with *head*. Raises LayoutChanged when it cannot be told, saying what to
    declare."""
    encoding = tell(head, reopen, description.encoding)
    text = Recoded(_Bytes(head), encoding.recode).read(4 * len(head)) if encoding.recode else head
    begin, lines, separator = _preamble(text, description)
    whole = len(head) < HEAD
    delimiters = [description.delimiter] if description.delimiter else [separator] if separator else list(_DELIMITERS)
    attempts = [_attempt(text, begin, whole, encoding, description, delimiter) for delimiter in delimiters]
    tried = _choose([attempt for attempt in attempts if attempt], description)
    names, width = _columns(tried, description)
    columns = [name.text for name in names]
    if missing := [name for name in description.columns if name not in columns]:
        raise LayoutChanged(_missing(missing[0], len(columns), description))
    literals: tuple[bytes, ...] = ()
    if description.header is None or description.header is True:
        begin = after_line_end(text, tried.end, len(text), True) or len(text) if tried.end < len(text) else len(text)
        lines += tried.lines
        if tried.lines == 1:
            literals = (tried.raw,)
    size = min(len(head), 1024) if begin or encoding.recode else 0
    layout = Layout(
        tried.delimiter,
        '"' if description.quote is None else description.quote,
        tried.escape,
        tried.returns,
        encoding.blocks,
        encoding.recode,
        names,
        tuple(columns.index(name) for name in description.key),
        columns.index(description.updated) if description.updated else -1,
        columns.index(description.deleted) if description.deleted else -1,
        literals,
        begin,
        lines,
        mark(head[:size]),
        size,
    )
    named = _NAMES.get(tried.delimiter, tried.delimiter)
    escape = f", escape {tried.escape}" if tried.escape else ""
    summary = f"{encoding.recode or encoding.blocks} ({encoding.told}), delimiter {named}{escape}, {width} columns"
    return Guess(layout, summary)


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        data, self._data = self._data, b""
        return data


def _preamble(text: bytes, description: Description) -> tuple[int, int, str]:
    """(offset, lines) of what precedes the header: the mark, ``sep=;`` as Excel has it, declared lines; the delimiter
    that ``sep=`` names."""
    at, lines, separator = 3 if text.startswith(_BOM) else 0, 0, ""
    ends = text[at:].splitlines(keepends=True)
    if ends and ends[0][:4].lower() == b"sep=" and len(ends[0].strip(b"\r\n")) == 5:
        separator = chr(ends[0][4])
        at, lines, ends = at + len(ends[0]), 1, ends[1:]
    for line in ends[: description.skip]:
        at, lines = at + len(line), lines + 1
    for line in ends[description.skip :]:  # empty lines before the header
        if line.strip(b"\r\n"):
            break
        at, lines = at + len(line), lines + 1
    return at, lines, separator


def _attempt(
    text: bytes, begin: int, whole: bool, encoding: Encoding, description: Description, delimiter: str
) -> _Attempt | None:
    """The first rows, read with *delimiter*; None when not even the first can be."""
    quote = '"' if description.quote is None else description.quote
    escapes = (
        [description.escape]
        if description.escape is not None
        else ["", "\\"]
        if f"\\{quote}".encode() in text
        else [""]
    )
    best: _Attempt | None = None
    for escape in escapes:
        layout = Layout(
            delimiter, quote, escape, _returns(text, begin), encoding.blocks, "", (), (), -1, -1, (), 0, 0, "", 0
        )
        tried = _read(layout, text, begin, whole)
        if tried and (best is None or tried.broken < best.broken):
            best = tried
    return best


def _read(layout: Layout, text: bytes, begin: int, whole: bool) -> _Attempt | None:
    cutter, reader = Cutter(layout), Reader(layout)
    first = cutter.scan(text, begin, len(text), True)
    if not first.cells or first.how:
        return None
    try:
        texts = tuple(reader.text(text, cell) or "" for cell in first.cells)
    except BadCell:
        return None
    layout = layout._replace(names=tuple(Name("", STANDS) for _ in first.cells))
    cutter = Cutter(layout)
    widths: Counter[int] = Counter()
    trailing = broken = 0
    pos = first.end
    while pos < len(text) and sum(widths.values()) + broken < _ROWS:
        row: Row = cutter.row(text, pos, whole, len(text) + 1)
        if row.status < SKIPPED or row.tail:
            break
        if row.status in (OK, WIDTH):
            widths[len(row.cells)] += 1
            last = row.cells[-1]
            trailing += len(row.cells) == len(texts) + 1 and last.start == last.end and not last.quoted
        broken += row.status in (TEXT, BROKEN)
        pos = row.end
    raw = text[begin : first.line_end]
    marks = (layout.delimiter, layout.escape, layout.returns)
    return _Attempt(*marks, texts, first.line_end, first.lines, raw, widths, trailing, broken)


def _returns(text: bytes, begin: int) -> bool:
    """Whether lines end with a CR alone: the first one does."""
    at = text.find(b"\r", begin)
    return at >= 0 and b"\n" not in text[begin : at + 2]


def _choose(attempts: Sequence[_Attempt], description: Description) -> _Attempt:
    """The one attempt that is right."""
    if not attempts:
        raise LayoutChanged(
            "The first row of the file cannot be read: a quote in it is not closed, or its encoding is another one."
        )
    if description.delimiter or len(attempts) == 1:
        return attempts[0]
    if description.header is None or description.header is True:
        wanted = set(description.columns)
        fitting = [attempt for attempt in attempts if wanted <= set(map(str.strip, attempt.first))]
        if wanted and not fitting:
            raise LayoutChanged(
                _missing(_some(attempts, description), max(len(attempt.first) for attempt in attempts), description)
            )
        attempts = fitting
    if isinstance(description.header, tuple):
        attempts = [attempt for attempt in attempts if len(attempt.first) == len(description.header)] or attempts
    if len(attempts) > 1:
        several = [attempt for attempt in attempts if len(attempt.first) > 1]
        if not several:  # a single column: what does not stand in it cannot delimit
            return next((attempt for attempt in attempts if attempt.fitting == 1), attempts[0])
        sure = [attempt for attempt in several if attempt.fitting >= _MOSTLY and attempt.rows]
        attempts = sure if len(sure) == 1 else several if len(several) == 1 else []
    if len(attempts) != 1:
        raise LayoutChanged("The file's delimiter is not clear. Declare it in the mapping file: [file] delimiter = ...")
    return attempts[0]


def _some(attempts: Sequence[_Attempt], description: Description) -> str:
    """A declared column that no attempt has."""
    names = {name.strip() for attempt in attempts for name in attempt.first}
    return next((name for name in description.columns if name not in names), description.columns[0])


def _missing(name: str, count: int, description: Description) -> str:
    where = "header = [names], or skip = lines that come before the header"
    if description.header is False or isinstance(description.header, tuple):
        where = "header as the file has it"
    return f"The file has no column {name!r} among its {count}: declare the right one, or in [file] {where}."


def _columns(tried: _Attempt, description: Description) -> tuple[tuple[Name, ...], int]:
    """The columns, and how many of them have a name."""
    usual = max(tried.widths, key=tried.widths.__getitem__, default=len(tried.first))
    if isinstance(description.header, tuple):
        names, width = list(description.header), len(description.header)
        if width != len(tried.first) and usual != width:
            raise LayoutChanged(f"The rows have {len(tried.first)} cells, the declared header {width}.")
        return tuple(Name(name, STANDS) for name in names), width
    if description.header is False:
        return tuple(Name(str(number + 1), STANDS) for number in range(len(tried.first))), len(tried.first)
    if not description.columns:
        _must_be_header(tried)
    names = [name.strip() for name in tried.first]
    width = len(names)
    while width > 1 and not names[width - 1]:
        width -= 1
    mostly = _MOSTLY * tried.rows
    if tried.widths[width] >= mostly and tried.rows and width < len(names):
        names = names[:width]  # only the header ends with delimiters
    columns = [Name(text, STANDS if name else MAY_BE_EMPTY) for text, name in zip(_unique(names), names, strict=True)]
    if width == len(tried.first) and tried.rows and tried.trailing >= mostly:
        columns.append(Name("", MUST_BE_EMPTY))
    return tuple(columns), width


def _must_be_header(tried: _Attempt) -> None:
    """Raise LayoutChanged when the first row may be a record: where no column is declared, only its look can tell."""
    names = [name.strip() for name in tried.first]
    if any(not name or not any(map(str.isalpha, name)) or len(name) > 80 for name in names) or len(set(names)) < len(
        names
    ):
        raise LayoutChanged(
            "Whether the file has a header is not clear. Declare it in the mapping file: [file] header = ..."
        )


def _unique(names: Sequence[str]) -> list[str]:
    """*names*, each once: the second Phone is Phone#2; one without a name is #7, by its place."""
    unique: list[str] = []
    for place, name in enumerate(names, 1):
        text, times = name or f"#{place}", 1
        while text in unique or (text != name and text in names):
            times += 1
            text = f"{name}#{times}" if name else f"#{place}#{times}"
        unique.append(text)
    return unique
