"""What is said of a row that cannot be read: the line that it begins on, and why; never what stands in it."""

from __future__ import annotations

from collections.abc import Mapping

from medmirror.errors import InvalidRecord, ParseError, RecordError
from medmirror.model import Flaw
from medmirror.readers.csv.cut import ENCODING, EXTRA, KEY, NUL, TEXT, WIDTH
from medmirror.readers.csv.layout import Layout
from medmirror.readers.csv.rows import Found


class Lines:
    """The number of the line that a row of a block begins on, as far as it is known. *facts* are those of the block,
    *ordinal* that of the first row that is looked at."""

    def __init__(self, ordinal: int, facts: Mapping[str, int | str]) -> None:
        self._first, self._exact = facts.get("line"), facts.get("at") == ordinal

    def where(self, lines: int) -> str:
        """The row after so many lines of the block, as the beginning of a sentence."""
        if self._first is None:
            return "The row"
        # A row tried again stands alone: all that is known of it is the line that its block began on.
        return f"Line {int(self._first) + lines}: the row" if self._exact else f"The row (line {self._first} or later)"


def flaw(row: Found, number: int, layout: Layout, lines: Lines) -> Flaw:
    """The flaw that a bad row is, the one with this *number* in its block."""
    where, column = lines.where(row.line), row.number
    error: type[RecordError] = ParseError
    if row.status == WIDTH:
        reason = f"{where} has {row.number} cells, the header {len(layout.names)}."
    elif row.status == TEXT:
        reason = f"{where} has text behind a closing quote, or a quote that is not closed."
    elif row.status == ENCODING:
        encoding = layout.recode or layout.encoding
        reason = f"{where} is not {encoding} in {layout.title(column)}: declare the file's encoding."
    elif row.status == NUL:
        reason = f"{where} holds a NUL character in {layout.title(column)}, which Postgres cannot store."
    elif row.status == KEY:
        error = InvalidRecord
        reason = f"{where} has no key: nothing stands in {' and '.join(map(layout.title, layout.key))}."
    elif row.status == EXTRA:
        reason = f"{where} has a value behind the delimiter that ends the others."
    else:
        reason = (
            f"{where} does not end as it should: a quote is not closed, text follows a closing one, or it has not "
            f"{len(layout.names)} cells. Nothing could be read up to the next whole row."
        )
    return Flaw("record", number, row.start, row.end, error.__name__, reason)
