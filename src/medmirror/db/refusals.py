"""Errors of Postgres in our own words: its messages quote the values of rows, and these belong in no log."""

from __future__ import annotations

import psycopg
from psycopg.errors import DataError, IntegrityError, ProgramLimitExceeded
from sqlalchemy.exc import DBAPIError

from medmirror.db import retry
from medmirror.errors import RefusedByDatabase, StoreError

_OWN_STATE = {"28", "3D", "42", "53", "57", "58"}  # something is not there, not allowed, used up, or stopped
_DISK_FULL = "53100"


def of_statement(error: DBAPIError | psycopg.Error) -> StoreError:
    """The StoreError for *error*. It quotes Postgres only when the message is about the server's own state."""
    state = retry.sqlstate_of(error) or ""
    if state == _DISK_FULL:
        return StoreError("The database's disk is full; make room, then run the same command again.", sqlstate=state)
    cause = error.orig if isinstance(error, DBAPIError) else error
    message = cause.diag.message_primary if isinstance(cause, psycopg.Error) and state[:2] in _OWN_STATE else None
    text = f"{StoreError.__doc__} It says: {message}." if message else ""
    return StoreError(text, sqlstate=state or None)


def of_value(error: BaseException) -> RefusedByDatabase | None:
    """The RefusedByDatabase for *error*, with the kind of value that Postgres refused.

    None when *error* is not about a value: the server was busy, gone or full.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, DataError | IntegrityError | ProgramLimitExceeded):
        return None
    facts = {"sqlstate": cause.sqlstate}
    for name in ("constraint_name", "column_name", "datatype_name"):
        if value := getattr(cause.diag, name, None):
            facts[name] = value
    return RefusedByDatabase("", **facts)
