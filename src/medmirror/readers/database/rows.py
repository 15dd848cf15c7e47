"""A table of a practice system's database as a stream: one row a line, as JSON.

Rows come in pages by key order: ``WHERE key > the last one ORDER BY key LIMIT n``, each over a server-side cursor, so
that neither side holds more than a page, and a reading that was cut off can go on behind the last row it had. A table
that cannot be paged (``databasetables``) is read by one query.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, and_, bindparam, or_, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import NullType

from medmirror.readers.database import errors as databaseerrors
from medmirror.readers.database import session as database
from medmirror.readers.database.tables import Plan
from medmirror.readers.database.types import other

UNREADABLE = "\0"
"""The key, one that no column can have, under which a line names the columns whose values JSON cannot hold."""

_FIRST_PAGE = 1_000  # rows
_MOST_ROWS = 50_000
_PAGE_BYTES = 8 << 20
_AT_ONCE = 50  # rows that are taken from the cursor together


def _after(plan: Plan, last: Sequence[Any]) -> ColumnElement[bool]:
    """Behind the row whose key is *last*, in the words that the server's planner finds the index by."""
    bound = [bindparam(f"last_{number}", value, type_=NullType()) for number, value in enumerate(last)]
    if len(bound) == 1:
        return plan.columns[0] > bound[0]
    if plan.by_row:
        return tuple_(*plan.columns) > tuple_(*bound)
    pairs = list(zip(plan.columns, bound, strict=True))
    steps = [and_(*(one == value for one, value in pairs[:n]), pairs[n][0] > pairs[n][1]) for n in range(len(pairs))]
    return or_(*steps)


class Rows(io.RawIOBase):
    """The rows of a table from behind *last* on, as lines of JSON; to be read once, from its begin to its end.

    When the connection is lost the stream ends early, ``lost`` says so and ``last`` is where to go on. To close it in
    the middle of a query closes its connection (``stopped``): a driver would first fetch all that is left. Raises
    QueryRefused when the server refuses a query.
    """

    def __init__(self, snapshot: database.Snapshot, plan: Plan, last: tuple[Any, ...] | None = None) -> None:
        self._connection = snapshot.connection
        self._plan = plan
        self._lines = self._pages()
        self._rest = memoryview(b"")
        self.last = last
        self.count = 0
        self.lost = self.stopped = False
        self._cursor: Any = None  # of a query that is under way

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most *size*; none at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        while not self._rest:
            try:
                piece = next(self._lines, None)
            except (DBAPIError, OSError, UnicodeDecodeError) as error:
                if not databaseerrors.is_lost(error):
                    raise databaseerrors.refusal(error, self._plan.table.shown) from None
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
            database.forget(self._cursor)
            with suppress(DBAPIError, OSError):
                self._lines.close()
            database.end(self._connection)
        super().close()

    def _pages(self) -> Generator[bytes]:
        plan, limit = self._plan, _FIRST_PAGE
        while True:
            query = plan.query if self.last is None or not plan.order else plan.query.where(_after(plan, self.last))
            if plan.order:
                query = query.order_by(*plan.columns).limit(limit)
            rows = size = 0
            for some in self._select(query):
                encoded = lines(plan, some)
                if plan.order:
                    self.last = tuple(some[-1][place] for place in plan.order)
                rows, size = rows + len(some), size + len(encoded)
                self.count += len(some)
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
            database.forget(self._cursor)
            raise
        finally:
            self._cursor = None
            result.close()


def lines(plan: Plan, rows: Sequence[Sequence[Any]]) -> bytes:
    """*rows*, as the query of *plan* gives them (more columns may stand behind its own), a line of JSON each."""
    names, converts, dumps, newline = plan.names, plan.converts, orjson.dumps, orjson.OPT_APPEND_NEWLINE
    made = []
    for row in rows:
        record = dict(zip(names, row, strict=False))  # behind them may stand what it is paged by
        for name, convert in converts:
            value = record[name]
            if value is not None:
                record[name] = convert(value)
        try:
            made.append(dumps(record, other, newline))
        except TypeError:
            made.append(dumps(_unreadable(record), other, newline))
    return b"".join(made)


def _unreadable(record: dict[str, Any]) -> dict[str, Any]:
    """*record* without the values that JSON cannot hold, and their columns' names."""

    def fits(value: Any) -> bool:
        try:
            return bool(orjson.dumps(value, other))
        except TypeError:
            return False

    kept = {name: value for name, value in record.items() if fits(value)}
    return {UNREADABLE: [name for name in record if name not in kept], **kept}
