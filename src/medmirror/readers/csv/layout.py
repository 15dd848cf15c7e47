"""How one CSV file is written, and which of its columns say who a record is: a Layout, which travels as JSON text."""

from __future__ import annotations

from typing import NamedTuple

import orjson

_MARK = b"\xef\xbb\xbf"
MUST_BE_EMPTY, MAY_BE_EMPTY, STANDS = range(3)


class Name(NamedTuple):
    """A column's name in the record. *rule*: ``MUST_BE_EMPTY``, it exists only because each row ends with a delimiter;
    ``MAY_BE_EMPTY``, the header does not name it, so an empty cell is left out; ``STANDS``, it is always there."""

    text: str
    rule: int


class Layout(NamedTuple):
    """*returns*: a CR alone ends a line, too. *encoding* is that of a block's bytes, *recode* what the file itself is
    recoded from (empty: it is not).

    *begin* bytes and *lines* lines of the (recoded) stream precede the first row; a stream is such a file, and not a
    block of one, when its first *mark_size* bytes have the digest *mark*. *literals* are lines that are no records,
    with a byte order mark before them or not: the header, which joined files repeat, and the trailer. *key* are columns
    by number; none: the row itself is the key.
    *updated* and *deleted* are columns by number, -1 when there is none.
    """

    delimiter: str
    quote: str
    escape: str
    returns: bool
    encoding: str
    recode: str
    names: tuple[Name, ...]
    key: tuple[int, ...]
    updated: int
    deleted: int
    literals: tuple[bytes, ...]
    begin: int
    lines: int
    mark: str
    mark_size: int

    def dumps(self) -> str:
        """The layout as text."""
        values = self._asdict()
        values["names"] = [[*name] for name in self.names]
        values["literals"] = [literal.decode("latin-1") for literal in self.literals]
        return orjson.dumps([*values.values()]).decode()

    @classmethod
    def loads(cls, text: str) -> Layout:
        """What ``dumps`` made."""
        layout = cls(*orjson.loads(text))
        return layout._replace(
            names=tuple(Name(*name) for name in layout.names),
            key=tuple(layout.key),
            literals=tuple(str(literal).encode("latin-1") for literal in layout.literals),
        )

    @property
    def no_records(self) -> tuple[bytes, ...]:
        """The lines that are no records, each way they may stand in a block."""
        return tuple(mark + literal for literal in self.literals for mark in (b"", _MARK))

    def title(self, column: int) -> str:
        """What a person calls the column with this number."""
        return f"column {column + 1}" + (f" ({self.names[column].text})" if self.names[column].text else "")
