"""Errors of Postgres in our own words: its messages quote the values of rows, and these belong in no log.

It is quoted only where it speaks of its own state: what is not there, not allowed, used up, or stopped.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg.errors import DataError, IntegrityError, ProgramLimitExceeded
from sqlalchemy.exc import DBAPIError

from medmirror.errors import RefusedByDatabase, StoreError, StoreUnavailable
from medmirror.settings import mask_password

READ_ONLY = (
    "This server takes no writes: it is a standby, or default_transaction_read_only is on. Name the primary in the DSN,"
    " then run the same command again."
)
TOO_MANY = (
    "The server has no connection left for this user. Lower --workers (each needs one connection, the command itself"
    " one or two), end other programs of this user, or raise the limit."
)
_NO_ACCESS = "The database does not let this user in; check the user's name, the password and the server's pg_hba.conf."
_POOLER = (
    "Another client's prepared statements stand in this session, so a transaction pooler is between; use a session pool"
    " or the server itself (port 5432)."
)
_STOPPED = "The server was stopped or is starting; wait until it is up, then run the same command again."
_DAMAGED = "The server cannot read its own files; look at its log and its disks before anything else."
_OURS_MISSING = (
    "A table, column or function of medmirror's is not there; was it changed by hand? Restore it from a backup, or load"
    " into a new database."
)
_SENTENCES = {
    "25006": READ_ONLY,
    "26000": _POOLER,
    "28000": _NO_ACCESS,
    "28P01": _NO_ACCESS,
    "3D000": "There is no database of this name on the server; make it with CREATE DATABASE, or correct the DSN.",
    "3F000": _OURS_MISSING,
    "42501": "This user may not do that; load as the owner of medmirror's tables, or have the right granted.",
    "42703": _OURS_MISSING,
    "42883": _OURS_MISSING,
    "42P01": _OURS_MISSING,
    "42P05": _POOLER,
    "53100": "The database's disk is full; make room, then run the same command again.",
    "53200": "The server is out of memory; lower --workers or give it more, then run the same command again.",
    "53300": TOO_MANY,
    "53400": "A limit of the server's configuration is reached; raise it, then run the same command again.",
    "54000": "A limit of Postgres itself is reached: a value or a statement is larger than it can take.",
    "54001": "The server's stack is used up; raise max_stack_depth, then run the same command again.",
    "55P03": "A lock was not free within MEDMIRROR_LOCK_TIMEOUT; see what holds it, then run the same command again.",
    "57014": "The statement was cancelled: by somebody, or because statement_timeout was over.",
    "57P01": _STOPPED,
    "57P02": _STOPPED,
    "57P03": _STOPPED,
    "57P04": "The database was dropped while it was in use.",
    "58030": _DAMAGED,
    "58P01": _DAMAGED,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
_OWN_STATE = ("28", "3D", "42", "53", "57", "58")  # classes whose messages quote no row
_LOST = ("57P01", "57P02", "57P03")  # and every 08..., and what never reached the server

# A failed connection has no SQLSTATE, only libpq's text; in another language than English these find nothing, and the
# text itself stands in the error all the same.
_FULL = re.compile(r"too many (clients|connections)|connection slots are reserved|no more connections", re.IGNORECASE)
_FOR_GOOD = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|is not permitted to log in"
    r'|(role|database) "[^"]*" does not exist|permission denied for database',
    re.IGNORECASE,
)


def cause_of(error: BaseException) -> BaseException:
    """The driver's error below SQLAlchemy's, or *error* itself."""
    return error.orig or error if isinstance(error, DBAPIError) else error


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE of a psycopg or SQLAlchemy error, or None."""
    cause = cause_of(error)
    return cause.sqlstate if isinstance(cause, psycopg.Error) else None


def is_lost_connection(error: BaseException) -> bool:
    """Whether the server could not be reached, or the connection to it broke."""
    state = sqlstate_of(error)
    if state is not None:
        return state.startswith("08") or state in _LOST
    return isinstance(cause_of(error), psycopg.OperationalError)


def is_full(error: BaseException) -> bool:
    """Whether the server let nobody else in, because its connections, or this user's, are used up."""
    return sqlstate_of(error) == "53300" or (sqlstate_of(error) is None and bool(_FULL.search(str(cause_of(error)))))


def is_for_good(error: BaseException) -> bool:
    """Whether the server answers and will not let this user in, however often it is asked."""
    return sqlstate_of(error) is None and bool(_FOR_GOOD.search(str(cause_of(error))))


def of_connection(error: BaseException, **context: Any) -> StoreUnavailable:
    """The StoreUnavailable for *error*, a connection that failed or broke, with the reason that was given."""
    state = sqlstate_of(error)
    cause = cause_of(error)
    text = None
    if state is None:  # libpq's own words: no row has been sent yet, or none is quoted
        text = mask_password(" ".join(str(cause).split()))
    elif isinstance(cause, psycopg.Error) and state[:2] in (*_OWN_STATE, "08"):
        text = cause.diag.message_primary
    sentence = TOO_MANY if is_full(error) else _NO_ACCESS if is_for_good(error) else str(StoreUnavailable.__doc__)
    return StoreUnavailable(f"{sentence} It says: {text}" if text else sentence, **context)


def of_statement(error: DBAPIError | psycopg.Error) -> StoreError:
    """The StoreError for *error*. It quotes Postgres only when the message is about the server's own state."""
    state = sqlstate_of(error)
    if state is None and is_lost_connection(error):
        return of_connection(error)
    cause = cause_of(error)
    sentence = _SENTENCES.get(state or "", str(StoreError.__doc__))
    own = isinstance(cause, psycopg.Error) and (state or "")[:2] in _OWN_STATE
    message = cause.diag.message_primary if own and isinstance(cause, psycopg.Error) else None
    return StoreError(f"{sentence} It says: {message}." if message else sentence, sqlstate=state)


def of_value(error: BaseException) -> RefusedByDatabase | None:
    """The RefusedByDatabase for *error*, with the kind of value that Postgres refused.

    None when *error* is not about a value: the server was busy, gone or full.
    """
    cause = cause_of(error)
    if not isinstance(cause, DataError | IntegrityError | ProgramLimitExceeded):
        return None
    facts = {"sqlstate": cause.sqlstate}
    for name in ("constraint_name", "column_name", "datatype_name"):
        if value := getattr(cause.diag, name, None):
            facts[name] = value
    return RefusedByDatabase("", **facts)
