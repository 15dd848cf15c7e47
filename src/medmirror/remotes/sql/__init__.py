"""A practice system's own database as a remote: what was changed since, by a column that says when.

**Changes.** Each table is listed by the column that the setting ``changed`` names (else by ``updated`` of its mapping
file), in the order of (that column, key), a page at a time, each page in a transaction of its own that only reads:
nobody in the practice waits for us. A table without such a column is read whole each time; its pages have no ``upto``.

**Rows whose time says nothing** (NULL, an empty text, or more than a day ahead of the server's clock) cannot stand in
that order. They come first of all with every list from the beginning, so with each full sync, and not between them.

**Deletions** are known only where the setting ``deleted`` says where they stand: a log table that the practice's
triggers fill, or a column of the table itself that is NULL while a row lives. A row that is there is not deleted,
whatever the log says. Deletions by a value (``deleted`` of the mapping file) are changes like any other.

**Writing** (``push``) is off unless the setting ``push`` names the kinds. See ``sqlwrites``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Engine, Select
from sqlalchemy.exc import DBAPIError

from medmirror.clock import SYSTEM, Clock, microseconds
from medmirror.errors import (
    AuthenticationFailed,
    DatabaseLost,
    QueryRefused,
    RemoteRefused,
    RemoteUnavailable,
    UsageError,
)
from medmirror.readers.database import errors as databaseerrors
from medmirror.readers.database import session as database
from medmirror.readers.database.session import Snapshot
from medmirror.remotes.base import Around, Capabilities, Kind, Page, Position, Pushed, Secret
from medmirror.remotes.sql import deleted as sqldeleted
from medmirror.remotes.sql import lists as sqllists
from medmirror.remotes.sql import settings as sqlsettings
from medmirror.remotes.sql import writes as sqlwrites
from medmirror.remotes.sql.lists import FeedTable, Ordered, Timed
from medmirror.remotes.sql.settings import Wanted

T = TypeVar("T")

_REFUSES_LOGIN = {1044, 1045, 1698}  # MySQL's numbers


class SqlRemote:
    """A database, opened for one organisation. Holds no connection between two pages of an ordered list."""

    source = "sql"

    def __init__(
        self, organization: str, wanted: Wanted, secret: Secret | None, around: Around, clock: Clock = SYSTEM
    ) -> None:
        self._organization = organization
        self._wanted = wanted
        self._around = around
        self._clock = clock
        self._password = secret.reveal() if secret else None
        self._engine = database.engine(wanted.url, self._password)
        self._writer: Engine | None = None
        self._found: dict[str, FeedTable] = {}
        feeds = wanted.feeds.values()
        self.capabilities = Capabilities(
            feeds=tuple(wanted.feeds),
            deleted=tuple(feed.section.kind for feed in feeds if feed.deletions),
            windowed=tuple(feed.section.kind for feed in feeds if feed.begins),
            push=wanted.push,
            get=True,
            ordered=any(feed.changed is not None for feed in feeds),
            extra={"database": self._engine.dialect.name},
        )

    def now(self) -> int:
        """The time by the database server's clock (SQLite has none: ours)."""
        return self._ask(lambda snapshot: snapshot.read_at)

    def changed(self, feed: str, since: Position, until: int) -> Iterator[Page]:
        """See ``Remote.changed``; the pages of a table without a column of changes have no ``upto``."""
        table = self._table(feed)
        timed = table.feed.changed
        if timed is None:
            yield from self._whole(table)
            return
        if since.time <= 0:
            yield from self._apart(table, timed, until)
        yield from self._ordered(table, timed, since.time if since.time > 0 else None, until, "changed")

    def window(self, feed: str, start: datetime, end: datetime) -> Iterator[Page]:
        """See ``Remote.window``: by the column that the setting ``begins`` names."""
        table = self._table(feed)
        if table.feed.begins is None:
            raise UsageError(f"{feed} has no column of beginnings; name it in the setting `begins`.")
        low, high = (microseconds(moment) for moment in (start, end))
        for page in self._ordered(table, table.feed.begins, low, high - 1, "window"):
            yield page._replace(upto=None)

    def deleted(self, feed: str, since: int, until: int) -> Iterator[Page]:
        """See ``Remote.deleted``. The pages are records of the source that are deleted."""
        table = self._table(feed)
        if table.feed.deletions is None:
            raise UsageError(f"Where deletions of {feed} stand is not known; say so in the setting `deleted`.")
        with self._snapshot(table) as snapshot:
            wanted = sqldeleted.deleted(snapshot, table, since, until)
            for number, rows in enumerate(self._stream(snapshot, wanted.query), 1):
                body, changes = sqldeleted.tombstones(wanted, table, rows, snapshot.read_at)
                facts = {**sqllists.facts(table, self._organization, snapshot, len(rows)), **changes}
                at = rows[-1][-1]
                upto = Position(0 if at is None else max(0, wanted.scale.time(at)))
                yield Page(feed, self._name(table, "deleted", number), body, len(rows), upto, facts)

    def get(self, feed: str, id: str) -> Page | None:
        """The row whose key is *id*, as the source writes keys."""
        table = self._table(feed)
        parts = sqlwrites.parts_of(id, len(table.feed.section.key))
        query = sqllists.one_row(table, parts)
        if query is None:
            return None

        def read(snapshot: Snapshot) -> Page | None:
            rows = snapshot.connection.execute(query).all()
            return self._page(table, snapshot, rows[:1], "one", 0, None) if rows else None

        return self._ask(read, table)

    def push(
        self, feed: str, document: Mapping[str, Any], *, id: str | None, expected: str | None, idempotency_key: str
    ) -> Pushed:
        """See ``Remote.push``: *document* holds values by column, as the source writes them."""
        if feed not in self.capabilities.push:
            raise UsageError(f"{feed} is not written to; name it in the setting `push` if it shall be.")
        table = self._table(feed)
        if self._writer is None:
            self._writer = database.engine(self._wanted.url, self._password, writable=True)
        writer = self._writer
        self._around.permit()
        with self._told(table):
            now = self._clock.now() if writer.dialect.name == "sqlite" else None
            return sqlwrites.push(writer, table, self._wanted.pushed, document, id, expected, idempotency_key, now)

    def close(self) -> None:
        """End its connections."""
        self._engine.dispose()
        if self._writer is not None:
            self._writer.dispose()

    def _table(self, feed: str) -> FeedTable:
        if feed not in self._wanted.feeds:
            raise UsageError(f"There is no table of kind {feed!r}; there are {', '.join(self._wanted.feeds)}.")
        if feed not in self._found:
            self._found[feed] = self._ask(lambda snapshot: sqllists.find(snapshot, self._wanted.feeds[feed]))
        return self._found[feed]

    def _ordered(self, table: FeedTable, timed: Timed, low: int | None, high: int, what: str) -> Iterator[Page]:
        column, zone = table.column(timed.column), table.feed.section.time_zone

        def look(snapshot: Snapshot) -> Ordered:
            reflected = table.columns[timed.column]
            scale = sqllists.scale_of(snapshot, timed, column, reflected, zone, thorough=low is None)
            backend = snapshot.connection.dialect.name
            return Ordered(table, scale, None if low is None else scale.low(low), scale.high(high), backend)

        ordered = self._ask(look, table)
        number, last, done = 0, None, False
        while not done:

            def read(snapshot: Snapshot, last: Any = last, number: int = number) -> tuple[Any, bool, Page | None]:
                rows, done = ordered.take(snapshot.connection, last, self._wanted.page)
                return rows, done, self._page(table, snapshot, rows, what, number + 1, ordered) if rows else None

            rows, done, page = self._ask(read, table)
            if page is not None:
                number, last = number + 1, rows[-1]
                yield page

    def _apart(self, table: FeedTable, timed: Timed, until: int) -> Iterator[Page]:
        """The rows whose time says nothing."""
        with self._snapshot(table) as snapshot:
            column, reflected = table.column(timed.column), table.columns[timed.column]
            zone = table.feed.section.time_zone
            scale = sqllists.scale_of(snapshot, timed, column, reflected, zone, thorough=True)
            query = Ordered(table, scale, None, None, snapshot.connection.dialect.name).apart(
                max(snapshot.read_at, until)
            )
            for number, rows in enumerate(self._stream(snapshot, query), 1):
                yield self._page(table, snapshot, rows, "apart", number, None)._replace(upto=Position(0))

    def _whole(self, table: FeedTable) -> Iterator[Page]:
        """Every row, in one snapshot."""
        with self._snapshot(table) as snapshot:
            for number, rows in enumerate(self._stream(snapshot, sqllists.everything(table)), 1):
                yield self._page(table, snapshot, rows, "whole", number, None)

    def _page(
        self, table: FeedTable, snapshot: Snapshot, rows: Sequence[Any], what: str, number: int, ordered: Ordered | None
    ) -> Page:
        facts = sqllists.facts(table, self._organization, snapshot, len(rows))
        # More rows of the last one's time may follow: all is here that is older.
        upto = None if ordered is None else Position(max(0, ordered.scale.time(rows[-1][-1])))
        body = sqllists.page_body(table, rows)
        return Page(table.feed.section.kind, self._name(table, what, number), body, len(rows), upto, facts)

    def _name(self, table: FeedTable, what: str, number: int) -> str:
        return f"{table.feed.section.table.shown}/{what}" + (f"/{number}" if number else "")

    def _stream(self, snapshot: Snapshot, query: Select[Any]) -> Iterator[Sequence[Any]]:
        """The rows of *query*, a page at a time, over one cursor."""
        page = self._wanted.page
        result = snapshot.connection.execute(
            query, execution_options={"stream_results": True, "max_row_buffer": min(page, 1_000)}
        )
        done = False
        try:
            yield from result.partitions(page)
            done = True
        finally:
            if not done:
                database.forget(result.cursor)

    @contextmanager
    def _snapshot(self, table: FeedTable | None = None) -> Iterator[Snapshot]:
        self._around.permit()
        with self._told(table):
            snapshot = database.begin(self._engine)
            if self._engine.dialect.name == "sqlite":  # a file has no clock
                snapshot = snapshot._replace(read_at=microseconds(self._clock.now()))
            try:
                yield snapshot
            finally:
                database.end(snapshot.connection)

    def _ask(self, work: Callable[[Snapshot], T], table: FeedTable | None = None) -> T:
        with self._snapshot(table) as snapshot:
            return work(snapshot)

    @contextmanager
    def _told(self, table: FeedTable | None) -> Iterator[None]:
        """Say of each request how it went, and make our errors of the database's."""
        shown = {"table": table.feed.section.table.shown} if table else {}
        try:
            yield
        except DatabaseLost as error:
            self._around.called(0)
            if error.context.get("code") in _REFUSES_LOGIN:
                raise AuthenticationFailed("", **error.context) from None
            raise RemoteUnavailable("", **error.context) from None
        except (DBAPIError, OSError, UnicodeDecodeError) as error:
            lost = databaseerrors.is_lost(error)
            self._around.called(0 if lost else 400)
            error_class = RemoteUnavailable if lost else RemoteRefused
            message = "" if lost else (QueryRefused.__doc__ or "")
            raise error_class(message, **shown, **databaseerrors.facts(error)) from None
        self._around.called(200)


def _open(organization: str, settings: Mapping[str, Any], secret: Secret | None, around: Around) -> SqlRemote:
    return SqlRemote(organization, sqlsettings.read(settings), secret, around)


REMOTE = Kind("sql", sqlsettings.SETTINGS, _open)
