"""A rehearsal: work is done in full and then undone, by an Engine whose transactions are savepoints on one connection.

Code that takes an Engine can take this one. Later users of the same connection see its commits, and nobody else does.
When the connection's own transaction is rolled back, nothing has happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, cast

from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import NestedTransaction

from medmirror.db import sql
from medmirror.db.connect import LOADER, raw


def engine(connection: Connection, organization: str | None = None) -> Engine:
    """An Engine on *connection*, which is in a transaction; use it from one thread, one transaction at a time.

    With *organization* it sees that organisation's records only, as the loaders' engines do.
    """
    return cast("Engine", _Engine(connection, _session(connection, organization)))


def _session(connection: Connection, organization: str | None) -> dict[str, str]:
    takes = text(
        "SELECT coalesce(pg_has_role(to_regrole(:role), CASE WHEN CAST(current_setting('server_version_num') AS int)"
        " < 160000 THEN 'MEMBER' ELSE 'SET' END), false)"  # see connect
    )
    role = LOADER if organization is not None and connection.scalar(takes, {"role": LOADER}) else "none"
    return {"medmirror.organization": "*" if organization is None else organization, "role": role}


class _Engine:
    """The part of an Engine that medmirror uses."""

    def __init__(self, connection: Connection, session: Mapping[str, str]) -> None:
        self._connection, self._session = connection, session

    def connect(self) -> _Borrowed:
        return _Borrowed(self._connection, self._session)

    def begin(self) -> _Borrowed:
        return _Borrowed(self._connection, self._session, commits=True)

    def dispose(self) -> None:
        """Nothing: the connection is somebody else's."""


class _Borrowed:
    """The connection in the shape of one from a pool: changes that are not committed when it is closed are undone."""

    def __init__(self, connection: Connection, session: Mapping[str, str], commits: bool = False) -> None:
        self._own, self._session, self._commits = connection, session, commits
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
            self._set(self._session)
        return self._own

    def _set(self, session: Mapping[str, str]) -> None:
        for name, value in session.items():
            self._own.execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value})

    def commit(self) -> None:
        """Release the savepoint, so that later users see the changes. The session's settings are reset first."""
        if self._savepoint is not None:
            self._drop_temporary()
            self._set({"role": "none", "medmirror.organization": "*"})
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
