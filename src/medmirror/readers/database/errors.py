"""Errors of a practice system's database: their meaning, and the facts of them without a query or a value."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import DBAPIError

from medmirror.errors import QueryRefused, SourceError

# MySQL's numbers for a lost connection
_GONE = {1053, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2055, 4031}


def is_lost(error: BaseException) -> bool:
    """Whether *error* means that the connection is gone, so that another one may go on."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, OSError)
    code, state = _codes(error)
    return error.connection_invalidated or code in _GONE or (state or "")[:3] in ("080", "57P", "08S")


def facts(error: BaseException) -> dict[str, Any]:
    """The facts of *error* that are safe in a log: its class, and the server's own numbers for it."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code, state = _codes(error)
    named = {"error": type(cause).__name__, "code": code, "sqlstate": state}
    return {name: value for name, value in named.items() if value is not None}


def _codes(error: BaseException) -> tuple[int | None, str | None]:
    cause = error.orig if isinstance(error, DBAPIError) else error
    first = cause.args[0] if cause is not None and cause.args else None
    state = getattr(cause, "sqlstate", None)
    if isinstance(first, str) and len(first) == 5 and first.isalnum() and first.isupper():  # pyodbc
        state = first
    return (first if isinstance(first, int) else None), state


def refusal(error: BaseException, table: str) -> SourceError:
    """The QueryRefused for *error* of a query on *table*: the server's own words would quote the query or a value."""
    return QueryRefused("", table=table, **facts(error))
