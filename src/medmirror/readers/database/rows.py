"""A table of a practice system's database as a stream: one row a line, as JSON.

Rows come in pages by key order: ``WHERE key > the last one ORDER BY key LIMIT n``, each over a server-side cursor. So
neither side holds more than a page, and a stream that was cut off can go on behind its last row. A table that cannot be
paged (``tables``) is read by one query.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, and_, bindparam, or_, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import NullType

from medmirror.readers.database import session
from medmirror.readers.database.errors import is_lost, refusal
from medmirror.readers.database.tables import Plan
from medmirror.readers.database.types import other
from medmirror.readers.streams import Pieces

UNREADABLE = "\0"
"""The key, one that no column can have, under which a line names the columns whose values JSON cannot hold."""

_FIRST_PAGE = 1_000  # rows
_MOST_ROWS = 50_000
_PAGE_BYTES = 8 << 20
_AT_ONCE = 50  # rows that are taken from the cursor together


def _after(plan: Plan, last: Sequence[Any]) -> ColumnElement[bool]:
    """The condition "behind the row with the key *last*", in a form for which the server's planner uses the index."""
    bound = [bindparam(f"last_{number}", value, type_=NullType()) for number, value in enumerate(last)]
    if len(bound) == 1:
        return plan.columns[0] > bound[0]
    if plan.by_row:
        return tuple_(*plan.columns) > tuple_(*bound)
    pairs = list(zip(plan.columns, bound, strict=True))
    steps = [
        and_(*(column == value for column, value in pairs[:n]), pairs[n][0] > pairs[n][1]) for n in range(len(pairs))
    ]
    return or_(*steps)


class Rows(Pieces):
    """The rows of a table behind *last*, as lines of JSON; a stream to read once, from its begin to its end.

    When the connection is lost, the stream ends early: ``lost`` is true then, and ``last`` is the key to go on behind.
    Closing it in the middle of a query closes its connection, too (``stopped``): a driver would first fetch all other
    rows. ``read`` raises QueryRefused when the server refuses a query.
    """

    def __init__(self, snapshot: session.Snapshot, plan: Plan, last: tuple[Any, ...] | None = None) -> None:
        self._connection = snapshot.connection
        self._plan = plan
        self._lines = self._pages()
        self._rest = memoryview(b"")
        self.last = last
        self.count = 0
        self.lost = self.stopped = False
        self._cursor: Any = None  # of a query that is under way

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes, at most *size*; none at the end."""
        if size is None or size < 0:
            return self.readall()
        while not self._rest:
            try:
                piece = next(self._lines, None)
            except (DBAPIError, OSError, UnicodeDecodeError) as error:
                if not is_lost(error):
                    raise refusal(error, self._plan.table.shown) from None
                self.lost = True
                return b""
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        taken, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return taken

    def close(self) -> None:
        if self._cursor is not None:
            self.stopped = True
            session.forget(self._cursor)
            with suppress(DBAPIError, OSError):
                self._lines.close()
            session.end(self._connection)
        super().close()

    def _pages(self) -> Generator[bytes]:
        plan, limit = self._plan, _FIRST_PAGE
        while True:
            query = plan.query if self.last is None or not plan.order else plan.query.where(_after(plan, self.last))
            if plan.order:
                query = query.order_by(*plan.columns).limit(limit)
            rows = size = 0
            for batch in self._select(query):
                encoded = lines(plan, batch)
                if plan.order:
                    self.last = tuple(batch[-1][place] for place in plan.order)
                rows, size = rows + len(batch), size + len(encoded)
                self.count += len(batch)
                yield encoded
            if not plan.order or rows < limit:
                return
            limit = min(_MOST_ROWS, max(100, rows * _PAGE_BYTES // max(1, size)))

    def _select(self, query: Select[Any]) -> Iterator[Sequence[Sequence[Any]]]:
        options = {"stream_results": True, "max_row_buffer": _AT_ONCE}
        result = self._connection.execute(query, execution_options=options)
        self._cursor = result.cursor
        try:
            yield from result.partitions(_AT_ONCE)
        except (DBAPIError, OSError):
            session.forget(self._cursor)
            raise
        finally:
            self._cursor = None
            result.close()


def lines(plan: Plan, rows: Sequence[Sequence[Any]]) -> bytes:
    """*rows*, results of the query of *plan* (more columns may follow its own), each as a line of JSON."""
    names, converts, dumps, newline = plan.names, plan.converts, orjson.dumps, orjson.OPT_APPEND_NEWLINE
    encoded = []
    for row in rows:
        record = dict(zip(names, row, strict=False))  # behind them may stand what it is paged by
        for name, convert in converts:
            value = record[name]
            if value is not None:
                record[name] = convert(value)
        try:
            encoded.append(dumps(record, other, newline))
        except TypeError:
            encoded.append(dumps(_unreadable(record), other, newline))
    return b"".join(encoded)


def _unreadable(record: dict[str, Any]) -> dict[str, Any]:
    """*record* without the values that JSON cannot hold, and their columns' names."""

    def fits(value: Any) -> bool:
        try:
            return bool(orjson.dumps(value, other))
        except TypeError:
            return False

    readable = {name: value for name, value in record.items() if fits(value)}
    return {UNREADABLE: [name for name in record if name not in readable], **readable}
