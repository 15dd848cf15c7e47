"""A rehearsal: work is done in full and then undone, by an Engine whose transactions are savepoints on one connection.

Code that takes an Engine can take this one. Later users of the same connection see its commits, and nobody else does.
When the connection's own transaction is rolled back, nothing has happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any, cast

from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import NestedTransaction

from medmirror.db import sql
from medmirror.db.connect import PATIENCE, enter, raw

_sections = sql.sections("session.sql")


def engine(connection: Connection, organization: str | None = None) -> Engine:
    """An Engine on *connection*, which is in a transaction; use it from one thread, one transaction at a time.

    With *organization* it sees that organisation's records only, as the loaders' engines do.
    """
    role = str(connection.execute(text(_sections["role"])).scalar_one())
    return cast("Engine", _Engine(connection, organization, role))


class _Engine:
    """The part of an Engine that medmirror uses."""

    def __init__(self, connection: Connection, organization: str | None, role: str) -> None:
        self._borrow = partial(_Borrowed, connection, organization, role)

    def connect(self) -> _Borrowed:
        return self._borrow()

    def begin(self) -> _Borrowed:
        return self._borrow(commits=True)

    def dispose(self) -> None:
        """Nothing: the connection is somebody else's."""

    def get_execution_options(self) -> Mapping[str, Any]:
        """None: a connection that is lost here takes the whole rehearsal with it."""
        return {PATIENCE: 0.0}


class _Borrowed:
    """The connection in the shape of one from a pool: changes that are not committed when it is closed are undone."""

    def __init__(self, connection: Connection, organization: str | None, role: str, commits: bool = False) -> None:
        self._own, self._organization, self._role, self._commits = connection, organization, role, commits
        self._savepoint: NestedTransaction | None = None

    def __enter__(self) -> _Borrowed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._commits and kind is None:
            self.commit()
        self.rollback()

    def begin(self) -> _Transaction:
        self._enter()
        return _Transaction(self)

    def _enter(self) -> Connection:
        if self._savepoint is None:
            self._savepoint = self._own.begin_nested()
            if self._organization is not None:
                enter(self._own, self._organization)
        return self._own

    def commit(self) -> None:
        """Release the savepoint, so that later users see the changes. The session's settings are reset first."""
        if self._savepoint is not None:
            self._drop_temporary()
            raw(self._own).execute(_sections["again everybody"].encode(), [self._role])
            self._savepoint.commit()
            self._savepoint = None

    def _drop_temporary(self) -> None:
        """Drop the temporary tables, which a savepoint would keep with their rows.

        A real transaction drops them at its end (ON COMMIT DROP), or they are made anew when they are missing.
        """
        for name in self._own.execute(sql.statement("nightly.sql", "temporary tables")).scalars().all():
            raw(self._own).execute(SQL("DROP TABLE pg_temp.{}").format(Identifier(name)))

    def rollback(self) -> None:
        if self._savepoint is not None:
            self._savepoint.rollback()
            self._savepoint = None

    def in_transaction(self) -> bool:
        return self._savepoint is not None

    def __getattr__(self, name: str) -> Any:
        """Any other attribute: that of the connection, within the savepoint."""
        return getattr(self._enter(), name)


class _Transaction:
    """The result of ``begin``: it is committed, rolled back, or ended by a ``with``."""

    def __init__(self, borrowed: _Borrowed) -> None:
        self._borrowed = borrowed

    def commit(self) -> None:
        self._borrowed.commit()

    def rollback(self) -> None:
        self._borrowed.rollback()

    def __enter__(self) -> _Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._borrowed.commit() if kind is None else self._borrowed.rollback()
