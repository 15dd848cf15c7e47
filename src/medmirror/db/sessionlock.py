"""Advisory locks that outlive transactions: each is held by a session that does nothing else.

``db/locks.py`` advises against locks of sessions, because one on a pooled connection is held by whoever takes that
connection next. Here it is right: the work is many transactions, the connection is in no pool, and the lock dies with
the process, however that dies, because the server ends the session. Nobody ever clears one by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg

from medmirror.db import refusals, session, sql
from medmirror.errors import MedmirrorError, StoreUnavailable


class SessionLock:
    """The lock of *numbers* (one number, or one of the register and a second one).

    Its session is called *name*; *title* is what an error calls the lock.
    """

    def __init__(self, dsn: str, name: str, title: str, *numbers: int) -> None:
        self._title = title
        self._target = session.target(dsn, name)
        self._numbers = list(numbers)
        self._connection: session.Session | None = None
        self._held = False

    def take(self) -> bool:
        """Take the lock if it is free; return whether it is ours. The session stays, for another try, until ``close``.

        Raises StoreUnavailable.
        """
        try:
            if self._connection is None:
                self._connection = session.connect(self._target, autocommit=True)
                self._connection.execute(_text("keep alive"))
            row = self._connection.execute(_text(f"try {len(self._numbers)}"), self._numbers).fetchone()
        except psycopg.Error as error:
            self.close()
            raise refusals.of_connection(error) from None
        self._held = row == (True,)
        return self._held

    def check(self) -> None:
        """Raise StoreUnavailable when the session and so the lock is gone: another one may have begun."""
        try:
            if self._connection is None:
                raise psycopg.OperationalError
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            message = f"The connection that held {self._title} is gone; run the same command again."
            raise StoreUnavailable(message) from None

    def close(self) -> None:
        """Free the lock and end its session. Does nothing when there is none."""
        if self._connection is None:
            return
        # Closing alone frees the lock, too, but only when the server has noticed: the next one may be quicker.
        with suppress(psycopg.Error):
            if self._held:
                self._connection.execute(_text(f"let go {len(self._numbers)}"), self._numbers)
        self._connection.close()
        self._connection, self._held = None, False


@contextmanager
def held(lock: SessionLock, busy: Callable[[], MedmirrorError]) -> Iterator[SessionLock]:
    """Hold *lock* for as long as the block lasts. Raises what *busy* returns when another session has it."""
    try:
        if not lock.take():
            raise busy()
        yield lock
    finally:
        lock.close()


def _text(section: str) -> bytes:
    return sql.sections("sessionlock.sql")[section].encode()
